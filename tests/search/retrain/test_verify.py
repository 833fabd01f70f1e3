"""An export trained again: intervals and answers; a real study and a real trainer, on a clock that counts steps."""

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState, create_trial
from typer.testing import CliRunner

from model.errors import DivergedError
from model.training.train import train
from search.analysis.snapshot import read
from search.cli import train as cli_verify
from search.common.errors import SearchError
from search.common.signals import StopRequest
from search.export.export import best_export, render
from search.export.reader import ExportedResult, read_export
from search.export.runs import confirmation_export, trial_export
from search.machine.hardware import Hardware
from search.retrain import verify as module
from search.retrain.verify import Interval, Verification, comparability, fewer_tokens, interval, judge, verify
from search.study.plan import Plan
from search.study.results import Noise, pooled_noise
from search.study.study import LinkedStudy, open_study
from search.worker.worker import Worker
from storage.server.database import connect
from tests.conftest import database_with_tables
from tests.model.training.test_train import World
from tests.search.processor import ONCE
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
HERE = Hardware(kind="cpu", name="a processor", threads=1, reference_tokens_per_second=20_000.0)
CARD = Hardware(kind="cuda", name="a card", memory_gib=24.0, reference_tokens_per_second=100_000.0)


def claimed(
    bpb: float = 1.4, n: int = 2, noise: Noise = Noise(0.1, 4), machine: Hardware | None = CARD
) -> ExportedResult:
    return ExportedResult(
        label="made, trial 1",
        val_bpb=bpb,
        mean_bpb=bpb,
        half_width=None,
        new_run_half_width=None,
        seeds=tuple(range(100, 100 + n)),
        noise=noise,
        noise_of="long runs",
        machine=machine,
        provenance={},
        tokens_per_second=None,
    )


def test_the_interval_of_one_new_run_by_hand() -> None:
    """t(0.975, 4) = 2.7764 from a table; 2.7764 · 0.1 · √1.5 = 0.34004."""
    result = interval(claimed())
    assert result is not None
    assert [result.low, result.high] == pytest.approx([1.4 - 0.34004, 1.4 + 0.34004], abs=1e-5)
    assert "4 degrees of freedom, long runs" in result.why
    given = interval(claimed(), tolerance=0.02)
    assert given is not None
    assert (given.low, given.high, given.from_noise) == (1.38, 1.42, False)
    assert interval(claimed(noise=Noise(None, 0))) is None


def test_the_interval_that_an_export_states_is_gone_by() -> None:
    result = interval(dataclasses.replace(claimed(), new_run_half_width=0.25))
    assert result is not None
    assert [result.low, result.high] == pytest.approx([1.15, 1.65])


def test_one_new_run_in_twenty_lies_outside() -> None:
    """Simulated: three configurations with three seeds each, then one more run of the first."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(4000):
        runs = rng.normal([[1.4], [1.5], [1.6]], 0.01, size=(3, 3))
        result = interval(claimed(float(runs[0].mean()), 3, pooled_noise(runs.tolist())))
        assert result is not None
        inside += result.low <= rng.normal(1.4, 0.01) <= result.high
    assert inside / 4000 == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4000))


@pytest.mark.parametrize(
    ("bpb", "undecided", "verdict"),
    [
        (1.45, "", Verification("yes", "it lies within the interval")),
        (1.61, "", Verification("no", "it lies above the interval")),
        (1.19, "", Verification("no", "it lies below the interval")),
        (1.45, "other hardware", Verification("can't tell", "other hardware (it lies within the interval)")),
    ],
)
def test_verdicts(bpb: float, undecided: str, verdict: Verification) -> None:
    assert judge(bpb, Interval(1.2, 1.6, "by hand"), undecided) == verdict


def test_without_noise_nothing_can_be_told() -> None:
    result = judge(1.4, None)
    assert result.answer == "can't tell"
    assert "--tolerance" in result.why


def test_on_what_terms_other_hardware_can_check_a_claim() -> None:
    half = dataclasses.replace(CARD, name="another card", reference_tokens_per_second=50_000.0)
    assert comparability(CARD, CARD) == module.Comparability()
    scaled = comparability(CARD, half)
    assert (scaled.budget_scale, scaled.incomparable) == (2.0, "")
    assert "the budget is scaled × 2.00" in scaled.note
    for there, here in ((CARD, HERE), (HERE, CARD), (HERE, dataclasses.replace(HERE, name="another")), (None, HERE)):
        assert comparability(there, here).incomparable
        assert comparability(there, here).budget_scale == 1.0
    slow = dataclasses.replace(HERE, reference_tokens_per_second=10_000.0)
    assert (comparability(HERE, slow).incomparable, comparability(HERE, slow).budget_scale) == ("", 1.0)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A clock on which a step takes 50 ms, so that a run is the same on every machine."""
    with pytest.MonkeyPatch.context() as patch:
        yield World(patch, itertools.repeat(0.05))


