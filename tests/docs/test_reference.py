"""The generated reference: it is what the code is now, and leaves nothing out."""

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from docs.generate.pages import PAGES, REFERENCE
from model import config
from model.errors import SettingsError
from model.settings import Settings
from search.show.figures.gallery import PICTURES
from search.study import settings as sections
from search.study import study_file as studyfile
from search.study.shipped import shipped
from search.study.space import Parameter
from tests.docs import markdown as md


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_what_is_kept_is_what_the_code_says_now(name: str) -> None:
    assert page(name) == PAGES[name](), "run `make reference`"


def test_every_command_and_option_is_there() -> None:
    text = page("commands.md")

    def check(command: Any, path: str) -> None:
        part = re.split(r"^#+ ", text.split(f"# {path}\n", 1)[1], maxsplit=1, flags=re.M)[0] if path else text
        for parameter in command.params:
            if path and parameter.name != "help" and not getattr(parameter, "hidden", False):
                for option in parameter.opts if parameter.param_type_name == "option" else [parameter.name.upper()]:
                    assert f"`{option}`" in part, f"{path} {option}"
                assert " ".join((parameter.help or "").split())[:40].replace("|", "\\|") in part, f"{path} {option}"
        for name, inner in getattr(command, "commands", {}).items():
            check(inner, f"{path} {name}".strip())

    application, _ = md.command_of([])
    check(application, "")
    assert "--install-completion" in text


def records() -> list[type[Settings]]:
    found = [r for module in (config, sections) for r in vars(module).values() if isinstance(r, type)]
    plain = [r for r in found if issubclass(r, Settings) and r not in (Settings, sections.Fidelity)]
    return [*dict.fromkeys(plain), Parameter]


def test_every_key_of_every_record_is_there_with_its_meaning() -> None:
    text = page("study-file.md")
    for record in records():
        for field in dataclasses.fields(record):
            row = next(line for line in text.splitlines() if line.endswith(f"| {field.metadata['doc']} |"))
            assert f"| `{field.name}` |" in row or text.count(field.metadata["doc"]) > 1


def test_every_key_of_a_settled_file_is_in_its_section() -> None:
    parts = re.split(r"^## ", page("study-file.md"), flags=re.M)
    for name in shipped():
        for section, keys in tomllib.loads(studyfile.read(name).toml()).items():
            if isinstance(keys, dict) and section not in ("space", "baselines", "ideas"):
                part = next(p for p in parts if p.startswith(f"`[{section}]`"))
                assert all(f"| `{key}` |" in part for key in keys), section


def limits() -> Iterator[tuple[str, str, str, float]]:
    """Section, key, sign and end of every range that the page names."""
    for part in re.split(r"^## ", page("study-file.md"), flags=re.M):
        section = re.match(r"`\[(\w+)\]`", part)
        for key, row in re.findall(r"^\| `(\w+)` \|(.*)$", part, re.M):
            for sign, end in re.findall(r"([≥≤<>]) ([\d,.]+)", row.rsplit("|", 2)[0]):
                if section:
                    yield section[1], key, sign, float(end.replace(",", ""))


def test_the_ranges_on_the_page_are_those_that_a_study_file_is_held_to() -> None:
    whole = tomllib.loads(studyfile.read("quickstart").toml())
    from search.study.plan import SECTIONS

    found = [limit for limit in limits() if limit[0] in SECTIONS]
    assert len(found) > 50
    for section, key, sign, end in found:
        beyond = {"≥": end - 1, "≤": end + 1, ">": end, "<": end}[sign]
        value = int(beyond) if type(whole[section].get(key, 1)) is int else beyond  # absent by default: an integer
        shown = re.escape(f"`{key}` is {value!r}, but must be ") + ".*" + {"≥": ">=", "≤": "<="}.get(sign, sign)
        with pytest.raises(SettingsError, match=shown):
            SECTIONS[section].parse({**whole[section], key: value})


def test_every_figure_is_there() -> None:
    text = page("figures.md")
    assert all(f"| `{name}` | {p.title} | {p.needs} |" in text for name, p in PICTURES.items())


def test_every_key_of_the_schema_is_there_with_its_description() -> None:
    text, schema = page("status-json.md"), (md.DOCS / "status.schema.json").read_text(encoding="utf-8")
    told = re.findall(r'"(\w+)": \{\s*"description": "(.*?)"', schema)
    rows = re.findall(r"^\| `(?:[\w.]+(?:\[\])?\.)?(\w+)` \| [a-z ]+ \| (.*) \|$", text, re.M)
    assert len(told) > 50
    assert rows == told
