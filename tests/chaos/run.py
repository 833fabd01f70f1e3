"""Chaos: a whole study, run by many workers to whom everything happens that happens to rented machines."""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from model.data.corpus import prepare
from search.machine.preparation import tokenizers
from search.study.plan import Plan
from search.study.study import open_study
from storage.server.database import connect, parse_url
from tests.chaos.crew import Crew
from tests.chaos.events import Event, Sizes, events
from tests.chaos.network import Network
from tests.chaos.server import Server
from tests.chaos.study import Glance, Watcher
from tests.chaos.worker import Post

POLL_SECONDS = 0.1
PROXIED = 4
"""One of so many workers is behind each network that can be cut."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How chaos is run; times are real seconds."""

    sizes: Sizes
    seed: int
    scale: float
    """Real seconds for each second of a training budget."""
    most_seconds: float
    """After which the study counts as stuck."""
    clock_off_seconds: float = 3600.0
    say: Callable[[str], None] = print
    say_every_seconds: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was done, and how the workers ended."""

    done: Counter[str]
    """Events by kind."""
    ended: Counter[str]
    """Workers by how they ended."""
    seconds: float
    stuck: bool


@dataclass
class Chaos:
    """One study under chaos, on a server of its own."""

    server: Server
    plan: Plan
    home: Path
    options: Options
    _done: Counter[str] = field(default_factory=Counter)
    _heals: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._grace = self.plan.workers.grace_seconds
        self._url = self.server.start()
        self._draw = random.Random(self.options.seed + 1)
        prepare(self.plan.data, tokenizers(self.plan)[0], self.home / "cache")
        database = connect(self._url)
        open_study(database, self.plan)
        database.close()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._url

    def run(self) -> Outcome:
        """Run the study to its end."""
        sizes = self.options.sizes
        self._networks = [Network(self.server.port) for _ in range(min(2, sizes.cuts))]
        ways = [self._through(n.port) for n in self._networks]
        ways = [self._url] * (PROXIED - len(ways)) + ways
        post = Post(study=self.plan.name, url=self._url, home=self.home, scale=self.options.scale)
        self._crew = Crew(post, ways, sizes.workers, self.options.clock_off_seconds)
        started = time.monotonic()
        try:
            stuck = not self._drive(started)
        finally:
            self._crew.close()
            for network in self._networks:
                network.close()
        return Outcome(done=self._done, ended=self._crew.ended, seconds=time.monotonic() - started, stuck=stuck)

    def _through(self, port: int) -> str:
        return parse_url(self._url).set(port=port).render_as_string(hide_password=False)

    def _drive(self, started: float) -> bool:
        """Keep the crew at work and do to it what is due; returns whether it got through."""
        due = events(self.options.sizes, self.options.seed)
        watcher, said = Watcher(self._url), 0.0
        while time.monotonic() - started < self.options.most_seconds:
            self._crew.keep()
            self._crew.wake()
            self._heal()
            glance = watcher.glance()
            if glance is not None:
                while due and due[0].ended <= glance.ended:
                    self._do(due.pop(0), glance)
            if time.monotonic() - said >= self.options.say_every_seconds:
                said = time.monotonic()
                self._say(said - started, glance)
            if self._crew.ended["done"] and not self._crew.alive():
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _say(self, seconds: float, glance: Glance | None) -> None:
        done = ", ".join(f"{self._done[k]} {k}s" for k in ("kill", "stop", "restart", "cut"))
        stands = f"{glance.ended} ended, {glance.running} running, {glance.lost} lost" if glance else "server away"
        self.options.say(f"{seconds:5.0f} s: {stands}; {len(self._crew.alive())} workers; {done}")

    def _heal(self) -> None:
        for at, heal in list(self._heals):
            if time.monotonic() >= at:
                self._heals.remove((at, heal))
                heal()

    def _do(self, event: Event, glance: Glance) -> None:
        getattr(self, f"_{event.kind}")(event, glance)

    def _kill(self, event: Event, glance: Glance) -> None:
        # Every other one may be claiming or waiting; most wait at the end, when those at work are worth more.
        at_work = event.way % 2 == 0 or event.ended >= self.options.sizes.trials
        victim = self._crew.pick(self._draw, lambda m: not at_work or m.post.name in glance.busy)
        if victim is not None:
            self._crew.kill(victim)
            self._done["kill"] += 1

    def _stop(self, event: Event, glance: Glance) -> None:
        victim = self._crew.pick(self._draw, lambda m: m.post.name in glance.busy)
        if victim is not None:
            self._crew.stop(victim, 1.5 * self._grace)
            self._done["stop"] += 1

    def _restart(self, event: Event, glance: Glance) -> None:
        """Restart it, crash it, or leave it down for a while, in turn."""
        if event.way % 3 < 2:
            self.server.restart(("immediate", "fast")[event.way % 3])
        else:
            self.server.stop()
            self._heals.append((time.monotonic() + self._grace / 2, self.server.resume))
        self._done["restart"] += 1

    def _cut(self, event: Event, glance: Glance) -> None:
        """Cut a network, in silence or refusing, for longer than the grace."""
        network = self._networks[event.way % len(self._networks)]
        (network.refuse if event.way % 2 else network.hold)()
        self._heals.append((time.monotonic() + 1.5 * self._grace, network.heal))
        self._done["cut"] += 1