@pytest.fixture(scope="module")
def study(
    world: World, embedded_url: str, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LinkedStudy]:
    """A study that a worker has run to its end on that clock, with the real trainer."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        (home / "cache").symlink_to(cache)
        patch.setenv("LILM_SEARCH_HOME", str(home))
        patch.setattr(module, "detect_hardware", lambda device, compiled=False: HERE)
        database = connect(database_with_tables(embedded_url))
        plan = Plan.parse(PLAN.replace("trials = 7", "trials = 2"), name="tiny", origin="test")
        opened = open_study(database, plan)
        trainer = partial(train, clock=world)
        Worker(
            opened,
            "one",
            torch.device("cpu"),
            StopRequest(),
            print,
            trainer,
            **ONCE | {"detect_hardware": lambda device, compiled: HERE},
        ).run()
        yield opened
        database.close()


Again = Callable[..., tuple[Verification, str]]


@pytest.fixture
def again(study: LinkedStudy, world: World, tmp_path: Path) -> Again:
    """Return a function that verifies an export from a file alone, and returns the answer and the output."""

    def run(table: dict[str, Any], **options: Any) -> tuple[Verification, str]:
        path, output = tmp_path / "export.toml", list[str]()
        path.write_text(render(table, "toml"), encoding="utf-8")
        settings: dict[str, Any] = {"seed": None, "tolerance": None, "data": None, "device": torch.device("cpu")}
        around = {"progress": lambda *stage: None, "say": output.append, "trainer": partial(train, clock=world)}
        return verify(path, **{**settings, **around, **options}), "\n".join(output)

    return run


def test_a_studys_best_comes_out_again(study: LinkedStudy, again: Again) -> None:
    """The same seed on the same clock gives the BPB to the last digit; another seed gives its own."""
    table = best_export(read(study))
    own = dict(zip(table["result"]["seeds"], table["result"]["bpb_by_seed"], strict=True))
    assert list(own) == [100, 101]
    for seed in own:
        result, output = again(table | {"result": {"val_bpb": own[seed], "seeds": [100]}}, seed=seed, tolerance=1e-6)
        assert result.answer == "yes", output
        assert f"this run: {own[seed]:.4f} BPB, seed {seed}, 2.0 s" in output
        assert "the same: text, tokenizer (sha-256)" in output


@pytest.mark.parametrize("change", [-0.5, 0.5])
def test_a_claim_that_was_altered_does_not_come_out(study: LinkedStudy, again: Again, change: float) -> None:
    table = confirmation_export(read(study), 0)
    assert again(table, tolerance=0.3)[0].answer == "yes"
    table["result"]["val_bpb"] += change
    result, output = again(table, tolerance=0.3)
    assert result == Verification("no", f"it lies {'above' if change < 0 else 'below'} the interval"), output


def test_a_study_of_seconds_leaves_too_wide_an_interval(study: LinkedStudy, again: Again) -> None:
    """After 40 steps merely counting tokens is better, so that a run within the interval says nothing."""
    result, output = again(best_export(read(study)))
    assert result.answer == "can't tell", output
    assert "merely counting tokens would lie" in result.why


def test_a_proxys_noise_is_that_of_repeats_or_else_of_long_runs(study: LinkedStudy, again: Again) -> None:
    table = trial_export(read(study), 1)
    long = best_export(read(study))["result"]["seed_noise"]
    assert table["result"]["seed_noise"] == long | {"of": "long runs; short ones scatter more"}
    result, output = again(table, tolerance=1e-6)
    assert result.answer == "yes", output
    assert "seed 0, 1.0 s" in output


def test_a_prefix_is_trained_again_as_a_prefix(
    study: LinkedStudy, again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a card half as fast, and on the schedule of the long run."""
    plan = dataclasses.replace(study.plan, proxy=dataclasses.replace(study.plan.proxy, schedule="prefix"))
    table = trial_export(read(dataclasses.replace(study, plan=plan)), 0) | {"hardware": CARD.table()}
    half = dataclasses.replace(CARD, reference_tokens_per_second=50_000.0)
    asked: dict[str, Any] = {}

    def remembered(*args: Any, **options: Any) -> NoReturn:
        asked.update(options)
        raise DivergedError("enough")

    monkeypatch.setattr(module, "detect_hardware", lambda device, compiled=False: half)
    with pytest.raises(DivergedError):
        again(table, trainer=remembered)
    assert (asked["budget_seconds"], asked["horizon_seconds"], asked["seed"]) == (2.0, 4.0, 0)


