"""A machine that fails the self-test, can't capture a step or isn't fast enough claims nothing, and says why."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from optuna.trial import TrialState

from model.errors import CompileError
from model.training.self_test import SelfTest
from search.cli.error_messages import exit_code_and_message
from search.common.errors import HardwareError
from search.common.exit_codes import REFUSED
from search.common.signals import StopRequest
from search.machine.admission import is_reference_compiled, pinned_hardware, require_precision
from search.machine.hardware import Hardware
from search.study.study import LinkedStudy
from search.worker.worker import Worker
from storage.server.database import Database
from tests.model.training.stand_in import stand_in
from tests.search.machine.test_hardware import CARD, at, made

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
PASSED = SelfTest(mode="eager + CUDA graphs", seconds=12.0)


def worker(study: LinkedStudy, here: Hardware, test: SelfTest, trainer: Any = None) -> Worker:
    return Worker(
        study,
        "one",
        torch.device("cpu"),
        StopRequest(),
        lambda line: None,
        trainer or unused,
        self_test=lambda device, compiled: test,
        detect_hardware=lambda device, compiled: here,
    )


def unused(*given: Any, **options: Any) -> NoReturn:
    raise AssertionError("nothing may be trained")


@pytest.mark.parametrize(
    ("here", "test", "says"),
    [
        (
            CARD,
            replace(PASSED, trouble="a training step could not be captured as a CUDA graph on cuda:0: x"),
            "be captured",
        ),
        (CARD, replace(PASSED, trouble="not even one sequence of 512 tokens fits"), "not even one sequence"),
        (at(0.6), PASSED, "at 60% of the study's 100,000 tokens/s: throttled, shared or capped"),
        (at(1.0, memory_gib=11.6), PASSED, r"\(12 GiB\), reference step"),
        (at(1.0, compiled=True), PASSED, "compiled here, but not compiled for the study"),
    ],
    ids=["no capture", "full", "slow", "small", "compiled"],
)
def test_what_is_not_fit_for_a_study_claims_nothing(
    database: Database, home: Path, here: Hardware, test: SelfTest, says: str
) -> None:
    """One sentence or two in one line, and exit code 1, with which nothing starts the worker again."""
    study = made(database)
    study.proxies.set_user_attr("hardware", json.dumps(CARD.table()))
    with pytest.raises(HardwareError, match=says) as refused:
        worker(study, here, test).run()
    code, message = exit_code_and_message(refused.value)
    assert (code, message) == (REFUSED, str(refused.value))
    assert "\n" not in str(message)
    assert {t.state for t in study.proxy_trials()} == {TrialState.WAITING}


FLOAT8 = 'precision = "float8"'
MAY_DRAW_FLOAT8: dict[str, dict[str, str]] = {
    "fixed": {"[space]": f"[train]\n{FLOAT8}\n[space]"},
    "searched": {
        "[space]": '[space]\nprecision = { choices = ["auto", "float8"] }',
        "[baselines.by-hand]": '[baselines.by-hand]\nprecision = "auto"',
    },
    "a baseline's": {"[baselines.by-hand]": f"[baselines.by-hand]\n{FLOAT8}"},
}


@pytest.mark.parametrize("replacing", MAY_DRAW_FLOAT8.values(), ids=MAY_DRAW_FLOAT8)
def test_a_device_without_float8_claims_nothing_of_a_study_that_may_draw_it(
    database: Database, home: Path, replacing: dict[str, str]
) -> None:
    study = made(database, **replacing)
    with pytest.raises(HardwareError, match='precision = "float8", but only GPUs multiply in it'):
        worker(study, CARD, PASSED).run()
    assert {t.state for t in study.proxy_trials()} == {TrialState.WAITING}
    with stand_in() as gpu:
        require_precision(study.plan, gpu.device)


def test_a_failed_self_test_pins_nothing(database: Database, home: Path) -> None:
    study = made(database)
    with pytest.raises(HardwareError, match="failed the self-test: it is broken; nothing was claimed"):
        worker(study, CARD, SelfTest(trouble="it is broken")).run()
    assert pinned_hardware(study) is None


def test_the_reference_step_is_compiled_as_the_study_is(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, missing = torch.device("cuda", 0), list[str]()
    monkeypatch.setattr("model.training.compiling.missing_compiler", lambda device: missing[0] if missing else None)
    study = made(database, **{'budget = "2s"': 'budget = "10m"'})
    assert is_reference_compiled(study, gpu)
    assert not is_reference_compiled(study, torch.device("cpu"))
    missing.append("Triton is not installed")
    assert not is_reference_compiled(study, gpu)
    missing.clear()
    study.proxies.set_user_attr("hardware", json.dumps(CARD.table()))  # as a version before pinned it
    assert not is_reference_compiled(study, gpu)


def test_a_study_that_must_be_compiled_refuses_a_machine_that_can_not(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.training.compiling.missing_compiler", lambda device: "Triton is not installed")
    study = made(database)
    plan = replace(study.plan, train=replace(study.plan.train, compile="on"))
    with pytest.raises(CompileError, match='`compile` is "on", but Triton is not installed'):
        is_reference_compiled(replace(study, plan=plan), torch.device("cuda", 0))
