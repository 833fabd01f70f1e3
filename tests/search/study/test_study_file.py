"""Study files with values of another form, and as editors save them."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.common.errors import SearchError, StudyFileError
from search.export.reader import read_tables
from search.study import study_file as studyfile
from search.study.parameter import Parameter
from search.study.plan import SECTIONS, Plan
from search.study.space import SECTION_OF
from storage.server.address import read_secret
from tests.search.conftest import Typed
from tests.search.study.test_space import HEAD, refused, text_of

# Values of another form

FORMS = (
    *("{}", "[]", "[[]]", "[{}]", "[{ a = 1 }]", "{ a = 1 }", "{ a = { a = [] } }", '[1, "a"]', "[true]", "[nan]"),
    *('""', '"adamw"', '"a\\u0000b"', '"~nobody-of-this-name/x"', f'"{"9" * 400}h"', '"١٢m"', "true", "false"),
    *("-1", "0", "1", "2", "1.0", "0.5", "1e-320", "1e308", "1e400", "nan", "inf", "-inf", "9223372036854775807"),
    *("9" * 30, "9" * 4000, "9" * 5000, f"0x{'f' * 5000}", f"[{'9' * 400}]", "[" * 150 + "]" * 150),
    *("1979-05-27T07:32:00Z", "1979-05-27", "07:32:00", "[1979-05-27]", "{ low = 1, high = 2 }", '["12m", 3]'),
)
KEYS = [(section, f.name) for section, record in SECTIONS.items() for f in fields(record)]
ENTRY = [f.name for f in fields(Parameter)]
GRID = '"grid"'
SEARCHED = ("max_lr", "n_layer", "optimizer", "qk_norm")
"""A setting of each type."""


def read(folder: Path, text: str) -> Plan | None:
    """Read a study file as the commands do; whatever else than a sentence is raised goes on."""
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    message = ""
    try:
        plan = studyfile.read(str(path))
    except SearchError as error:
        message = str(error)
    if not message:
        assert plan.toml()
        return plan
    assert len(message) < 1500
    return None


def with_key(section: str, key: str, form: str) -> str:
    given = {"data": {"source": '"builtin"'}, "proxy": {"budget": '"6m"', "trials": "2"}, "confirm": {"budget": '"9m"'}}
    given = {**given, "space": {"batch_size": "{ choices = [4, 8, 16] }"}}
    given[section] = {**given.get(section, {}), key: form}
    lines = [(f"[{name}]", *(f"{k} = {v}" for k, v in pairs.items())) for name, pairs in given.items()]
    return "\n".join(line for part in lines for line in part)


@pytest.mark.parametrize("section", SECTIONS)
def test_no_value_of_any_key_ends_in_a_trace(section: str, tmp_path: Path) -> None:
    for key in [key for name, key in KEYS if name == section]:
        for form in FORMS:
            read(tmp_path, with_key(section, key, form))


@pytest.mark.parametrize("name", SEARCHED)
def test_no_value_of_the_space_ends_in_a_trace(name: str, tmp_path: Path) -> None:
    for form in FORMS:
        read(tmp_path, with_key("space", name, form))
        for key in ENTRY:
            ends = {"low": "1", "high": "2"} if key in ("low", "high", "step", "log", "when") else {}
            entry = ", ".join(f"{k} = {v}" for k, v in {**ends, key: form}.items())
            read(tmp_path, with_key("space", name, f"{{ {entry} }}"))
        for parent in ("batch_size", "kind"):
            entry = f"{{ choices = [1, 2], when = {{ {parent} = {form} }} }}"
            read(tmp_path, with_key("space", name, entry))


def test_no_value_of_a_baseline_or_above_the_sections_ends_in_a_trace(tmp_path: Path) -> None:
    for form in FORMS:
        read(tmp_path, with_key("baselines", "mine", form))
        read(tmp_path, with_key("baselines.mine", "batch_size", form))
        for name in ("description", "baselines", "space", "unknown", *SECTIONS):
            others = "\n".join(part for part in HEAD.split("\n[") if not part.strip("[\n").startswith(f"{name}]"))
            read(tmp_path, f"{name} = {form}\n{others}")
            read(tmp_path, f"{name} = {form}\n{with_key('proxy', 'sampler', GRID)}")


VALUES = st.recursive(
    st.none().map(lambda _: "")
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    | st.dates()
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcwhenlostp", max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    place=st.sampled_from([*KEYS, *[("space", name) for name in SECTION_OF], ("baselines", "mine")]),
    value=VALUES,
    grid=st.booleans(),
)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_generated_value_ends_in_a_trace(place: tuple[str, str], value: Any, grid: bool, tmp_path: Path) -> None:
    table: dict[str, Any] = {
        "data": {"source": "builtin"},
        "proxy": {"budget": "6m", "sampler": "grid"} if grid else {"budget": "6m", "trials": 2},
        "confirm": {"budget": "9m"},
        "space": {"batch_size": {"choices": [4, 8, 16]}},
    }
    table.setdefault(place[0], {})[place[1]] = value
    read(tmp_path, tomli_w.dumps(table))


def test_nesting_without_end_is_a_sentence(tmp_path: Path) -> None:
    assert read(tmp_path, f"a = {'[' * 5000}{']' * 5000}") is None
    assert read(tmp_path, with_key("space.n_layer.low" + ".a" * 3000, "b", "1")) is None
    assert read(tmp_path, f"{HEAD}[space.n_layer]\nlow = 1\nhigh = {'9' * 5000}") is None


@pytest.mark.parametrize(
    ("space", "more", "message"),
    [
        ("optimizer = { choices = 4 }", "", '`choices` is 4, but must be a list of values or absent, such as ["adamw"'),
        ('optimizer = { choices = "adamw" }', "", "`choices` is 'adamw', but must be a list"),
        ("optimizer = { choices = [[]] }", "", "`choices` is [[]], but must be a list"),
        ("optimizer = { low = 1, high = 2 }", "", "must be a string: list its values as `choices`"),
        ("n_layer = { low = 1, high = 2 }", "rungs = '12m'\n", "`rungs` is '12m', but must be a list of strings, such"),
        ("n_layer = { low = 1, high = 2 }", "lr_scales = [true]\n", "`lr_scales` is [True], but must be a list of num"),
        ("n_layer = { low = 1, high = 2 }", "[recipe]\nlearning_rates = 'a'", "`learning_rates` is 'a', but must be a"),
        ("n_layer = { low = 1, high = 2 }", "max_hours = inf\n", "[confirm] `max_hours` is inf, but must be a finite"),
        (
            "n_layer = { low = 1, high = 2 }",
            "[workers]\nheartbeat_seconds = inf\ngrace_seconds = inf",
            "must be a finite",
        ),
        ("div_factor = { low = 1, high = inf }", "", "[space.div_factor] `high` is inf, but must be a finite number"),
        ("batch_size = { low = 1, high = 9223372036854775808 }", "", "an integer of at most 64 bits"),
    ],
)
def test_errors_name_the_form_that_a_value_must_have(space: str, more: str, message: str) -> None:
    assert message in refused(space, more)


def test_the_command_line_says_it_in_a_sentence(tmp_path: Path, typed: Typed) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text_of("optimizer = { choices = 4 }"), encoding="utf-8")
    code, out, err = typed("studies", "show", str(path))
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {path}: [space.optimizer] `choices` is 4, but must be a list")


# As editors save them

BOM = b"\xef\xbb\xbf"


def test_a_study_file_with_a_bom(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = text_of("n_layer = { low = 1, high = 2 }").lstrip()
    path.write_bytes(BOM + text.replace("\n", "\r\n").encode())
    assert studyfile.read(str(path)) == Plan.parse(text, name="mine", origin="mine.toml")
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(StudyFileError, match="not UTF-8 text; save it as UTF-8"):
        studyfile.read(str(path))


@pytest.mark.parametrize("text", ['study = "a"\n', '{"study": "a"}', "study: a\n", "EXPORT = {'study': 'a'}\n"])
def test_an_export_with_a_bom(text: str, tmp_path: Path) -> None:
    path = tmp_path / "best.toml"
    path.write_bytes(BOM + text.encode())
    assert read_tables(path) == [{"study": "a"}]


def test_a_secret_with_a_bom(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(BOM + b"# the database's\r\nits-password\r\n")
    path.chmod(0o600)
    assert read_secret(path) == "its-password"
    path.write_bytes(BOM + b"its-password\r\n")
    assert read_secret(path) == "its-password"
