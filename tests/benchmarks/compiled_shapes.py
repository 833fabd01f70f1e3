"""How many shapes a study's 100 proxies compile, on one machine and on eight that don't share what they compiled.

python -m tests.benchmarks.compiled_shapes babylm --space 'head_dim = { low = 32, high = 128, step = 32 }'

The study's own sampler draws, eight trials at a time; losses are the closed form of `problems.py`, so that it settles
somewhere as it does on text. On a GPU what is compiled for a block depends on heads, their width and the sequences of
a pass; for the loss and the two ends on the width, the vocabulary and the sequences; nothing on the depth.
"""

import argparse
import statistics
import tomllib
import warnings
from collections.abc import Iterator

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from model.training.fitting import micro_batches
from search.strategy.sampler import Sampler
from search.study.plan import Plan
from search.study.space import Params, Space
from search.study.study_file import read
from tests.benchmarks.problems import bits_per_byte

TRIALS, MACHINES, NOISE = 100, 8, 0.002
KINDS = {"random": "random", "the study's sampler": "tpe"}


def shape(plan: Plan, params: Params) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what the block's compiled form depends on, and the loss's, as far as these studies search it."""
    c = plan.configuration(params)
    sequences = micro_batches(c.train.batch_size, c.train.micro_batch)[0]
    return (c.model.n_head, c.model.head_dim, sequences), (c.model.d_model, c.tokenizer.vocab_size, sequences)


def drawn(plan: Plan, space: Space, kind: str, seed: int) -> Iterator[tuple[int, Params]]:
    """Yield the machine and the parameters of each trial; eight run at any time, and end in the order they began."""
    sampler = Sampler(space=space, fixed=plan.fixed(), kind=kind, seed=seed, startup=plan.proxy.startup)
    noise = np.random.default_rng(seed).normal(0, NOISE, TRIALS)
    trials: list[FrozenTrial] = []
    for number in range(TRIALS):
        if number >= MACHINES:
            trials[number - MACHINES] = _ended(space, trials[number - MACHINES], noise[number - MACHINES])
        params = sampler.draw(trials, number, {}).params
        trials.append(_trial(space, params, number, TrialState.RUNNING))
        yield number % MACHINES, params


def _ended(space: Space, trial: FrozenTrial, noise: float) -> FrozenTrial:
    loss = bits_per_byte(trial.params)
    if isinstance(loss, str):
        return _trial(space, trial.params, trial.number, TrialState.FAIL, failure=loss)
    return _trial(space, trial.params, trial.number, TrialState.COMPLETE, loss + noise)


def _trial(
    space: Space, params: Params, number: int, state: TrialState, value: float | None = None, **attributes: str
) -> FrozenTrial:
    distributions = {name: space.parameters[name].distribution() for name in params}
    trial = create_trial(state=state, value=value, params=params, distributions=distributions, user_attrs=attributes)
    trial.number = number
    return trial


def counts(plan: Plan, space: Space, kind: str, seed: int) -> tuple[int, int, int, int]:
    """Return how many blocks, losses, and pairs of both a study compiles; and such pairs with each machine's own."""
    trials = [(machine, *shape(plan, params)) for machine, params in drawn(plan, space, kind, seed)]
    blocks, losses = {block for _, block, _ in trials}, {loss for _, _, loss in trials}
    return len(blocks), len(losses), len({t[1:] for t in trials}), len(set(trials))


def main() -> None:
    """Print a line for each way of drawing."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compiled_shapes", description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--space", default="", help="lines of TOML that replace ranges of the study's [space]")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    plan = read(options.study)
    space = Space.parse({**plan.space.table(), **tomllib.loads(options.space)})
    for name, kind in KINDS.items():
        found = zip(*(counts(plan, space, kind, seed) for seed in range(options.seeds)), strict=True)
        blocks, losses, both, apart = (round(statistics.mean(numbers)) for numbers in found)
        print(
            f"{name}: of {TRIALS} trials' shapes {blocks} differ in the block, {losses} in the loss, {both} in either; "
            f"{MACHINES} machines, each by itself, compile {apart}",
            flush=True,
        )


if __name__ == "__main__":
    main()
