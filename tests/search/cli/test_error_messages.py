"""A command that can't be parsed gets a message of a line or two, with what to write instead."""

import pytest

from search.common.exit_codes import MISUSED
from tests.conftest import run_cli
from tests.search.conftest import Typed

STUDY = "a shipped study, a study file's path, or a study in the database"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("status", f"status needs --study: {STUDY}"),
        ("status quickstart", "status needs --study; did you mean --study quickstart?"),
        ("studies show", "studies show needs NAME: a shipped study, or a study file's path"),
        ("statu --study x", 'no command is named "statu"; did you mean status?'),
        ("xyzzy", 'no command is named "xyzzy"; see `lilm-search --help`'),
        ("credential nwe", 'no command of credential is named "nwe"; did you mean new?'),
        ("start --trails 4", "start has no option --trails; did you mean --trials?"),
        ("status -x", "status has no option -x; see `lilm-search status --help`"),
        ("--bogus", "lilm-search has no option --bogus; see `lilm-search --help`"),
        ("start --trials many", '--trials is "many", but must be an integer'),
        ("start --workers -1", '--workers is "-1", but must be an integer >= 0'),
        ("promote --study q --trial 1 --seeds 40", '--seeds is "40", but must be an integer >= 1 and <= 20'),
        ("dashboard --port 99999", '--port is "99999", but must be an integer >= 1 and <= 65535'),
        ("sample --checkpoint x --temperature hot", '--temperature is "hot", but must be a number >= 0'),
        ("status --study", "--study is given without its value"),
        ("down --study q --all=3", "--all takes no value; write --all alone"),
        ("status a b --study q", 'status takes no "a b" there; see `lilm-search status --help`'),
        ("status a --study q", 'status takes no "a" there; did you mean --study a?; see `lilm-search status --help`'),
    ],
)
def test_each_mistake_is_named_with_what_to_write(line: str, said: str, typed: Typed) -> None:
    code, out, err = typed(*line.split())
    assert (code, out) == (MISUSED, "")
    assert err.splitlines()[0] == f"error: {said}"
    assert len(err.splitlines()) <= 2
    assert all(rest.startswith("Example: lilm-search ") for rest in err.splitlines()[1:])


def test_the_installed_command_ends_so() -> None:
    done = run_cli("start", "--workers", "-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        'error: --workers is "-1", but must be an integer >= 0',
        "Example: lilm-search start --study babylm",
    ]


def test_a_group_alone_shows_its_commands() -> None:
    done = run_cli("credential")
    assert done.returncode == MISUSED
    assert "revoke" in done.stdout
    assert done.stderr == ""
