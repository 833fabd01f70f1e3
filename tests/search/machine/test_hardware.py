"""Which hardware a study admits, on what terms, and what is recorded of it."""

import json
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from optuna.trial import TrialState

from model.config import TrainConfig
from model.errors import DivergedError
from model.network.transformer import Transformer
from model.training.result import Report, Result
from search.analysis.worker_differences import worker_differences
from search.common.errors import HardwareError
from search.common.signals import StopRequest
from search.machine.admission import hardware_line, pinned_hardware
from search.machine.hardware import Hardware, compare
from search.study.plan import Plan
from search.study.study import LinkedStudy, open_study
from search.worker.worker import Worker
from storage.server.database import Database
from tests.search.made import PLAN as MADE
from tests.search.made import proxy
from tests.search.processor import ONCE
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
CARD = Hardware(kind="cuda", name="NVIDIA GeForce RTX 4090", memory_gib=23.6, reference_tokens_per_second=100_000.0)
OTHER = replace(CARD, name="NVIDIA GeForce RTX 3090", reference_tokens_per_second=50_000.0)
CPU = Hardware(kind="cpu", name="AMD EPYC", threads=2, reference_tokens_per_second=20_000.0)


def at(share: float, machine: Hardware = CARD, **changes: Any) -> Hardware:
    """The machine at this share of its speed."""
    speed = machine.reference_tokens_per_second * share
    return replace(machine, reference_tokens_per_second=speed, **changes)


@pytest.mark.parametrize(
    ("pinned", "here", "refused", "scale", "says"),
    [
        (CARD, CARD, False, 1.0, ""),
        (CARD, at(0.91), False, 1.0, ""),
        (CARD, at(1.09), False, 1.0, ""),
        (CARD, at(1.0, memory_gib=23.5), False, 1.0, ""),  # drivers differ in what they hold back
        (CARD, at(0.8), True, 1.25, "at 80% of the study's 100,000 tokens/s: throttled, shared or capped"),
        (CARD, at(1.25), False, 0.8, "the study's first worker may have been throttled"),
        (CARD, at(1.0, memory_gib=47.4), True, 1.0, "(47 GiB)"),
        (CARD, OTHER, True, 2.0, "RTX 3090 (24 GiB), reference step 50,000 tokens/s, is not the study's NVIDIA"),
        (CARD, CPU, True, None, "AMD EPYC (2 threads) is not the study's NVIDIA GeForce RTX 4090 (24 GiB)"),
        (CPU, CARD, True, None, "is not the study's AMD EPYC (2 threads)"),
        (CPU, at(0.5, CPU), False, 1.0, "at 50% of the study's"),
        (CPU, at(2.0, CPU), False, 1.0, ""),
        (CPU, at(2.0, CPU, threads=4), False, 0.5, "AMD EPYC (4 threads) runs the reference step at 200%"),
        (CPU, at(1.0, CPU, name="Intel Xeon"), True, 1.0, "Intel Xeon"),
    ],
)
def test_what_is_refused_and_by_what_a_budget_would_be_scaled(
    pinned: Hardware, here: Hardware, refused: bool, scale: float | None, says: str
) -> None:
    comparison = compare(pinned, here)
    assert comparison.refused == refused
    assert comparison.scale == (None if scale is None else pytest.approx(scale))
    assert says in comparison.difference
    assert bool(comparison.difference) == bool(says)


def made(database: Database, workers: str = "", **replacing: str) -> LinkedStudy:
    text = PLAN.replace("[workers]", f"[workers]\n{workers}").replace("trials = 7", "trials = 2")
    for old, new in replacing.items():
        text = text.replace(old, new)
    return open_study(database, Plan.parse(text, name="tiny", origin="test"))


def diverging(asked: list[float]) -> Callable[..., Result]:
    def train(*args: Any, budget_seconds: float, **options: Any) -> NoReturn:
        asked.append(budget_seconds)
        raise DivergedError("enough")

    return train


