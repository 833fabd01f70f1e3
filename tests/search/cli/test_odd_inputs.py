"""Inputs that people plausibly type, which used to end in a traceback, a wrong message or something not asked for."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from model.sample import _draw
from search.cli import main as cli
from search.cli.error_messages import MAY_BE_EMPTY, NUMBERS, UsageError, refuse_unusable
from search.cli.main import app
from search.cli.options import MOST_SEED
from search.cloud.launch import Asked
from search.common.errors import SearchError
from search.common.exit_codes import MISUSED
from search.export.download import _nearest_names, listing
from search.export.runs import check_number
from search.retrain.evaluate import stated_result
from search.study.study import LinkedStudy, open_study
from storage.server.database import Database
from tests.search.conftest import Typed
from tests.search.made import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its parser, groups' own included."""
    whole: Any = typer.main.get_command(app)
    for name, command in whole.commands.items():
        yield from getattr(command, "commands", {}).items() or [(name, command)]


def seeded() -> list[str]:
    return sorted(name for name, c in commands() for p in c.params if "--seed" in p.opts)


@pytest.mark.parametrize("command", ["grade", "train", "recipe", "sample", "verify", "replay", "merge"])
@pytest.mark.parametrize("seed", ["99999999999999999999", str(MOST_SEED + 1)])
def test_a_seed_that_torch_or_numpy_would_refuse_is_refused_at_once(command: str, seed: str, typed: Typed) -> None:
    options = {"grade": "--prompts x", "train": "--config x", "sample": "--checkpoint x"}
    options |= dict.fromkeys(("recipe", "merge"), "--study x")
    needed = options.get(command, "")
    code, out, err = typed(command, *needed.split(), "--seed", seed)
    assert (code, out) == (MISUSED, "")
    assert err.startswith(f'error: --seed is "{seed}", but must be an integer >= 0 and <= 2147483647\n')


def test_infinity_is_no_number_of_any_option(typed: Typed) -> None:
    real = {o for _, c in commands() for p in c.params for o in p.opts if takes_a_real_number(p) and o.startswith("--")}
    assert real == {*NUMBERS, "--budget"}  # of which `replay` itself says what it may be
    for option in NUMBERS:
        for value in ("inf", "-Infinity", "nan"):
            with pytest.raises(UsageError, match="must be a finite number"):
                refuse_unusable([option, value])
            with pytest.raises(UsageError, match="must be a finite number"):
                refuse_unusable([f"{option}={value}"])
    code, out, err = typed("launch", "--study", "q", "--gpu", "RTX4090", "--max-usd", "inf", "--price", "0.5")
    assert (code, out) == (MISUSED, "")
    assert err.startswith('error: --max-usd is "inf", but must be a finite number')


def takes_a_real_number(parameter: Any) -> bool:
    described = getattr(parameter, "type_descriptor", None)
    annotation = getattr(described, "annotation", None)
    return float in getattr(annotation, "__args__", (annotation,))


def test_every_command_with_a_seed_is_tried_and_the_largest_is_taken() -> None:
    assert seeded() == ["grade", "merge", "recipe", "replay", "sample", "train", "verify"]
    torch.Generator().manual_seed(MOST_SEED + 1000)


@pytest.mark.parametrize(
    "line",
    [
        "launch --study q --gpu RTX4090 --print",  # which would rent what was to be printed
        "launch --study q --gpu RTX4090 --source",
        "train --config x --data",  # which would train on the export's own text
        "evaluate --checkpoint x --data",
        "verify --config x --data",
        "artifacts --study q --get",
        "status --storage",
        "leaderboard --study",
    ],
)
@pytest.mark.parametrize("spelt", [" ", "="])
def test_an_empty_value_is_no_absent_one(line: str, spelt: str, typed: Typed) -> None:
    *given, last = line.split()
    code, out, err = typed(*given, *([last, ""] if spelt == " " else [f"{last}="]))
    assert (code, out, err) == (MISUSED, "", f"error: {last} is empty; give it a value, or leave it out\n")


def test_what_may_be_empty_is_what_is_empty_by_default() -> None:
    options = itertools.chain.from_iterable(c.params for _, c in commands())
    assert {p.opts[0] for p in options if p.default == "" and p.opts[0].startswith("--")} == set(MAY_BE_EMPTY)
    refuse_unusable(["sample", "--prompt", "", "--prompt=", "", "--cloud", ""])
    with pytest.raises(UsageError):
        refuse_unusable(["sample", "--prompt", "", "--checkpoint", ""])


def test_a_temperature_that_no_float_can_be_divided_by_takes_the_likeliest() -> None:
    logits, generator = torch.tensor([1.0, 3.0, 2.0]), torch.Generator().manual_seed(0)
    drawn = {t: _draw(logits, t, 3, generator) for t in (0.0, 1e-320, 1e-45, 1e-39, 1e-7, 1e-5)}
    assert set(drawn.values()) == {1}


@pytest.mark.parametrize(("trial", "confirmation"), [(999, None), (-1, None), (None, 999)])
def test_files_of_a_trial_that_there_is_not_are_not_none(
    database: Database, trial: int | None, confirmation: int | None
) -> None:
    study: LinkedStudy = open_study(database, PLAN)
    with pytest.raises(SearchError, match=r"--(trial|confirmation) is (999|-1), but there (are 0 to \d+|is none yet)"):
        listing(study, trial, confirmation)


def test_a_number_is_looked_for_among_those_that_there_are() -> None:
    with pytest.raises(SearchError, match="--trial is 0, but there is none yet"):
        check_number("--trial", 0, [])


def test_a_name_in_other_letters_is_alike() -> None:
    names = [f"confirm-{n}.pt" for n in range(9)]
    assert re.match(r"nearest: confirm-3\.pt", _nearest_names("CONFIRM-3.PT", names))


def test_a_rank_without_a_file_of_several_is_no_wish_to_be_dropped(typed: Typed) -> None:
    code, _, err = typed("verify", "--study", "q", "--rank", "2")
    assert (code, err) == (
        1,
        "error: --rank is one of an export's configurations: name its file with --config, not --study\n",
    )
    with pytest.raises(SearchError, match="--rank is one of an export's configurations: name its file with --config"):
        stated_result(Any, None, 5)  # type: ignore[arg-type]


def test_a_folder_of_this_machine_is_nothing_that_a_rented_one_can_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lilm-search").mkdir()
    given: dict[str, Any] = {"study": "q", "gpu": "RTX4090", "workers": 1, "max_usd": 3.0}
    for source in (str(tmp_path), ".", "./lilm-search", "lilm-search/"):
        with pytest.raises(SearchError, match="which is on this machine alone; give a wheel"):
            Asked(**given, source=source).check()
    for source in ("lilm-search", "lilm-search==0.1.0", "git+https://example.org/lilm-search@abc"):
        Asked(**given, source=source).check()


def test_the_command_line_asks_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch, typed: Typed) -> None:
    monkeypatch.setattr(cli, "app", lambda **options: pytest.fail("was called"))
    assert typed("launch", "--print", "")[0] == MISUSED
