"""Models of several studies, ranked where their BPB can be compared, and only there.

What can be compared is measured on the same validation text, by the same protocol, after the same budget on the same
hardware; each such ground has a board of its own. A rank is the place by mean BPB, behind it all that failed in a
long run. Differences within the noise are marked, not given a shared rank: to be within the noise of one another is
not transitive, so that shared ranks would either chain a whole board into one, or put a model with few seeds before
one whose mean is better and more certain.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from search.common.durations import format_duration
from search.study.results import Noise, bpb_text, lead

UNKNOWN = "unknown, of "
"""Begins the text of a result that doesn't tell it; whose result it is follows, so that it compares with no other."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What two results must have in common for their BPB to be compared."""

    text: str
    """Sha-256 of all documents, each with the part it belongs to, so that the hold-out is in it."""
    protocol: str
    """Name of the evaluation's protocol."""
    context: int | None
    """Tokens that a prediction looks back on; None where a study searched it, and so compares them itself."""
    budget_seconds: float
    hardware: str
    """The class of machine whose seconds they are; empty where it isn't known."""

    @property
    def lossless(self) -> bool:
        """Whether the tokenizer keeps all text."""
        return "lossy" not in self.protocol

    @property
    def budget(self) -> str:
        """What was spent on each run, for people."""
        return f"{format_duration(self.budget_seconds)} on {self.hardware or 'unknown hardware'}"

    @property
    def measured(self) -> str:
        """How the BPB was measured, for people."""
        context = "each model's own context" if self.context is None else f"context {self.context}"
        text = "text not known" if self.text.startswith(UNKNOWN) else f"text {self.text[:12]}"
        return f"{text}, {context}; {self.protocol}"


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A confirmed model; all its texts are plain."""

    study: str
    configuration: str
    settings: str
    """The searched settings, on one line."""
    source: str
    """Where its text came from."""
    ground: Ground
    mean_bpb: float
    seeds: int
    noise: Noise
    """From seed to seed, in its study."""
    baseline: bool = False
    failed: int = 0
    """Long runs that failed by their own fault."""
    n_params: int | None = None
    confirmed_on: date | None = None
    """The UTC day of its last confirmation."""
    going: bool = False
    """Whether its study still runs."""
    remarks: tuple[str, ...] = ()
    generations: Mapping[str, str] = field(default_factory=dict)
    """What it writes on from each prompt."""
    link: str | None = None

    @property
    def name(self) -> str:
        """What people call it, across studies."""
        return f"{self.study}, {self.configuration}"

    @property
    def half_width(self) -> float | None:
        """Of the 95% interval."""
        return self.noise.half_width(self.seeds)

    @property
    def score(self) -> str:
        """BPB with its interval, for people."""
        return bpb_text(self.mean_bpb, self.half_width)

    @property
    def place(self) -> tuple[bool, float]:
        """What it is ranked by."""
        return self.failed > 0, self.mean_bpb


@dataclass(frozen=True, kw_only=True)
class Row:
    """An entrant with its rank on a board."""

    rank: int
    entrant: Entrant
    notes: tuple[str, ...]
    """What should be known of it here; its board's heading says the rest."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """The ranked entrants of one ground."""

    ground: Ground
    rows: Sequence[Row]
    entrants: int
    """All of them, those included that are not shown."""
    undecided: Sequence[int]
    """Ranks of those that are not proven worse than the first."""

    @property
    def heading(self) -> str:
        """Text and budget, for people."""
        sources = list(dict.fromkeys(row.entrant.source for row in self.rows))
        lossy = "" if self.ground.lossless else ", LOSSY tokenizer"
        return f"{' = '.join(sources)}, {self.ground.budget}{lossy}"

    @property
    def proven(self) -> bool:
        """Whether the first is better than all others by more than noise."""
        return self.entrants > 1 and not self.undecided

    @property
    def sureness(self) -> str:
        """How sure the first place is, and what is not shown, in a sentence or two."""
        going = sorted({row.entrant.study for row in self.rows if row.entrant.going})
        hidden = self.entrants - len(self.rows)
        said = [f"{hidden} more are ranked below."] if hidden else []
        said += [f"Still running: {', '.join(going)}."] if going else []
        return " ".join([self._first(), *said])

    def _first(self) -> str:
        if self.entrants == 1:
            return "Alone on its ground: nothing to compare it with."
        if self.proven:
            return "The first is proven better than each of the others (95% each)."
        return f"The first is not proven better than {_places(self.undecided)}."


