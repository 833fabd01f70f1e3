"""How often the race exports the true best, and what it spends, over simulated studies of which the truth is known.

Only the pure functions of `search.strategy.race` are driven. Truth, proxies and each seed's noise are the same for
all methods.

python -m tests.search.race_sim --studies 2000
"""

import argparse
import heapq
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from search.strategy.race import Candidate, Rules, next_runs
from search.study.results import Transfer, transfer_check

CONFIGURATIONS = 50
"""Finished proxies; the baseline is one more."""
HANDMADE = (-1.0, 0.5)
"""Mean and spread of the baseline's true BPB: a person's choice is better than most, in units of the spread."""
RHOS, SIGMAS = (0.0, 0.3, 0.6, 0.9), (0.03, 0.1, 0.3)
MOST_SEEDS = 8
UNASKED = Transfer(0, None, None, None)


@dataclass(frozen=True)
class Made:
    """One study: true long BPB, what the proxy said of it, and what each seed of a long run would measure.

    The baseline comes first; the others are in the order of their proxies. The spread of the truth is 1.
    """

    true: Float[ndarray, " n"]
    proxy: Float[ndarray, " n"]
    measured: Float[ndarray, "n seeds"]

    @classmethod
    def draw(cls, rho: float, sigma: float, seed: int) -> "Made":
        """Draw a study whose proxies have rank correlation `rho` with the truth, and noise `sigma` a run."""
        rng = np.random.default_rng(seed)
        true = rng.standard_normal(CONFIGURATIONS + 1)
        true[0] = HANDMADE[0] + HANDMADE[1] * true[0]
        r = 2 * math.sin(math.pi * rho / 6)  # Pearson's r of normals whose Spearman's is rho
        proxy = r * true + math.sqrt(1 - r * r) * rng.standard_normal(len(true))
        order = [0, *(1 + np.argsort(proxy[1:]))]
        true, proxy = true[order], proxy[order]
        return cls(true, proxy, true[:, None] + sigma * rng.standard_normal((len(true), MOST_SEEDS)))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Who takes part in a race, and how many runs are trained at a time."""

    top: int = 5
    random: int = 1
    widen: int = 3
    seeds: float = 2
    max_seeds: int = 6
    workers: int = 1


@dataclass(frozen=True)
class Outcome:
    """What one method came to in one study."""

    picked: int
    ran: tuple[int, ...]
    runs: int
    rounds: float
    """Time until the last run's end, in runs."""


@dataclass
class Track:
    """Runs that were asked for, on so many workers; each takes as long as any other."""

    workers: list[float]
    running: list[tuple[float, int, int]]
    now: float = 0.0

    def ask(self, place: int, index: int) -> None:
        free = heapq.heappop(self.workers)
        end = max(free, self.now) + 1
        heapq.heappush(self.workers, end)
        heapq.heappush(self.running, (end, place, index))

    def next_end(self) -> tuple[int, int]:
        self.now, place, index = heapq.heappop(self.running)
        return place, index


def race(made: Made, shape: Shape, seed: int = 0) -> Outcome:
    """Run the race by `next_runs` until nothing runs and nothing is due."""
    field, rounds = raced_field(made, shape, seed)
    return _outcome({place: c.bpb for place, c in field.items()}, rounds)


def raced_field(made: Made, shape: Shape, seed: int = 0) -> tuple[dict[int, Candidate], float]:
    """Run the race, and return its candidates by their place in the study with all their runs, and its rounds."""
    field, reserve = _entered(made, shape, seed)
    track = Track([0.0] * shape.workers, [])
    rules = Rules(shape.seeds, shape.max_seeds)
    while True:
        waiting = [Candidate(str(p), "wider") for p in reserve]
        for start in next_runs(list(field.values()), waiting, _transfer(made, field, reserve), rules).start:
            place = int(start.key)
            if place in reserve:
                reserve.remove(place)
                field[place] = Candidate(start.key, "wider")
            field[place] = replace(field[place], pending=field[place].pending + 1)
            track.ask(place, start.index)
        if not track.running:
            return field, track.now
        place, index = track.next_end()
        c = field[place]
        field[place] = replace(c, bpb=(*c.bpb, float(made.measured[place, index])), pending=c.pending - 1)


def _entered(made: Made, shape: Shape, seed: int) -> tuple[dict[int, Candidate], list[int]]:
    """Return the field at the start, and who may enter later: the next best and one at random, in turn."""
    rng = np.random.default_rng((seed, 1))
    rest = list(range(1 + shape.top, len(made.true)))
    drawn = [rest.pop(rng.integers(len(rest))) for _ in range(shape.random)]
    reserve = [rest.pop(0 if i % 2 == 0 else rng.integers(len(rest))) for i in range(shape.widen)]
    kinds = {0: "baseline", **dict.fromkeys(range(1, 1 + shape.top), "top"), **dict.fromkeys(drawn, "random")}
    return {place: Candidate(str(place), kind) for place, kind in kinds.items()}, reserve


def _transfer(made: Made, field: dict[int, Candidate], reserve: Sequence[int]) -> Transfer:
    """Return the transfer check where it is asked for: while somebody may still enter."""
    if not reserve or any(not c.bpb for c in field.values()):
        return UNASKED
    return transfer_check([float(made.proxy[p]) for p in field], [c.mean for c in field.values()])


