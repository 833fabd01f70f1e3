"""Caveats if workers differ in what affects results besides the configuration: device, torch, precision, speed."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from optuna.trial import FrozenTrial

from search.common.stats import largest_offset_p
from search.study.plan import Plan
from search.study.trials import (
    BUDGET_SCALE,
    MODE,
    N_PARAMS,
    PROVENANCE,
    TOKENS_PER_SECOND,
    attributes_of,
    trial_params,
)

MIN_DIFFERENCE = 0.10
"""Smallest relative difference in speed that is worth a caveat."""
LEVEL = 0.05
"""Chance of a false alarm about speed."""
MIN_RUNS = 4
"""Fewest runs of a worker to judge its speed."""
RATES = ("max_lr", "pct_start", "div_factor", "final_div_factor", "decay_fraction", "weight_decay")
"""Settings that don't affect speed."""
MAX_NAMED = 2
"""Most workers that are named for each device; the others are counted."""


def worker_differences(plan: Plan, runs: Sequence[FrozenTrial]) -> list[str]:
    """Return a sentence for each difference between the workers of finished runs."""
    recorded = [t for t in runs if PROVENANCE in t.user_attrs]
    sentences = [
        _differing("workers' devices", recorded, lambda t: _provenance(t, "device")),
        _differing("workers' versions of torch", recorded, lambda t: _provenance(t, "torch")),
        _precisions(plan, recorded),
        _compiled(recorded),
        _scaled(recorded),
    ]
    for device in sorted({_provenance(t, "device") for t in recorded}):
        sentences.append(_speeds(device, [t for t in recorded if _provenance(t, "device") == device]))
    return [text for text in sentences if text]


def _provenance(trial: FrozenTrial, key: str) -> str:
    return str(attributes_of(trial).provenance.get(key, "unknown"))


def _worker(trial: FrozenTrial) -> str:
    return str(attributes_of(trial).worker or _provenance(trial, "host"))


def _differing(what: str, runs: Sequence[FrozenTrial], value: Callable[[FrozenTrial], str]) -> str | None:
    counts = Counter(value(t) for t in runs)
    if len(counts) < 2:
        return None
    parts = []
    for name, n in counts.most_common():
        plural = "s" if n > 1 else ""
        parts.append(f"{name} ({n} run{plural} by {_names([t for t in runs if value(t) == name])})")
    return f"{what} differ: {', '.join(parts)}; compare their BPB with care."


def _names(runs: Sequence[FrozenTrial]) -> str:
    names = [name for name, _ in Counter(_worker(t) for t in runs).most_common()]
    return ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")


def _precisions(plan: Plan, runs: Sequence[FrozenTrial]) -> str | None:
    """Return a sentence if precisions differ at one width and setting: on a CPU, narrow networks have another."""
    alike: dict[tuple[int, str], list[FrozenTrial]] = {}
    for trial in runs:
        heads, width = (trial_params(trial).get(k, getattr(plan.model, k)) for k in ("n_head", "head_dim"))
        wanted = trial_params(trial).get("precision", plan.train.precision)
        alike.setdefault((heads * width, wanted), []).append(trial)
    for (width, _), group in sorted(alike.items()):
        text = _differing(f"precisions at width {width}", group, lambda t: _provenance(t, "precision"))
        if text:
            return text
    return None


def _compiled(runs: Sequence[FrozenTrial]) -> str | None:
    """Return a sentence if some runs were compiled and others not, as older versions did for long and short ones."""
    counts = Counter("compiled" in _provenance(t, MODE) for t in runs if MODE in attributes_of(t).provenance)
    if len(counts) < 2:
        return None
    return (
        f"{counts[True]} of {counts.total()} runs were compiled, the others not, which speeds some networks up more "
        'than others; compare their BPB with care. `compile = "on"` or "off" in [train] makes them alike.'
    )


def _scaled(runs: Sequence[FrozenTrial]) -> str | None:
    """Return a sentence if budgets were scaled, so that slower hardware did equal work."""
    some = [t for t in runs if BUDGET_SCALE in t.user_attrs]
    if not some:
        return None
    factors = [t.user_attrs[BUDGET_SCALE] for t in some]
    return (
        f"budgets of {len(some)} of {len(runs)} runs were scaled by their workers' speed, by {min(factors):.2f} to "
        f"{max(factors):.2f} ({_names(some)}): equal work on the reference step is nearly, not quite, equal training."
    )


def _speeds(device: str, runs: Sequence[FrozenTrial]) -> str | None:
    """Return a sentence that names the worker whose speed differs from that of others on the same device.

    The logarithm of tokens/s is fitted to the logarithms of the shape over all workers; a worker stands out if its mean
    residual differs from the others' by more than under shuffled workers. Baselines with settings of their own are left
    out: no other run tells what those cost.
    """
    alike = [t for t in runs if trial_params(t).keys() == t.params.keys()]
    timed = [t for t in alike if (attributes_of(t).tokens_per_second or 0) > 0]
    workers = [_worker(t) for t in timed]
    candidates = [w for w, n in Counter(workers).items() if MIN_RUNS <= n <= len(workers) - MIN_RUNS]
    if not candidates:
        return None
    shapes = _shapes([_settings(t) for t in timed])
    if len(timed) < 3 * shapes.shape[1]:
        return None
    speed = np.log([t.user_attrs[TOKENS_PER_SECOND] for t in timed])
    residual = speed - shapes @ np.linalg.lstsq(shapes, speed, rcond=None)[0]
    offsets = largest_offset_p(residual, workers, candidates)
    name, (offset, p) = min(offsets.items(), key=lambda item: (item[1][1], -abs(item[1][0])))
    change = math.expm1(offset)
    if p > LEVEL or abs(change) <= MIN_DIFFERENCE:
        return None
    direction = "slower" if change < 0 else "faster"
    return (
        f"worker {name} is {abs(change):.0%} {direction} than others with {device} "
        f"on like shapes ({workers.count(name)} of {len(workers)} runs)."
    )


def _settings(trial: FrozenTrial) -> dict[str, Any]:
    """Return the settings that a run's speed depends on: number of parameters, and searched ones that shape a step."""
    shaping = {k: v for k, v in trial.params.items() if k not in RATES}
    return {N_PARAMS: trial.user_attrs.get(N_PARAMS, 1), **shaping}


def _shapes(settings: Sequence[Mapping[str, Any]]) -> Float[ndarray, "runs features"]:
    """Return a column of ones, one for the logarithm of each numeric setting, one for each non-numeric choice.

    A number counts as 0 if a condition excludes its setting.
    """
    columns = [[1.0] * len(settings)]
    for name in sorted({k for s in settings for k in s}):
        values = [s.get(name) for s in settings]
        if all(v is None or type(v) in (int, float) for v in values):
            columns.append([math.log1p(float(v or 0)) for v in values])
        else:
            columns += [[float(str(v) == choice) for v in values] for choice in sorted({str(v) for v in values})[1:]]
    varying = [c for i, c in enumerate(columns) if not i or len(set(c)) > 1]
    return np.array(varying).T