def _places(ranks: Sequence[int]) -> str:
    """Return ranks as people write them: place 2, places 2 to 5, places 2, 4 and 5."""
    if len(ranks) == 1:
        return f"place {ranks[0]}"
    if len(ranks) > 2 and list(ranks) == list(range(ranks[0], ranks[-1] + 1)):
        return f"places {ranks[0]} to {ranks[-1]}"
    return f"places {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


def boards(entrants: Sequence[Entrant], top: int | None = None) -> list[Board]:
    """Return a board for each ground, the best `top` entrants on each; longest budgets first within a text."""
    grounds: dict[Ground, list[Entrant]] = {}
    for entrant in _once(entrants):
        grounds.setdefault(entrant.ground, []).append(entrant)
    found = [_board(ground, group, top) for ground, group in grounds.items()]
    return sorted(found, key=_order)


def _order(board: Board) -> tuple[Any, ...]:
    ground = board.ground
    return board.rows[0].entrant.source, ground.text, not ground.lossless, -ground.budget_seconds, str(ground)


def _once(entrants: Sequence[Entrant]) -> list[Entrant]:
    """Leave out what is there twice: a study's best and its export, say; the first stays."""
    known: dict[tuple[Any, ...], Entrant] = {}
    for entrant in entrants:
        # Not by all of the ground: an export notes the machine of one run, a study the one that it is pinned to.
        result = (entrant.mean_bpb, entrant.seeds, entrant.ground.text, entrant.ground.protocol)
        known.setdefault((entrant.name, *result), entrant)
    return list(known.values())


def _board(ground: Ground, group: Sequence[Entrant], top: int | None) -> Board:
    ranked = sorted(group, key=lambda e: e.place)
    ranks = [1 + sum(other.place < e.place for other in ranked) for e in ranked]
    rows = [
        Row(rank=rank, entrant=e, notes=_notes(e, following))
        for rank, e, following in zip(ranks, ranked, [*ranked[1:], None], strict=True)
    ]
    undecided = [rank for rank, e in zip(ranks[1:], ranked[1:], strict=True) if not proven_better(ranked[0], e)]
    return Board(ground=ground, rows=rows[:top], entrants=len(ranked), undecided=undecided)


def _notes(entrant: Entrant, following: Entrant | None) -> tuple[str, ...]:
    notes = ["hand-made" if entrant.baseline else "found by search"]
    if entrant.n_params:
        notes.append(f"{entrant.n_params / 1e6:.2g}M parameters")
    if entrant.noise.deviation is None:
        notes.append("noise not known")
    elif following is not None and not proven_better(entrant, following):
        notes.append("not proven better than the next")
    if entrant.failed:
        runs = entrant.failed + entrant.seeds
        notes.append(f"failed in {entrant.failed} of {runs} long runs: behind all that didn't")
    return (*notes, *entrant.remarks)


def proven_better(one: Entrant, other: Entrant) -> bool:
    """Return whether noise doesn't explain by how much the first is better, by Student's t at 95%.

    The noise is that of both studies, pooled; who failed in a long run is behind whoever didn't, for certain.
    """
    return lead(one, other, pooled(one.noise, other.noise)).proven


def pooled(one: Noise, other: Noise) -> Noise:
    """Return the noise of two studies together; of one and the same it is that; unknown where one is unknown."""
    if one == other:
        return one
    if one.deviation is None or other.deviation is None:
        return Noise(None, 0)
    degrees = one.degrees + other.degrees
    squares = one.degrees * one.deviation**2 + other.degrees * other.deviation**2
    return Noise(math.sqrt(squares / degrees), degrees)