def fixed(made: Made, seeds: Sequence[int], workers: int = 1) -> Outcome:
    """Run the baseline and the best proxies with these numbers of seeds; the best mean is picked."""
    bpb = {place: tuple(map(float, made.measured[place, :n])) for place, n in enumerate(seeds)}
    return _outcome(bpb, math.ceil(sum(seeds) / workers))


def _outcome(bpb: dict[int, tuple[float, ...]], rounds: float) -> Outcome:
    picked = min(bpb, key=lambda place: float(np.mean(bpb[place])))
    return Outcome(picked, tuple(bpb), sum(map(len, bpb.values())), rounds)


SHIPPED, SMALL = Shape(), Shape(random=0, widen=0)
BROAD = Shape(top=8, seeds=1.3)
"""About as many runs as the shipped one takes, more candidates, fewer seeds."""


def methods(made: Made, seed: int) -> dict[str, Outcome]:
    """Return what each method comes to: the race as shipped, fixed shares of its cost, and all with 12 runs."""
    shipped = race(made, SHIPPED, seed)
    n = shipped.runs
    twice = [2] * (n // 2) if n % 2 == 0 else [2] * (n // 2) + [1]
    return {
        "race": shipped,
        "race, 8 workers": race(made, replace(SHIPPED, workers=8), seed),
        "top n × 2, same cost": fixed(made, twice, 8),
        "top n × 1, same cost": fixed(made, [1] * n, 8),
        "broad race": race(made, BROAD, seed),
        "race of 12 at most": race(made, SMALL, seed),
        "top 5 × 2": fixed(made, [2] * 6, 8),
        "top 10 × 1": fixed(made, [2] + [1] * 10, 8),
    }


@dataclass(frozen=True)
class Figures:
    """A method's figures over studies, an array with an entry for each study."""

    best_of_ran: Float[ndarray, " studies"]
    best_of_all: Float[ndarray, " studies"]
    regret: Float[ndarray, " studies"]
    runs: Float[ndarray, " studies"]
    rounds: Float[ndarray, " studies"]


def simulate(rho: float, sigma: float, studies: int) -> dict[str, Figures]:
    """Return every method's figures in one cell."""
    rows: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(studies):
        made = Made.draw(rho, sigma, seed)
        least = float(made.true.min())
        for name, o in methods(made, seed).items():
            chosen = float(made.true[o.picked])
            hits = float(chosen == made.true[list(o.ran)].min()), float(chosen == least)
            rows.setdefault(name, []).append((*hits, chosen - least, o.runs, o.rounds))
    return {name: Figures(*np.array(figures, dtype=float).T) for name, figures in rows.items()}


def _cell(cell: tuple[float, float, int]) -> dict[str, Figures]:
    return simulate(*cell)


def row(rho: float, sigma: float, figures: dict[str, Figures], names: Sequence[str]) -> str:
    """Return a line of the table: P(best of those run) · P(best of all) · regret · runs of each method."""
    cells = (
        f"{f.best_of_ran.mean():.2f} · {f.best_of_all.mean():.2f} · {f.regret.mean():.3f} · {f.runs.mean():.1f}"
        for f in map(figures.__getitem__, names)
    )
    return f"| {rho:g} | {sigma:g} | " + " | ".join(cells) + " |"


def footnote(figures: Sequence[dict[str, Figures]]) -> str:
    """Return what the table leaves out: simulation errors, and what eight workers change."""
    error = max(f.regret.std() / math.sqrt(len(f.regret)) for cell in figures for f in cell.values())
    changed = max(abs(cell["race, 8 workers"].regret.mean() - cell["race"].regret.mean()) for cell in figures)
    rounds = [cell["race, 8 workers"].rounds.mean() for cell in figures]
    return (
        f"Standard errors of regret at most {error:.3f}. Eight runs at a time change the race's regret by at most "
        f"{changed:.3f}; it lasts {min(rounds):.1f} to {max(rounds):.1f} runs then."
    )


def proven(rho: float, studies: int) -> tuple[float, float]:
    """Return how often the first runs show that the proxy predicts, before and after the race widens."""
    before = after = 0
    for seed in range(studies):
        made = Made.draw(rho, SIGMAS[1], seed)
        field, reserve = _entered(made, SHIPPED, seed)
        ran = {p: Candidate(str(p), "top", (float(made.measured[p, 0]),)) for p in [*field, *reserve]}
        before += _transfer(made, {p: ran[p] for p in field}, reserve).proven
        after += _transfer(made, ran, reserve).proven
    return before / studies, after / studies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--proven", action="store_true", help="only how often the transfer check is sure")
    args = parser.parse_args()
    for rho in RHOS if args.proven else ():
        print("ρ {:g}: proven in {:.1%} of studies, {:.1%} after widening".format(rho, *proven(rho, args.studies)))
    if not args.proven:
        table(args.studies, args.processes)


def table(studies: int, processes: int) -> None:
    """Print the figures of every cell."""
    cells = [(rho, sigma, studies) for rho in RHOS for sigma in SIGMAS]
    with ProcessPoolExecutor(processes) as pool:
        figures_by_cell = list(pool.map(_cell, cells))
    names = [name for name in figures_by_cell[0] if "8 workers" not in name]
    print("| ρ | σ | " + " | ".join(names) + " |\n|---|---|" + "---|" * len(names))
    for (rho, sigma, _), figures in zip(cells, figures_by_cell, strict=True):
        print(row(rho, sigma, figures, names))
    print("\n" + footnote(figures_by_cell))


if __name__ == "__main__":
    main()
