"""Templates: every one is found beside its module, none is filled in by half, and what lands in one does no harm."""

import shlex
from pathlib import Path

import jinja2
import pytest

import search
from search.cloud.worker_script import Bundle, install, install_rented
from search.common.templates import fill
from search.export.script import read_script, script


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'table' is undefined"):
        fill("search.export", "model_card.md.j2", front="")


def test_every_template_can_be_parsed_and_ends_its_last_line() -> None:
    templates = sorted(Path(search.__file__).parent.rglob("*.j2"))
    assert len(templates) >= 6
    for path in templates:
        text = path.read_text(encoding="utf-8")
        jinja2.Environment().parse(text)
        assert text.endswith("\n"), path


@pytest.mark.parametrize("requirement", ["./my wheel.whl", "x; rm -rf ~", "it's"])
def test_what_pip_installs_is_one_word_in_a_shell_within_a_shell(requirement: str) -> None:
    bundle = Bundle(requirement=requirement, constraints=False, ca=False)
    outer = install_rented(bundle, 0)
    inner = shlex.split(outer[outer.index("timeout") :])[-1]
    assert inner == install(bundle, 0)
    assert requirement in shlex.split(inner, comments=True)


def test_a_script_holds_any_text_as_it_is() -> None:
    """Signs of the template's own language among them."""
    table = {
        "study": "s",
        "configuration": "{{ 1 + 1 }} {% endif %} {# no #}",
        "budget": "90s",
        "result": {"seeds": [7]},
        "data": {"source": "a\nb"},
    }
    written = script(table, "{{ 1 + 1 }}")
    assert read_script(written) == table
    assert written.startswith('"""{{ 1 + 1 }}\n')
    assert "--seconds 90 --seed 7" in written
