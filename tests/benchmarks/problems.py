"""What samplers are compared on: closed forms shaped like a language model's search, and surrogates of real runs."""

import csv
import gzip
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.stats import norm, rankdata

from search.strategy.quasi_random import PointSuggester
from search.study import study_file as studyfile
from search.study.plan import Plan
from search.study.space import Parameter, Params, Space
from tests.places import SHARED

CURVES = SHARED / "data" / "curves"
SETS = ("taskset_patch32_GRU128_bs128", "taskset_patch128_LSTM128_bs64")
OUT_OF_MEMORY, DIVERGED = "out_of_memory", "diverged"
Loss = Callable[[Params], float | str]


@dataclass(frozen=True)
class Problem:
    """A space, and the true loss of each of its configurations, or the cause of its failure."""

    name: str
    space: Space
    fixed: Mapping[str, Any]
    loss: Loss
    noise: float
    plan: Plan | None = None
    """Study whose space it is, for its own sampler, start and baselines."""

    def at_random(self, rng: np.random.Generator) -> Params:
        """Return a configuration drawn uniformly."""
        point = dict(zip(self.space.parameters, rng.random(len(self.space.parameters)), strict=True))
        return self.space.suggest(PointSuggester(point, {}), self.fixed)

    @cached_property
    def scale(self) -> tuple[float, float]:
        """The best loss there is, by random draws and local steps, and the median of a random one that trains."""
        rng = np.random.default_rng(0)
        scored = [
            (loss, p) for p in (self.at_random(rng) for _ in range(4000)) if isinstance(loss := self.loss(p), float)
        ]
        scored.sort(key=lambda pair: pair[0])
        median = scored[len(scored) // 2][0]
        return min(self._descend(p, loss, rng) for loss, p in scored[:10]), median

    def _descend(self, params: Params, loss: float, rng: np.random.Generator) -> float:
        for index in range(1500):
            moved = self._moved(params, 0.3 * 0.996**index, rng)
            found = self.loss(moved)
            if isinstance(found, float) and found < loss:
                params, loss = moved, found
        return loss

    def _moved(self, params: Params, step: float, rng: np.random.Generator) -> Params:
        """Return a neighbour: ranges of floats a little further, other parameters drawn anew, few at a time."""
        kept, names = dict(params), list(self.space.parameters)
        for name in rng.permutation(names)[: 1 + rng.integers(3)].tolist():
            parameter = self.space.parameters[name]
            value = kept.pop(name, None)
            if value is not None and parameter.choices is None and not parameter.whole:
                assert parameter.low is not None
                assert parameter.high is not None
                low, high = (math.log(x) if parameter.log else x for x in (parameter.low, parameter.high))
                at = (math.log(value) if parameter.log else value) + step * (high - low) * rng.normal()
                at = min(max(at, low), high)
                kept[name] = min(max(math.exp(at), parameter.low), parameter.high) if parameter.log else at
        point = dict(zip(names, rng.random(len(names)), strict=True))
        drawn = self.space.suggest(PointSuggester(point, kept), self.fixed)
        return {k: v for k, v in drawn.items() if k in self.space.names({**self.fixed, **drawn})}

    def regret(self, params: Params | None) -> float:
        """Return 0 for the best there is and 1 for a random configuration that trains."""
        best, median = self.scale
        found = self.loss(params) if params is not None else "nothing yet"
        return (found - best) / (median - best) if isinstance(found, float) else 1.0


def bits_per_byte(params: Params) -> float | str:
    """Return a loss of 6 minutes in the shape that language models show; too large or too fast ones fail.

    A power law in parameters and in tokens, which one another's speed pays for; a parabola in log max_lr whose
    optimum falls with width and rises with batch; small effects of vocabulary and head width.
    """
    width, depth = params["n_head"] * params["head_dim"], params["n_layer"]
    vocab, batch = params["vocab_size"], params["batch_size"]
    size = 12 * depth * width**2 + vocab * width
    if batch * depth * width > 6e5:
        return OUT_OF_MEMORY
    speed = 6e13 * batch / (batch + 12) * width / (width + 150)  # small products leave a GPU idle
    tokens = 360 * speed / (6 * size)
    best_lr = 3e-3 * (256 / width) ** 0.7 * (12 / depth) ** 0.3 * (batch / 64) ** 0.4
    octaves = math.log2(params["max_lr"] / best_lr)
    if octaves > 3.5:
        return DIVERGED
    steps = tokens / (512 * batch)
    return float(
        0.75
        + 9 * size**-0.22
        + 60 * tokens**-0.3
        + 2.2 * steps**-0.5  # large batches leave too few steps
        + 0.012 * octaves**2 * (1.5 if octaves > 0 else 1)
        + 0.015 * math.log2(vocab / 5000) ** 2
        + 0.006 * math.log2(params["head_dim"] / 64) ** 2
    )


def _discrete(params: Params) -> float | str:
    return bits_per_byte({"head_dim": 32, "vocab_size": 4096, **params})


def _conditional(params: Params) -> float | str:
    muon = params["optimizer"] == "muon"
    loss = bits_per_byte({"head_dim": 32, "vocab_size": 4096, **params})
    if isinstance(loss, str):
        return loss
    if muon:
        loss += 0.8 * math.log2(params["momentum"] / 0.95) ** 2 - 0.02
    if params["attention"] == "latent":
        return float(loss - 0.01 + 0.01 * math.log2(params["projection_dim"] / 64) ** 2)
    if params["attention"] == "grouped":
        return float(loss - 0.004 + 0.004 * abs(params["n_kv_head"] - 2))
    return loss


EFFECTS: Mapping[tuple[str, Any], float] = {
    ("optimizer", "muon"): -0.02,
    ("attention", "grouped"): -0.004,
    ("attention", "latent"): -0.01,
    ("kv_blocks", 2): 0.002,
    ("kv_blocks", 3): 0.008,
    ("tracks", 2): 0.003,
    ("tracks", 4): 0.006,
    ("positions", "alibi"): 0.005,
    ("document_mask", True): -0.001,
    ("mlp", "relu2"): -0.01,
    ("mlp", "swiglu"): -0.008,
    ("qk_norm", True): -0.006,
    ("qk_clip", 30.0): 0.002,
    ("logit_softcap", 15.0): -0.003,
    ("mtp_heads", 1): 0.01,
    ("value_residual", True): -0.008,
    ("embedding_shortcut", True): -0.006,
    ("embedding_norm", True): 0.003,
    ("zero_init", True): -0.004,
    ("average_fraction", 0.1): -0.005,
    ("average_fraction", 0.3): 0.004,
    ("schedule", "warmup_stable_decay"): 0.003,
}
"""BPB that a value of a setting adds: made up, of the sizes that the sources of ideas report. Others add nothing."""


def _ideas(params: Params) -> float | str:
    """Return the loss of babylm-ideas' space: sizes as ever, each idea's effect, and three that depend on others."""
    loss = bits_per_byte(params)
    if isinstance(loss, str):
        return loss
    loss += sum(effect for (name, value), effect in EFFECTS.items() if params.get(name) == value)
    loss += 0.01 * math.log2(params["weight_decay"] / 0.06) ** 2 / 4
    if params["optimizer"] == "muon":
        loss += 0.8 * math.log2(params["momentum"] / 0.95) ** 2 + 0.004 * (not params["zero_init"])
    if params["window"]:
        loss += 0.006 - 0.008 * (params["global_every"] in (2, 4))
    return float(loss)


def closed_forms() -> list[Problem]:
    """Return the closed forms: babylm's own space, whole numbers only, one with conditions, the menu of all ideas."""
    babylm, ideas = studyfile.read("babylm"), studyfile.read("babylm-ideas")
    rates = [round(1e-4 * 10 ** (i / 4), 6) for i in range(10)]
    discrete = {
        "max_lr": Parameter(choices=tuple(rates)),
        "n_layer": Parameter(low=4, high=16, step=4),
        "n_head": Parameter(low=2, high=8, step=2),
        "batch_size": Parameter(choices=(16, 32, 64, 128)),
    }
    conditional = {
        "max_lr": Parameter(low=1e-4, high=3e-2, log=True),
        "n_layer": Parameter(low=4, high=32),
        "n_head": Parameter(low=2, high=8),
        "batch_size": Parameter(choices=(8, 16, 32, 64, 128, 256)),
        "optimizer": Parameter(choices=("adamw", "muon")),
        "momentum": Parameter(low=0.8, high=0.99, when={"optimizer": "muon"}),
        "attention": Parameter(choices=("full", "grouped", "latent")),
        "n_kv_head": Parameter(low=1, high=4, when={"attention": "grouped"}),
        "projection_dim": Parameter(choices=(16, 32, 64, 128), when={"attention": "latent"}),
    }
    menu = Problem("ideas", ideas.space, ideas.fixed(), _ideas, 0.002, ideas)
    return [
        Problem("babylm's space", babylm.space, babylm.fixed(), bits_per_byte, 0.002, babylm),
        Problem("640 configurations", Space(discrete), {}, _discrete, 0.002),
        Problem("conditions", Space(conditional), {}, _conditional, 0.002),
        menu,
        # 6% of the way from the best to the median: what two seeds of real trainings of seconds differ by
        replace(menu, name="ideas, noisy", noise=0.012),
    ]


def surrogate(name: str, folder: Path = CURVES) -> Problem:
    """Return a Gaussian process through the normal scores of a set's final losses, over its hyperparameters."""
    configs, losses = _runs(folder / f"{name}.csv.gz")
    names = sorted(configs[0])
    raw = np.array([[c[n] for n in names] for c in configs])
    logs = np.log10(np.maximum(np.where(raw.max(0) > 0.5, np.where(raw < 1, 1 - raw, raw), raw), 1e-12))
    inputs = (logs - logs.min(0)) / np.ptp(logs, axis=0)
    scores = norm.ppf((rankdata(losses) - 0.5) / len(losses))
    mean = _Smooth(inputs, scores)
    space = Space({n: Parameter(low=0.0, high=1.0) for n in names})
    return Problem(name, space, {}, lambda p: mean(np.array([[p[n] for n in names]])), 0.05)


def _runs(path: Path) -> tuple[list[dict[str, float]], list[float]]:
    configs: dict[str, dict[str, float]] = {}
    losses: dict[str, float] = {}
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            if row["config"]:
                configs[row["run_id"]] = json.loads(row["config"])
            loss = float(row["loss"])
            losses[row["run_id"]] = loss if math.isfinite(loss) else math.inf
    return [configs[i] for i in configs], [losses[i] for i in configs]


class _Smooth:
    """A Gaussian process's mean: a length for each dimension, lengths and noise by marginal likelihood."""

    def __init__(self, inputs: Any, values: Any) -> None:
        some = np.random.default_rng(0).permutation(len(values))[:300]
        start = np.log([0.5] * inputs.shape[1] + [0.5])
        found = minimize(
            self._cost, start, (inputs[some], values[some]), bounds=[(-2.3, 2.3)] * inputs.shape[1] + [(-4, 1)]
        )
        self.lengths, self.noise = np.exp(found.x[:-1]), float(np.exp(found.x[-1]))
        self.inputs = inputs / self.lengths
        self.weights = cho_solve(cho_factor(self._covariance(self.inputs, self.noise)), values)

    def __call__(self, points: Any) -> float:
        return float(_matern(cdist(points / self.lengths, self.inputs))[0] @ self.weights)

    @staticmethod
    def _covariance(scaled: Any, noise: float) -> Any:
        return _matern(cdist(scaled, scaled)) + noise * np.eye(len(scaled))

    def _cost(self, log: Any, inputs: Any, values: Any) -> float:
        factor = cho_factor(self._covariance(inputs / np.exp(log[:-1]), float(np.exp(log[-1]))), lower=True)
        return float(0.5 * values @ cho_solve(factor, values) + np.log(np.diag(factor[0])).sum())


def _matern(distances: Any) -> Any:
    far = math.sqrt(5) * distances
    return (1 + far + far**2 / 3) * np.exp(-far)
