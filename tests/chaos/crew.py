"""The workers' processes: forked from one that has imported everything, replaced when they die, as a fleet's are."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.chaos.worker import DONE, UNREACHABLE, Post, work
from tests.forking.context import forked

RESPAWN_SECONDS = 0.5


@dataclass
class Member:
    """A worker's process."""

    process: BaseProcess
    post: Post
    stopped_until: float | None = None


@dataclass
class Crew:
    """So many workers at any time; `ways` are the URLs that they are given in turn."""

    post: Post
    ways: Sequence[str]
    size: int
    clock_off_seconds: float
    """By which the first worker's clock, and that of its replacements, is wrong."""
    members: list[Member | None] = field(init=False)
    ended: Counter[str] = field(default_factory=Counter)
    """How workers ended: killed, done, unreachable (no server at the start), failed."""
    killed: set[str] = field(default_factory=set)
    _started: int = 0
    _again: float = 0.0

    def __post_init__(self) -> None:
        self.members = [None] * self.size
        os.environ["OMP_NUM_THREADS"] = "1"
        os.environ["PYTHONPATH"] = os.pathsep.join(["", *os.environ.get("PYTHONPATH", "").split(os.pathsep)])

    def keep(self) -> None:
        """Bury the dead and fill their places, unless there is nothing left to do."""
        for place, member in enumerate(self.members):
            if member is not None and not member.process.is_alive():
                self._bury(member)
                self.members[place] = None
        if self.ended["done"] or time.monotonic() < self._again:
            return
        for place, member in enumerate(self.members):
            if member is None:
                self.members[place] = self._start(place)

    def _start(self, place: int) -> Member:
        self._started += 1
        home = self._machine(place)
        post = replace(
            self.post,
            home=home,
            name=f"worker-{place}-{self._started}",
            url=self.ways[place % len(self.ways)],
            clock_off_seconds=self.clock_off_seconds if place == 0 else 0.0,
        )
        process = forked.Process(target=work, args=(post,), daemon=True)
        process.start()
        return Member(process, post)

    def _machine(self, place: int) -> Path:
        """Return the folder that is a machine's disk: what a worker leaves there, the next one finds."""
        home = self.post.home / f"machine-{place}"
        if not home.exists():
            home.mkdir()
            (home / "cache").symlink_to(self.post.home / "cache")
        return home

    def _bury(self, member: Member) -> None:
        code = member.process.exitcode
        if member.post.name in self.killed:
            self.ended["killed"] += 1
        elif code == DONE:
            self.ended["done"] += 1
        elif code == UNREACHABLE:
            self.ended["unreachable"] += 1
            self._again = time.monotonic() + RESPAWN_SECONDS
        else:
            self.ended["failed"] += 1
            self._again = time.monotonic() + RESPAWN_SECONDS

    def alive(self) -> list[Member]:
        """Return those who live, stopped ones included."""
        return [m for m in self.members if m is not None and m.process.is_alive()]

    def pick(self, draw: random.Random, wanted: Callable[[Member], bool]) -> Member | None:
        """Return one of those who run and are wanted, or else of those who run."""
        running = [m for m in self.alive() if m.stopped_until is None and m.post.name not in self.killed]
        chosen = [m for m in running if wanted(m)] or running
        return draw.choice(chosen) if chosen else None

    def kill(self, member: Member) -> None:
        """End it as a machine ends that loses its power."""
        self.killed.add(member.post.name)
        _signal(member, signal.SIGKILL)

    def stop(self, member: Member, seconds: float) -> None:
        """Let it stand still for so long."""
        member.stopped_until = time.monotonic() + seconds
        _signal(member, signal.SIGSTOP)

    def wake(self, *, all_: bool = False) -> None:
        """Let those go on whose time has come."""
        for member in self.alive():
            if member.stopped_until is not None and (all_ or time.monotonic() >= member.stopped_until):
                member.stopped_until = None
                _signal(member, signal.SIGCONT)

    def close(self) -> None:
        """End whoever is left."""
        for member in self.alive():
            self.kill(member)
            member.process.join(10)


def _signal(member: Member, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        assert member.process.pid
        os.kill(member.process.pid, number)
