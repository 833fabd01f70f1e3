"""Models of several studies, ranked where their BPB can be compared, and only there.

BPB can be compared if it was measured on the same validation text, by the same protocol, after the same budget on the
same hardware; there is a board for each such set of conditions. Models are ranked by mean BPB; those that failed in a
long run come last. Differences within the noise are marked, not given a shared rank: "within the noise of each other"
isn't transitive, so that shared ranks would either chain a whole board into one, or put a model with few seeds before
one whose mean is better and more certain.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from search.common.durations import format_duration
from search.study.estimate import Estimate
from search.study.results import Noise, lead
from search.study.scores import PairScores

UNKNOWN = "unknown, of "
"""Beginning of a text's hash that isn't known; the result's name follows, so that it can't be compared with others."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions that two results must have in common for their BPB to be compared."""

    text: str
    """SHA-256 of all documents, each with its part (training or validation), so that it covers the split too."""
    protocol: str
    """Name of the evaluation protocol."""
    context: int | None
    """Tokens of context in a prediction; None if it is a searched setting, whose values the study compares."""
    budget_seconds: float
    hardware: str
    """Class of machine on which the budget was spent; empty if it isn't known."""

    @property
    def lossless(self) -> bool:
        """Whether the tokenizer keeps all text."""
        return "lossy" not in self.protocol

    @property
    def budget(self) -> str:
        """Budget and hardware, as text."""
        return f"{format_duration(self.budget_seconds)} on {self.hardware or 'unknown hardware'}"

    @property
    def measured(self) -> str:
        """Text, context and protocol, as text."""
        context = "each model's own context" if self.context is None else f"context {self.context}"
        text = "text not known" if self.text.startswith(UNKNOWN) else f"text {self.text[:12]}"
        return f"{text}, {context}; {self.protocol}"


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A confirmed model on the leaderboard; all its texts are without control characters."""

    study: str
    configuration: str
    settings: str
    """Searched settings, on one line."""
    source: str
    """Source of its text."""
    conditions: Conditions
    mean_bpb: float
    """Mean BPB of its runs, by which it is ranked."""
    seeds: int
    noise: Noise
    """Noise from seed to seed in its study."""
    estimate: Estimate | None = None
    """What to expect of it; None in exports of older versions, which state the mean of its runs."""
    baseline: bool = False
    failed: int = 0
    """Number of long runs that failed by the configuration's own fault."""
    n_params: int | None = None
    n_active_params: int | None = None
    confirmed_on: date | None = None
    """UTC day of its last confirmation run."""
    running: bool = False
    """Whether its study is still running."""
    remarks: tuple[str, ...] = ()
    generations: Mapping[str, str] = field(default_factory=dict)
    """Generated texts by their prompts."""
    link: str | None = None
    pairs: PairScores | None = None
    """Its runs' scores on minimal pairs; nothing is ranked by them."""

    @property
    def name(self) -> str:
        """Name that is unique across studies."""
        return f"{self.study}, {self.configuration}"

    @property
    def stated(self) -> Estimate:
        """The figure that is stated of it, with its 95% interval."""
        noise, n = self.noise, self.seeds
        return self.estimate or Estimate(self.mean_bpb, noise.half_width(n), noise.prediction_half_width(n))

    @property
    def score(self) -> str:
        """BPB with its interval, as text."""
        return self.stated.text

    @property
    def place(self) -> tuple[bool, float]:
        """Sort key of the ranking."""
        return self.failed > 0, self.mean_bpb