def untrained(*args: Any, **options: Any) -> NoReturn:
    pytest.fail("trained, though the text is not the export's")


def test_an_altered_text_is_refused_before_anything_is_trained(
    study: LinkedStudy, again: Again, tmp_path: Path
) -> None:
    table, other = best_export(read(study)), tmp_path / "other.jsonl"
    rows = [
        json.dumps({"text": f"In year {i} of the reign nothing at all happened to {i % 7} people."}) for i in range(999)
    ]
    other.write_text("\n".join(rows), encoding="utf-8")
    small = table | {"tokenizer": table["tokenizer"] | {"vocab_size": 320}}
    with pytest.raises(SearchError, match=r"the text here is not the export's: sha-256 \w{9}… here, \w{9}… there"):
        again(small, data=str(other), trainer=untrained)
    with pytest.raises(SearchError, match="the tokenizer here is not the export's"):
        again(table | {"provenance": table["provenance"] | {"tokenizer_sha256": "f" * 64}}, trainer=untrained)


def test_an_export_has_what_is_needed_and_nothing_of_the_machine_it_came_from(study: LinkedStudy) -> None:
    table = best_export(read(study))
    assert table["hardware"] == HERE.table()
    provenance = table["provenance"]
    assert {"text_sha256", "tokenizer_sha256", "commit", "torch", "precision", "micro_batch"} <= provenance.keys()
    assert not {"host", "hardware", "worker"} & provenance.keys()
    text = render(table, "json")
    assert str(Path.home()) not in text
    assert os.environ["LILM_SEARCH_HOME"] not in text


@pytest.mark.parametrize(
    ("export", "number", "says"),
    [
        (trial_export, 99, "--trial is 99, but there are 0 to 1"),
        (confirmation_export, 99, "--confirmation is 99, but there are 0 to 3"),
    ],
)
def test_a_run_that_is_not_there(study: LinkedStudy, export: Callable[..., Any], number: int, says: str) -> None:
    with pytest.raises(SearchError, match=says):
        export(read(study), number)


def test_a_run_without_a_final_bpb_claims_nothing(study: LinkedStudy) -> None:
    pruned = create_trial(state=TrialState.PRUNED, value=4.0, intermediate_values={20: 4.0})
    pruned.number = 0

    class Pruned(LinkedStudy):
        def proxy_trials(self) -> list[FrozenTrial]:
            return [pruned]

    with pytest.raises(SearchError, match="trial 0 can't be verified: it is pruned, it has no final BPB"):
        trial_export(read(Pruned(**vars(study))), 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "name one of --study and --config"),
        ("--study a --config b.toml", "name one of --study and --config"),
        ("--config b.toml --trial 3", "--trial and --confirmation are runs of a study"),
        ("--study a --trial 3 --confirmation 4", "name one of --trial and --confirmation"),
    ],
)
def test_what_the_command_refuses_to_guess(arguments: str, says: str) -> None:
    refused = CliRunner().invoke(cli_verify.app, ["verify", *arguments.split()])
    assert isinstance(refused.exception, SearchError)
    assert says in str(refused.exception)


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        ("result", "val_bpb", "low", "`val_bpb` is 'low', but must be a number"),
        ("result", "mean_bpb", "low", "`mean_bpb` is 'low', but must be a number"),
        (
            "result",
            "new_run_95",
            [1.5, 1.4],
            "[1.5, 1.4], but must be two numbers, the lower one first",
        ),
        ("result", "seeds", [], "`seeds` is [], but must be a list of integers"),
        ("result", "seed_noise", {"deviation": -1.0, "degrees": 2}, "must have deviation >= 0 and degrees >= 1"),
        ("result", "seed_noise", 3, "`seed_noise` is 3, but must be a table"),
        ("hardware", "kind", "tpu", '[hardware] `kind` is \'tpu\', but must be one of "cuda", "cpu"'),
    ],
)
def test_a_damaged_export_is_one_clear_error(
    study: LinkedStudy, tmp_path: Path, section: str, key: str, value: object, says: str
) -> None:
    table, path = best_export(read(study)), tmp_path / "export.json"
    path.write_text(json.dumps(table | {section: table[section] | {key: value}}), encoding="utf-8")
    with pytest.raises(SearchError) as refused:
        assert read_export(path).result
    assert str(path) in str(refused.value)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("claimed", "here", "decides"), [(1000.0, 650.0, False), (1000.0, 950.0, True), (None, 1.0, True)]
)
def test_a_run_that_was_short_of_tokens_says_nothing_against_a_claim(
    claimed: float | None, here: float, decides: bool
) -> None:
    output = fewer_tokens(claimed, here)
    assert (output == "") == decides
    assert decides or "35% fewer tokens" in output
