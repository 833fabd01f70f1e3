"""What all trial runs of one worker share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from optuna.artifacts._protocol import ArtifactStore

from model.training.result import Result
from model.training.self_test import SelfTest
from search.common.signals import StopRequest
from search.machine.hardware import Hardware
from search.study.study import LinkedStudy
from storage.outbox.outbox import Outbox

T = TypeVar("T")


class Retrying(Protocol):
    """Call the database, and call again as long as it is away."""

    def __call__(self, call: Callable[[], T]) -> T: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What all trial runs of one worker share: its study, its device, its ways to the database and to people."""

    study: LinkedStudy
    device: torch.device
    hardware: Hardware | None
    """Class and speed of the device; recorded with each result."""
    self_test: SelfTest | None
    """Self-test that the device passed; recorded with each result."""
    budget_scale: float
    """Factor on every budget, with which this machine does as much work as the study's first."""
    report_bytes: int
    """Bytes of validation text that a report measures."""
    trainer: Callable[..., Result]
    """Called as `model.training.train.train` is."""
    store: ArtifactStore | None
    """Store of files that machines share; None if they share none."""
    outbox: Outbox
    stop: StopRequest
    say: Callable[[str], None]
    """Prints a line for people."""
    last_lines: Callable[[], list[str]]
    """Returns the last lines that the worker printed."""
    retrying: Retrying
    delivered: Callable[[], bool]
    """Waits until the database has everything in the outbox; False if stopping is asked for before."""
    patience_seconds: float
    """Seconds that a run waits, off the clock, for the database at a report."""
