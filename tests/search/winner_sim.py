"""How well the stated figure of a race's winner holds, over simulated studies of which the truth is known.

For each cell: how often the 95% interval covers the winner's true BPB, how often one new run lies in the interval that
`verify` goes by, how far the stated figure is off on average, and the intervals' mean half-width; beside the mean of
the winner's runs with Student's t, which was stated before.

python -m tests.search.winner_sim --studies 2000
python -m tests.search.winner_sim --studies 2000 --robust    # populations and noise that the model doesn't assume
"""

import argparse
import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from search.study.estimate import Estimate, estimates
from search.study.results import pooled_noise
from tests.search.race_sim import MOST_SEEDS, Made, Shape, raced_field

RHOS, SIGMAS = (0.0, 0.6, 0.9), (0.03, 0.1, 0.3, 1.0)
SHIPPED = Shape(top=8, random=1, widen=3, seeds=1.4, workers=8)
QUICKSTART = Shape(top=2, random=1, widen=1, seeds=2, max_seeds=4, workers=2)
Figures = Float[ndarray, "studies 4"]
"""For each study: covered, new run inside, error of the stated figure and half-width, both in a run's noise."""


@dataclass(frozen=True)
class Cell:
    """One kind of study."""

    rho: float
    sigma: float
    """A run's noise, in units of the spread of true BPB."""
    kind: str = "normal"
    """`normal`, or what differs: a key of `KINDS`."""
    shape: Shape = SHIPPED


def _normal(made: Made, sigma: float, seed: int) -> Made:
    return made


def _skewed(made: Made, sigma: float, seed: int) -> Made:
    """Turn the truth into a shifted log-normal of the same spread: many near the best, and a tail of bad ones."""
    true = np.exp(0.8 * made.true)
    true *= 1 / math.sqrt((math.exp(0.64) - 1) * math.exp(0.64))
    return replace(made, true=true, measured=true[:, None] + (made.measured - made.true[:, None]))


def _heavy_noise(made: Made, sigma: float, seed: int) -> Made:
    """Draw noise by Student's t with 3 degrees of freedom, of the same deviation: most runs closer, some far off."""
    noise = np.random.default_rng((seed, 2)).standard_t(3, (len(made.true), MOST_SEEDS)) / math.sqrt(3)
    return replace(made, measured=made.true[:, None] + sigma * noise)


KINDS: dict[str, Callable[[Made, float, int], Made]] = {
    "normal": _normal,
    "skewed truth": _skewed,
    "heavy noise": _heavy_noise,
}


def as_before(bpb: Sequence[Sequence[float]]) -> list[Estimate]:
    """Return the means with Student's t intervals, as they were stated before (commit 1c68674)."""
    noise = pooled_noise(bpb)
    return [Estimate(float(np.mean(g)), noise.half_width(len(g)), noise.prediction_half_width(len(g))) for g in bpb]


METHODS = {"before": as_before, "now": estimates}


def simulate(cell: Cell, studies: int) -> dict[str, Figures]:
    """Return every method's figures; studies in which no configuration ran twice are left out."""
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in METHODS}
    for seed in range(studies):
        made = KINDS[cell.kind](Made.draw(cell.rho, cell.sigma, seed), cell.sigma, seed)
        field, _ = raced_field(made, cell.shape, seed)
        places, bpb = list(field), [c.bpb for c in field.values()]
        winner = min(range(len(bpb)), key=lambda i: float(np.mean(bpb[i])))
        true = float(made.true[places[winner]])
        new_run = float(made.measured[places[winner], -1])  # no race comes so far: max_seeds is smaller
        for name, method in METHODS.items():
            stated = method(bpb)[winner]
            if stated.half_width is not None and stated.new_run_half_width is not None:
                covered = abs(true - stated.bpb) <= stated.half_width
                inside = abs(new_run - stated.bpb) <= stated.new_run_half_width
                error, width = (stated.bpb - true) / cell.sigma, stated.half_width / cell.sigma
                rows[name].append((float(covered), float(inside), error, width))
    return {name: np.array(figures) for name, figures in rows.items()}


def _simulate(task: tuple[Cell, int]) -> dict[str, Figures]:
    return simulate(*task)


def row(cell: Cell, figures: dict[str, Figures]) -> str:
    """Return a line of the table."""
    parts = []
    for name in METHODS:
        covered, inside, error, width = figures[name].mean(axis=0)
        parts.append(f"{covered:.3f} · {inside:.3f} · {error:+.2f} · {width:.2f}")
    return f"| {cell.kind} | {cell.rho:g} | {cell.sigma:g} | " + " | ".join(parts) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--robust", action="store_true", help="cells that the model doesn't assume")
    args = parser.parse_args()
    cells = [Cell(*pair) for pair in itertools.product(RHOS, SIGMAS)]
    if args.robust:
        cells = [Cell(0.6, sigma, kind) for kind in list(KINDS)[1:] for sigma in SIGMAS]
        cells += [Cell(0.6, sigma, "normal", QUICKSTART) for sigma in SIGMAS]
    print("| truth, noise | ρ | σ | before: covers · new run · bias/σ · half-width/σ | now |\n|---|---:|---:|---|---|")
    with ProcessPoolExecutor(args.processes) as pool:
        for cell, figures in zip(cells, pool.map(_simulate, [(c, args.studies) for c in cells]), strict=True):
            print(row(cell, figures), flush=True)


if __name__ == "__main__":
    main()