@dataclass(frozen=True, kw_only=True)
class Row:
    """An entrant with its rank on a board."""

    rank: int
    entrant: Entrant
    notes: tuple[str, ...]
    """Remarks; the board's heading has those that all its rows share."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """The ranked entrants with the same conditions."""

    conditions: Conditions
    rows: Sequence[Row]
    entrants: int
    """Number of entrants, those included that are not shown."""
    undecided: Sequence[int]
    """Ranks of the entrants that are not proven worse than the first."""

    @property
    def heading(self) -> str:
        """Text and budget, as text."""
        sources = list(dict.fromkeys(row.entrant.source for row in self.rows))
        lossy = "" if self.conditions.lossless else ", LOSSY tokenizer"
        return f"{' = '.join(sources)}, {self.conditions.budget}{lossy}"

    @property
    def scored(self) -> bool:
        """Whether any entrant was scored on minimal pairs."""
        return any(row.entrant.pairs for row in self.rows)

    @property
    def proven(self) -> bool:
        """Whether the first is better than all others by more than noise."""
        return self.entrants > 1 and not self.undecided

    @property
    def sureness(self) -> str:
        """Sentences on how sure the first place is, and on what is not shown."""
        running = sorted({row.entrant.study for row in self.rows if row.entrant.running})
        hidden = self.entrants - len(self.rows)
        sentences = [f"{hidden} more are ranked below."] if hidden else []
        sentences += [f"Still running: {', '.join(running)}."] if running else []
        return " ".join([self._first(), *sentences])

    def _first(self) -> str:
        if self.entrants == 1:
            return "Alone under these conditions: nothing to compare it with."
        if self.proven:
            return "The first is proven better than each of the others (95% each)."
        return f"The first is not proven better than {_places(self.undecided)}."


def _places(ranks: Sequence[int]) -> str:
    """Return ranks as text: place 2, places 2 to 5, places 2, 4 and 5."""
    if len(ranks) == 1:
        return f"place {ranks[0]}"
    if len(ranks) > 2 and list(ranks) == list(range(ranks[0], ranks[-1] + 1)):
        return f"places {ranks[0]} to {ranks[-1]}"
    return f"places {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


def boards(entrants: Sequence[Entrant], top: int | None = None) -> list[Board]:
    """Return the boards, each with its best `top` entrants, by text and then by budget, the longest first."""
    groups: dict[Conditions, list[Entrant]] = {}
    for entrant in _without_duplicates(entrants):
        groups.setdefault(entrant.conditions, []).append(entrant)
    ranked_boards = [_board(conditions, group, top) for conditions, group in groups.items()]
    return sorted(ranked_boards, key=_order)


def _order(board: Board) -> tuple[Any, ...]:
    conditions = board.conditions
    return (
        board.rows[0].entrant.source,
        conditions.text,
        not conditions.lossless,
        -conditions.budget_seconds,
        str(conditions),
    )


def _without_duplicates(entrants: Sequence[Entrant]) -> list[Entrant]:
    """Return the entrants without duplicates, such as a study's best and its export; the first is kept."""
    first_of: dict[tuple[Any, ...], Entrant] = {}
    for entrant in entrants:
        # Hardware isn't compared: an export names the machine of one run, a study the one that it is pinned to.
        measured = (entrant.mean_bpb, entrant.seeds, entrant.conditions.text, entrant.conditions.protocol)
        first_of.setdefault((entrant.name, *measured), entrant)
    return list(first_of.values())


def _board(conditions: Conditions, group: Sequence[Entrant], top: int | None) -> Board:
    ranked = sorted(group, key=lambda e: e.place)
    ranks = [1 + sum(other.place < e.place for other in ranked) for e in ranked]
    rows = [
        Row(rank=rank, entrant=e, notes=_notes(e, next_entrant))
        for rank, e, next_entrant in zip(ranks, ranked, [*ranked[1:], None], strict=True)
    ]
    undecided = [rank for rank, e in zip(ranks[1:], ranked[1:], strict=True) if not proven_better(ranked[0], e)]
    return Board(conditions=conditions, rows=rows[:top], entrants=len(ranked), undecided=undecided)


def _notes(entrant: Entrant, next_entrant: Entrant | None) -> tuple[str, ...]:
    notes = ["hand-made" if entrant.baseline else "found by search"]
    if entrant.n_params:
        notes.append(f"{entrant.n_params / 1e6:.2g}M parameters")
        if entrant.n_active_params not in (None, entrant.n_params):
            notes[-1] += f", {entrant.n_active_params / 1e6:.2g}M of them active"
    if entrant.noise.deviation is None:
        notes.append("noise not known")
    elif next_entrant is not None and not proven_better(entrant, next_entrant):
        notes.append("not proven better than the next")
    if entrant.failed:
        runs = entrant.failed + entrant.seeds
        notes.append(f"failed in {entrant.failed} of {runs} long runs: behind all that didn't")
    return (*notes, *entrant.remarks)


def proven_better(one: Entrant, other: Entrant) -> bool:
    """Return whether one is better than the other by more than noise explains, by Student's t at 95%.

    The noise of both studies is pooled. An entrant that failed in a long run is certainly behind one that didn't.
    """
    return lead(one, other, pooled(one.noise, other.noise)).proven


def pooled(one: Noise, other: Noise) -> Noise:
    """Return the pooled noise of two studies; unknown if one of them is, and unchanged if both are the same."""
    if one == other:
        return one
    if one.deviation is None or other.deviation is None:
        return Noise(None, 0)
    degrees = one.degrees + other.degrees
    squares = one.degrees * one.deviation**2 + other.degrees * other.deviation**2
    return Noise(math.sqrt(squares / degrees), degrees)
