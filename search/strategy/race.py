"""The race of confirmation runs: which run is next, and why. Pure functions of the results so far.

Every candidate runs once. Further seeds go to the leader or to the candidate least surely behind it, whichever of the
two has fewer runs (LUCB: Kalyanakrishnan et al., ICML 2012), until the leader is ahead of all by more than noise, or
the runs are spent. While the proxy isn't shown to predict, further candidates enter: it can't be trusted to rule them
out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.study.results import Lead, Noise, Transfer, pooled_noise

ENTRY_REASONS = {
    "baseline": "hand-made",
    "top": "among the best proxies",
    "random": "drawn at random",
    "wider": "entered while the proxy isn't shown to predict",
    "hand": "promoted by hand",
}
"""Reason why a candidate is in the race, by its kind."""
SPENT = "hours or dollars are spent"
"""State of a race that [confirm]'s `max_hours` or `max_usd` ended."""


@dataclass(frozen=True)
class Candidate:
    """A configuration in the race, with its runs so far; lower BPB is better."""

    key: str
    kind: str
    bpb: tuple[float, ...] = ()
    pending: int = 0
    """Runs that are queued or running."""
    out: str = ""
    """Reason why it gets no more runs, such as a run that diverged; empty while it races."""

    @property
    def runs(self) -> int:
        """Number of finished and pending runs."""
        return len(self.bpb) + self.pending

    @property
    def mean(self) -> float:
        """Mean BPB of its finished runs; infinite before the first."""
        return float(np.mean(self.bpb)) if self.bpb else math.inf


@dataclass(frozen=True)
class Rules:
    """Limits of the race."""

    seeds: float = 2
    """Runs for each candidate on average."""
    max_seeds: int = 6
    """Most runs of one candidate."""
    affordable: int | None = None
    """Further runs that hours and dollars allow; None if neither is limited."""


@dataclass(frozen=True)
class RunToStart:
    """A run to start."""

    key: str
    """The candidate's key."""
    index: int
    """Number of runs that the candidate has had before."""
    why: str


@dataclass(frozen=True)
class Decision:
    """The next step of the race."""

    start: tuple[RunToStart, ...]
    """Runs to start now."""
    state: str
    """In words, what the race waits for or why it is over."""
    over: bool = False


def next_runs(
    field: Sequence[Candidate], wider: Sequence[Candidate], transfer: Transfer, rules: Rules, runs_on_rungs: int = 0
) -> Decision:
    """Return the runs to start now, and why; the same field always gives the same runs.

    `wider` are the candidates that may still enter, in order; `runs_on_rungs` counts the unfinished runs on the rungs.
    """
    fresh = [c for c in field if not c.out and not c.runs]
    if fresh:
        return _affordable(
            [RunToStart(c.key, 0, f"first run: {ENTRY_REASONS[c.kind]}") for c in fresh],
            "every candidate runs once",
            rules,
        )
    if runs_on_rungs:
        return Decision((), f"queued or under way on the rungs: {runs_on_rungs}")
    waiting = sum(c.pending for c in field if not c.bpb)
    if waiting:
        return Decision((), f"first runs queued or under way: {waiting}")
    if wider and not transfer.proven:
        why = f"first run: {ENTRY_REASONS['wider']} ({transfer.figures})"
        return _affordable(
            [RunToStart(c.key, 0, why) for c in wider], "the race widens: the proxy isn't shown to predict", rules
        )
    spent = sum(c.runs + bool(c.out) for c in field)  # a candidate that is out has had one run without a result
    return _separate([c for c in field if c.bpb], math.floor(len(field) * rules.seeds), spent, rules)


def _affordable(starts: Sequence[RunToStart], state: str, rules: Rules) -> Decision:
    """Return the decision to start as many of these runs as can be paid."""
    if rules.affordable is None or len(starts) <= rules.affordable:
        return Decision(tuple(starts), state)
    paid = tuple(starts[: rules.affordable])
    return Decision(paid, state if paid else SPENT, over=not paid)


def _separate(field: Sequence[Candidate], most: int, spent: int, rules: Rules) -> Decision:
    """Return the decision to give a seed to the leader or its closest rival, up to `most` runs of all candidates."""
    if not field:
        return Decision((), "no run has finished", over=True)
    leader = min(field, key=lambda c: (bool(c.out), c.mean, c.key))
    rivals = close_rivals(field, leader)
    if not rivals and len(leader.bpb) >= min(2, rules.seeds):
        return Decision((), f"{leader.key} is ahead of all others by more than noise", over=True)
    left = most - spent
    if left <= 0:
        return Decision((), f"all {spent} runs are spent", over=not any(c.pending for c in field))
    open_ = [c for c in [leader, *rivals] if c.runs < rules.max_seeds and not c.out]
    if not open_:
        return Decision(
            (), f"all that could still win have had {rules.max_seeds} runs", over=not any(c.pending for c in field)
        )
    pair = sorted((c for c in open_[:2] if not c.pending), key=lambda c: (c.runs, c.mean))
    if not pair:
        return Decision((), "the leader's and its rival's runs are queued or under way")
    starts = [
        RunToStart(c.key, c.runs, _why(c, leader, rivals, field))
        for c in pair[: min(left, 1 + (pair[0].runs == pair[-1].runs))]
    ]
    return _affordable(starts, "the leader is not separated yet", rules)


def close_rivals(field: Sequence[Candidate], leader: Candidate) -> list[Candidate]:
    """Return the candidates not proven to be behind the leader (95%), the least surely behind first."""
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
    noise_text = f"noise {noise.deviation:.4f} a run" if noise.deviation is not None else "noise is not known yet"
    if c.key != leader.key:
        return f"{ordinal}: {c.mean - leader.mean:.4f} behind {leader.key}, which may be chance ({noise_text})"
    if not rivals:
        return f"{ordinal}: leads after a single run"
    return f"{ordinal}: leads {rivals[0].key} by {rivals[0].mean - c.mean:.4f}, which may be chance ({noise_text})"


def survivors(bpb: Sequence[float], least: int = 2) -> list[int]:
    """Return the indices of a rung's runs that go on: the better half, at least `least`.

    The BPB of a run without a result is infinite; such a run never goes on.
    """
    order = [i for i in sorted(range(len(bpb)), key=lambda i: (bpb[i], i)) if math.isfinite(bpb[i])]
    return sorted(order[: max(least, math.ceil(len(bpb) / 2))])


def standing(field: Sequence[Candidate]) -> list[tuple[Candidate, str]]:
    """Return the candidates, the best first, each with the reason why it gets runs or gets none."""
    ran = [c for c in field if c.bpb]
    leader = min(ran, key=lambda c: (bool(c.out), c.mean, c.key)) if ran else None
    close = {c.key for c in close_rivals(ran, leader)} if leader else set()
    lines = []
    for c in sorted(field, key=lambda c: (c.mean, c.key)):
        if c.out:
            text = c.out
        elif not c.bpb:
            text = "its first run is queued or under way" if c.pending else "has not run"
        elif leader is not None and c.key == leader.key:
            text = "leads" + ("" if close or len(ran) == 1 else ", ahead of all by more than noise")
        else:
            text = "not surely behind" if c.key in close else "behind by more than noise"
        lines.append((c, text))
    return lines
