"""The race of confirmation runs: whose turn it is, and why. Pure functions of what has been measured so far.

Every candidate runs once. Further seeds go to the leader and to the candidate least surely behind it, the one of the
two with fewer runs (LUCB: Kalyanakrishnan et al., ICML 2012), until the leader is ahead of all by more than noise, or
the runs are spent. While the proxy isn't shown to predict, further candidates enter instead of being trusted away.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.study.results import Lead, Noise, Transfer, pooled_noise

KINDS = {
    "baseline": "hand-made",
    "top": "among the best proxies",
    "random": "drawn at random",
    "wider": "entered while the proxy isn't shown to predict",
    "hand": "promoted by hand",
}
SPENT = "hours or dollars are spent"


@dataclass(frozen=True)
class Candidate:
    """A configuration in the race, with its runs so far; lower BPB is better."""

    key: str
    kind: str
    bpb: tuple[float, ...] = ()
    pending: int = 0
    out: str = ""
    """Why it runs no more, such as a run that diverged; empty while it races."""

    @property
    def runs(self) -> int:
        """Finished and pending runs."""
        return len(self.bpb) + self.pending

    @property
    def mean(self) -> float:
        """Mean BPB of its finished runs."""
        return float(np.mean(self.bpb)) if self.bpb else math.inf


@dataclass(frozen=True)
class Rules:
    """What the race may spend."""

    seeds: float = 2
    """Runs for each candidate on average."""
    max_seeds: int = 6
    affordable: int | None = None
    """Further runs that hours and dollars allow."""


@dataclass(frozen=True)
class Start:
    """A run to start: the n-th of a candidate, from 0."""

    key: str
    index: int
    why: str


@dataclass(frozen=True)
class Turn:
    """What to do now."""

    start: tuple[Start, ...]
    state: str
    """A sentence: what the race waits for, or why it is over."""
    over: bool = False


def turn(
    field: Sequence[Candidate], wider: Sequence[Candidate], transfer: Transfer, rules: Rules, climbing: int = 0
) -> Turn:
    """Return the runs to start now, and why; repeated with the same field, the same ones.

    `wider` are those that may still enter, in order; `climbing` counts the runs on the rungs that are not over.
    """
    fresh = [c for c in field if not c.out and not c.runs]
    if fresh:
        return _within(
            [Start(c.key, 0, f"first run: {KINDS[c.kind]}") for c in fresh], "every candidate runs once", rules
        )
    if climbing:
        return Turn((), f"queued or under way on the rungs: {climbing}")
    waiting = sum(c.pending for c in field if not c.bpb)
    if waiting:
        return Turn((), f"first runs queued or under way: {waiting}")
    if wider and not transfer.proven:
        why = f"first run: {KINDS['wider']} ({transfer.figures})"
        return _within(
            [Start(c.key, 0, why) for c in wider], "the race widens: the proxy isn't shown to predict", rules
        )
    spent = sum(c.runs + bool(c.out) for c in field)  # one that is out has had a run without a result
    return _separate([c for c in field if c.bpb], math.floor(len(field) * rules.seeds), spent, rules)


def _within(starts: Sequence[Start], state: str, rules: Rules) -> Turn:
    """Start what can be paid."""
    if rules.affordable is None or len(starts) <= rules.affordable:
        return Turn(tuple(starts), state)
    paid = tuple(starts[: rules.affordable])
    return Turn(paid, state if paid else SPENT, over=not paid)


def _separate(field: Sequence[Candidate], most: int, spent: int, rules: Rules) -> Turn:
    """Give a seed to the leader or to the one least surely behind it, up to so many runs of all together."""
    if not field:
        return Turn((), "no run has finished", over=True)
    leader = min(field, key=lambda c: (bool(c.out), c.mean, c.key))
    rivals = close_rivals(field, leader)
    if not rivals and len(leader.bpb) >= min(2, rules.seeds):
        return Turn((), f"{leader.key} is ahead of all others by more than noise", over=True)
    left = most - spent
    if left <= 0:
        return Turn((), f"all {spent} runs are spent", over=not any(c.pending for c in field))
    open_ = [c for c in [leader, *rivals] if c.runs < rules.max_seeds and not c.out]
    if not open_:
        return Turn((), f"who could still win has had {rules.max_seeds} runs", over=not any(c.pending for c in field))
    pair = sorted((c for c in open_[:2] if not c.pending), key=lambda c: (c.runs, c.mean))
    if not pair:
        return Turn((), "the leader's and its rival's runs are queued or under way")
    starts = [
        Start(c.key, c.runs, _why(c, leader, rivals, field))
        for c in pair[: min(left, 1 + (pair[0].runs == pair[-1].runs))]
    ]
    return _within(starts, "the leader is not separated yet", rules)


def close_rivals(field: Sequence[Candidate], leader: Candidate) -> list[Candidate]:
    """Return those not proven to be behind the leader (95%), the least surely behind first."""
    noise = pooled_noise([c.bpb for c in field])
    rivals = [c for c in field if c.key != leader.key and not c.out]
    if noise.deviation is None:
        return sorted(rivals, key=lambda c: (c.mean, c.key))
    leads = {c.key: _lead(leader, c, noise) for c in rivals}
    return sorted((c for c in rivals if not leads[c.key].proven), key=lambda c: (leads[c.key].in_noise, c.key))


def _lead(leader: Candidate, rival: Candidate, noise: Noise) -> Lead:
    return Lead(rival.mean - leader.mean, noise.least_gap(len(leader.bpb), len(rival.bpb)))


def _why(c: Candidate, leader: Candidate, rivals: Sequence[Candidate], field: Sequence[Candidate]) -> str:
    ordinal = f"run {c.runs + 1}"
    noise = pooled_noise([other.bpb for other in field])
    known = f"noise {noise.deviation:.4f} a run" if noise.deviation is not None else "noise is not known yet"
    if c.key != leader.key:
        return f"{ordinal}: {c.mean - leader.mean:.4f} behind {leader.key}, which may be chance ({known})"
    if not rivals:
        return f"{ordinal}: leads after a single run"
    return f"{ordinal}: leads {rivals[0].key} by {rivals[0].mean - c.mean:.4f}, which may be chance ({known})"


def survivors(bpb: Sequence[float], least: int = 2) -> list[int]:
    """Return which of a rung's runs go on: the better half, at least `least`; a run without a result is infinite."""
    order = [i for i in sorted(range(len(bpb)), key=lambda i: (bpb[i], i)) if math.isfinite(bpb[i])]
    return sorted(order[: max(least, math.ceil(len(bpb) / 2))])


def standing(field: Sequence[Candidate]) -> list[tuple[Candidate, str]]:
    """Return the candidates, the best first, each with why it gets runs or gets none."""
    ran = [c for c in field if c.bpb]
    leader = min(ran, key=lambda c: (bool(c.out), c.mean, c.key)) if ran else None
    close = {c.key for c in close_rivals(ran, leader)} if leader else set()
    lines = []
    for c in sorted(field, key=lambda c: (c.mean, c.key)):
        if c.out:
            said = c.out
        elif not c.bpb:
            said = "its first run is queued or under way" if c.pending else "has not run"
        elif leader is not None and c.key == leader.key:
            said = "leads" + ("" if close or len(ran) == 1 else ", ahead of all by more than noise")
        else:
            said = "not surely behind" if c.key in close else "behind by more than noise"
        lines.append((c, said))
    return lines
