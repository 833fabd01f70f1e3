"""`doctor --gpu`: what it says of a device that passes, of one that fails, and of its share of a study's speed."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from model.network.flops import flops_per_token
from model.training import self_test as module
from model.training.reference_step import ON_GPU
from model.training.self_test import SelfTest
from search.common.errors import SearchError
from search.doctor.training import look, speed_line
from tests.model.training.stand_in import stand_in
from tests.search.conftest import Typed
from tests.search.machine.test_hardware import CARD


def nothing() -> Any:
    raise SearchError("no study was asked for")


def test_the_command_trains_where_it_is_asked_to(typed: Typed, fresh_home: Any) -> None:
    _, printed, _ = typed("doctor", "--gpu", "--device", "cpu", "--json")
    found = {f["name"]: f for f in json.loads(printed)["findings"]}
    assert found["self-test"]["state"] == "ok"
    assert found["self-test"]["found"].startswith("cpu passed in ")
    assert " tokens/s (not compiled), MFU " in found["speed"]["found"]


def test_a_device_that_fails_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "self_test", lambda device, compiled: SelfTest(trouble="no capture"))
    (finding,) = look(nothing, None, lambda: torch.device("cpu"))
    assert (finding.state, finding.name, finding.found) == ("BAD", "self-test", "cpu failed: no capture")
    assert finding.cure


def test_a_device_that_is_not_there_is_bad() -> None:
    (finding,) = look(nothing, None, nothing)
    assert (finding.state, finding.found) == ("BAD", "no study was asked for")


def test_the_speed_by_hand() -> None:
    """100,000 tokens/s of the reference's network, of the 165.2 TFLOP/s of a 4090's data sheet."""
    mfu = 100_000 * flops_per_token(ON_GPU.network, ON_GPU.vocab_size) / 165.2e12
    with stand_in() as gpu:
        line = speed_line(CARD, replace(CARD, reference_tokens_per_second=125_000.0), gpu.device)
        alone = speed_line(CARD, None, gpu.device)
        other = speed_line(CARD, replace(CARD, name="NVIDIA H100"), gpu.device)
    assert line.endswith(f"reference step 100,000 tokens/s (not compiled), MFU {mfu:.1%}, 80% of the study's")
    assert alone.endswith("--study NAME compares it with a study's first worker")
    assert other.endswith("the study's is of another class: NVIDIA H100 (24 GiB)")