def test_short_runs_are_compiled_where_long_ones_are(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What compiling gains differs among networks: proxies without it would rank others first."""
    monkeypatch.setattr("model.training.compiling.shutil.which", lambda name: "/usr/bin/g++")
    study, asked = made(database, **{'budget = "2s"': 'budget = "10m"'}), list[tuple[float, str]]()

    def train(config: Any, training: TrainConfig, *args: Any, budget_seconds: float, **options: Any) -> NoReturn:
        asked.append((budget_seconds, training.compile))
        raise DivergedError("enough")

    worker(study, CARD, train).run()
    assert asked == [(1.0, "on"), (1.0, "on"), (600.0, "on")]


def worker(
    study: LinkedStudy, machine: Hardware, trainer: Callable[..., Result], said: list[str] | None = None
) -> Worker:
    say = (said if said is not None else []).append
    return Worker(
        study,
        "one",
        torch.device("cpu"),
        StopRequest(),
        say,
        trainer,
        self_test=ONCE["self_test"],
        detect_hardware=lambda device, compiled: machine,
    )


def test_a_study_pins_its_first_workers_class_and_refuses_others_before_they_claim(
    database: Database, home: Path
) -> None:
    study = made(database)
    study.proxies.set_user_attr("hardware", json.dumps(CARD.table()))
    for machine, says in (
        (OTHER, "Use the study's hardware"),
        (at(0.7), "Let it cool, end what else runs on it"),
        (CPU, "is not the study's"),
    ):
        with pytest.raises(HardwareError) as refused:
            worker(study, machine, diverging([])).run()
        message = str(refused.value)
        assert says in message
        assert "--as NEW-NAME" in message
        assert ("mixed_hardware = true" in message) == (machine is not CPU)
        assert "\n" not in message
    assert {t.state for t in study.proxy_trials()} == {TrialState.WAITING}
    assert pinned_hardware(study) == CARD


def test_two_workers_by_hand_the_second_of_another_class(database: Database, home: Path) -> None:
    study, asked = made(database), list[float]()
    first = worker(study, CARD, diverging(asked))
    first.run()
    assert asked == [1.0, 1.0, 2.0]
    assert first.hardware is not None
    assert first.hardware.reference_tokens_per_second == 100_000.0
    with pytest.raises(HardwareError, match="RTX 3090"):
        worker(study, OTHER, diverging(asked)).run()
    assert len(asked) == 3


def test_where_hardware_is_mixed_budgets_are_scaled_by_the_references(database: Database, home: Path) -> None:
    """Half as fast: twice the time, of every budget and of the schedule that a prefix follows."""
    study, asked, said = made(database, "mixed_hardware = true"), list[float](), list[str]()
    study.proxies.set_user_attr("hardware", json.dumps(CARD.table()))
    worker(study, OTHER, diverging(asked), said).run()
    assert asked == [2.0, 2.0, 4.0]
    assert any("budgets × 2.00" in line for line in said)
    with pytest.raises(HardwareError, match="AMD EPYC"):
        worker(study, CPU, diverging(asked)).run()


def test_cpus_of_one_kind_are_never_refused(database: Database, home: Path) -> None:
    """`start` again with fewer workers gives each more threads; and who shares cores may be slow for a while."""
    study, said = made(database), list[str]()
    worker(study, CPU, diverging([])).run()
    worker(study, at(1.7, CPU, threads=4), diverging([]), said).run()
    worker(study, at(0.3, CPU), diverging([]), said).run()
    assert [line for line in said if line.startswith("note:")] == [
        "note: AMD EPYC (4 threads) runs the reference step at 170% of the study's 20,000 tokens/s with 2 threads",
        "note: AMD EPYC (2 threads) runs the reference step at 30% of the study's 20,000 tokens/s",
    ]


def trained(config: Any, training: Any, corpus: Any, **options: Any) -> Result:
    """A run in the time of its budget, with nothing learned."""
    report = Report(percent=100, val_bpb=3.0, train_seconds=1.0, tokens=64, steps=1, learning_rate=1e-3)
    options["on_report"](report)
    seconds = dict.fromkeys(("startup_seconds", "compile_seconds", "evaluate_seconds", "total_seconds"), 0.5)
    return Result(
        val_bpb=3.0,
        reports=(report,),
        network=Transformer(config, 512),
        n_params=64,
        n_active_params=64,
        steps=1,
        tokens=64,
        micro_batch=4,
        mode="eager",
        precision="float32",
        mfu=0.1,
        train_seconds=options["budget_seconds"],
        **seconds,
    )


def test_what_is_recorded_of_a_scaled_run(database: Database, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILM_SEARCH_IMAGE", "sha256:0123")
    study = made(database, "mixed_hardware = true")
    study.proxies.set_user_attr("hardware", json.dumps(CARD.table()))
    worker(study, OTHER, trained).run()
    for trial in study.proxy_trials():
        assert trial.user_attrs["budget_scale"] == 2.0
        assert trial.user_attrs["train_seconds"] == 2.0
        known = trial.user_attrs["provenance"]
        assert known["hardware"] == OTHER.table()
        assert {"commit", "python", "torch", "numpy", "optuna", "sentencepiece", "text_sha256"} <= known.keys()
        own = {k: known[k] for k in ("seed", "budget_seconds", "mode", "micro_batch", "precision", "image")}
        assert own == {
            "seed": 0,
            "budget_seconds": 2.0,
            "mode": "eager",
            "micro_batch": 4,
            "precision": "float32",
            "image": "sha256:0123",
        }
        assert known["host"] == platform.node()
        assert str(home) not in json.dumps(known)
        assert str(Path.home()) not in json.dumps(known)
    runs = len(study.proxy_trials()) + len(study.confirm_trials())
    line = hardware_line(study)
    assert line.startswith(f"Hardware: {CARD.label}, reference step 100,000 tokens/s, workers at 50% to 50% of it")
    assert f"budgets of {runs} runs scaled" in line


def test_a_caveat_says_which_budgets_were_scaled() -> None:
    alike = {"device": "NVIDIA RTX 4090", "torch": "2.13.0", "precision": "bfloat16"}
    runs = [proxy(i, 1.4, provenance=alike, worker="a/1") for i in range(3)]
    assert worker_differences(MADE, runs) == []
    (said,) = worker_differences(MADE, [*runs, proxy(3, 1.4, provenance=alike, worker="b/1", budget_scale=1.5)])
    assert said.startswith("budgets of 1 of 4 runs were scaled by their workers' speed, by 1.50 to 1.50 (b/1)")
