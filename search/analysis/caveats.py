"""Caveats: early warnings about a study's results, each a plain sentence with its figure.

A caveat is left out if there is too little data, or if chance alone would cause it in more than 1 of 20 studies.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.analysis.space_edges import RankedGroup, edge_caveats, short_number
from search.analysis.worker_differences import worker_differences
from search.common.stats import (
    Fall,
    fall_over_time,
    fall_with_progress,
    mann_whitney_p,
    permutation_p,
    ranks,
    seeds_to_tell,
)
from search.study.plan import Plan
from search.study.results import OWN_FAULTS, Confirmed, Noise, lead, noise
from search.study.space import params_key
from search.study.trials import attributes_of, finished, trial_params

LEVEL = 0.05
"""Chance of a false alarm for each kind of caveat, shared among its tests."""
RATE = "max_lr"
"""The learning-rate setting."""
MIN_FACTOR = 1.25
"""Smallest ratio of two learning rates that is worth a caveat."""
MIN_FINISHED = 10
"""Fewest finished proxies for a caveat about them."""
MIN_PAIRS = 6
"""Fewest configurations with both proxy and confirmed BPB for a caveat about them."""
MIN_HALVES = 20
"""Fewest runs in two halves together, to compare the halves' correlations."""
MIN_FALL = 0.1
"""Smallest fall of a correlation that is worth a caveat."""
MAX_FAILED = 0.25
"""Share of failed proxies above which there is a caveat."""
MIN_FAILED = 4
"""Fewest failed proxies for a caveat about them."""
MAX_SEEDS = 100
"""Largest number of seeds that is printed; beyond it a caveat says "over 100"."""
PROGRESS_POINTS = (25, 50, 75)
"""Progress, in percent, at which correlations are compared."""


@dataclass(frozen=True)
class Caveat:
    """One early warning."""

    name: str
    """Its kind, such as "hardware"."""
    sentence: str


def caveats(
    plan: Plan, proxies: Sequence[FrozenTrial], confirmed: Sequence[Confirmed], pooled: Noise | None = None
) -> list[Caveat]:
    """Return the caveats of a study from its proxy trials and its confirmed configurations, the best first.

    `pooled` is the noise from seed to seed, if the caller has computed it already.
    """
    runs = [t for t in proxies if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    runs += [run for c in confirmed for run in c.runs]
    sentences = {
        "edge": edge_caveats(plan.space, ranked(proxies, confirmed)),
        "learning-rate": rate_drift(plan, confirmed),
        "noise": unproven_leader(confirmed, pooled),
        "correlation": []
        if plan.is_grid
        else [*falls_over_time(plan, proxies, confirmed), *falls_with_progress(plan, proxies)],
        "hardware": worker_differences(plan, runs),
        "failures": [*failures(proxies), *unstable(confirmed)],
    }
    return [Caveat(name, text) for name, texts in sentences.items() for text in texts]


def ranked(proxies: Sequence[FrozenTrial], confirmed: Sequence[Confirmed]) -> list[RankedGroup]:
    """Return the finished proxies, with the best tenth and at least 5, and the confirmed, with at most half and 5."""
    same: dict[frozenset[Any], list[FrozenTrial]] = {}
    for trial in finished(list(proxies)):
        same.setdefault(params_key(trial_params(trial)), []).append(trial)
    runs = sorted(same.values(), key=lambda group: float(np.mean([t.value for t in group])))
    groups = []
    if len(runs) >= MIN_FINISHED:
        params, order = [g[0].params for g in runs], [g[0].number for g in runs]
        groups.append(RankedGroup("proxies", params, order, max(MIN_FINISHED // 2, len(runs) // 10)))
    if len(confirmed) >= MIN_PAIRS:
        groups.append(
            RankedGroup("confirmed", [c.searched for c in confirmed], [0] * len(confirmed), min(5, len(confirmed) // 2))
        )
    return groups


def rate_drift(plan: Plan, confirmed: Sequence[Confirmed]) -> list[str]:
    """Return a sentence if long runs are best with another learning rate than short ones.

    Over configurations run at both budgets, the change of rank from one to the other is correlated with the rate.
    """
    pairs = [
        (float(c.params[RATE]), c.proxy_bpb, c.mean_bpb)
        for c in confirmed
        if c.proxy_bpb is not None and RATE in c.params
    ]
    if len(pairs) < MIN_PAIRS or len({rate for rate, _, _ in pairs}) < 3:
        return []
    rate, short, long = (np.array(column) for column in zip(*pairs, strict=True))
    if permutation_p(np.log(rate), ranks(long) - ranks(short)) > LEVEL:
        return []
    best = len(pairs) // 2
    means = [float(np.exp(np.log(rate[np.argsort(bpb, kind="stable")[:best]]).mean())) for bpb in (long, short)]
    gained = np.corrcoef(np.log(rate), ranks(long) - ranks(short))[0, 1] < 0
    if abs(math.log(means[0] / means[1])) < math.log(MIN_FACTOR) or gained != (means[0] > means[1]):
        return []
    change, scale = ("rises", "1.4") if gained else ("falls", "0.7")
    return [
        f"the best {RATE} {change} with the budget: {short_number(means[1])} (mean of {best} of {len(pairs)}) at "
        f"{plan.proxy.budget}, {short_number(means[0])} at {plan.confirm.budget}; "
        f"try `confirm.lr_scales = [1.0, {scale}]`."
    ]


def unproven_leader(confirmed: Sequence[Confirmed], pooled: Noise | None = None) -> list[str]:
    """Return a sentence if noise may explain the leader's lead over the second or over the best baseline."""
    pooled = pooled or noise(confirmed)
    if pooled.deviation is None or len(confirmed) < 2:
        return []
    baseline = next((c for c in confirmed if c.baseline), None)
    rivals = [confirmed[1]]
    if baseline is not None and baseline not in confirmed[:2]:
        rivals.append(baseline)
    hidden = [part for rival in rivals if (part := _hidden(confirmed[0], rival, pooled))]
    if not hidden:
        return []
    ahead = ", of ".join(hidden)
    return [f"{confirmed[0].label} is not proven best: ahead of {ahead}; seed noise {pooled.deviation:.4f}."]


def _hidden(leader: Confirmed, rival: Confirmed, pooled: Noise) -> str | None:
    assert pooled.deviation is not None
    ahead = lead(leader, rival, pooled)
    if ahead.proven:
        return None
    needed = max(seeds_to_tell(ahead.gap, pooled.deviation) or MAX_SEEDS + 1, leader.seeds + 1, rival.seeds + 1)
    number = f"about {needed}" if needed <= MAX_SEEDS else f"over {MAX_SEEDS}"
    return f"{rival.label} by {ahead.gap:.4f} ({number} seeds each would tell)"


def falls_over_time(plan: Plan, proxies: Sequence[FrozenTrial], confirmed: Sequence[Confirmed]) -> list[str]:
    """Return a sentence if a correlation is lower among the last finished runs than among the first."""
    trials = sorted(finished(list(proxies)), key=lambda t: (t.datetime_complete or datetime.min, t.number))
    level = LEVEL / (2 * len(PROGRESS_POINTS) + 1)
    falls: list[tuple[Fall, str]] = []
    for step in _progress_points(plan):
        pairs = [p for t in trials if (p := (t.intermediate_values.get(step, math.nan), t.value or 0.0)) and _finite(p)]
        falls += [(fall, f"of the loss at {step}% with the final one") for fall in _over_time(pairs)]
    later = sorted(confirmed, key=lambda c: max(r.datetime_complete or datetime.min for r in c.runs))
    both = [(c.proxy_bpb, c.mean_bpb) for c in later if c.proxy_bpb is not None]
    falls += [(fall, "of proxy with confirmed BPB") for fall in _over_time(both)]
    significant = [(fall, what) for fall, what in falls if fall.p <= level and fall.before - fall.after >= MIN_FALL]
    if not significant:
        return []
    fall, what = min(significant, key=lambda pair: pair[0].p)
    return [
        f"ρ {what} fell from {fall.before:.2f} to {fall.after:.2f} in the second half of the runs, "
        "beyond what narrower spread explains."
    ]


def _over_time(pairs: Sequence[tuple[float, float]]) -> list[Fall]:
    half = len(pairs) // 2
    columns = [{p[i] for p in part} for part in (pairs[:half], pairs[half:]) for i in (0, 1)]
    if len(pairs) < MIN_HALVES or any(len(values) < 3 for values in columns):
        return []
    return [fall_over_time([x for x, _ in pairs], [y for _, y in pairs])]


def falls_with_progress(plan: Plan, proxies: Sequence[FrozenTrial]) -> list[str]:
    """Return a sentence if a later loss predicts the final one worse than an earlier loss does, which is odd."""
    trials, steps = finished(list(proxies)), _progress_points(plan)
    falls = []
    for early, late in ((a, b) for i, a in enumerate(steps) for b in steps[i + 1 :]):
        rows = [(t.intermediate_values.get(early), t.intermediate_values.get(late), t.value) for t in trials]
        complete = [(x, z, y) for x, z, y in rows if None not in (x, z, y) and _finite((x, z, y))]  # type: ignore[arg-type]
        if len(complete) >= MIN_HALVES and all(len(set(column)) > 2 for column in zip(*complete, strict=True)):
            columns = [[float(v) for v in column if v is not None] for column in zip(*complete, strict=True)]
            falls.append((fall_with_progress(*columns), early, late))
    if not falls:
        return []
    fall, early, late = min(falls, key=lambda f: f[0].p)
    if fall.p > LEVEL / (2 * len(PROGRESS_POINTS) + 1) or fall.before - fall.after < MIN_FALL:
        return []
    return [
        f"the loss at {early}% predicts the final one better than that at {late}% "
        f"(ρ {fall.before:.2f} and {fall.after:.2f}); check the schedule."
    ]


def _progress_points(plan: Plan) -> list[int]:
    """Return the report points nearest to `PROGRESS_POINTS`, each once."""
    points = plan.report_points()[:-1]
    return sorted({min(points, key=lambda p: (abs(p - percent), p)) for percent in PROGRESS_POINTS}) if points else []


def _finite(values: Sequence[float]) -> bool:
    return all(math.isfinite(v) for v in values)


def failures(proxies: Sequence[FrozenTrial]) -> list[str]:
    """Return a sentence if more than a quarter of the proxies failed by their own fault, and where in the space."""
    own = [t for t in proxies if t.state == TrialState.FAIL and attributes_of(t).failure in OWN_FAULTS]
    rest = [t for t in proxies if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    share = len(own) / max(1, len(own) + len(rest))
    if len(own) < MIN_FAILED or share <= MAX_FAILED:
        return []
    causes = Counter(attributes_of(t).failure or "" for t in own).most_common()
    common = [t for t in own if attributes_of(t).failure == causes[0][0]]
    what = OWN_FAULTS[causes[0][0]]
    if len(causes) > 1:
        what = f"failed: {', '.join(f'{n} {OWN_FAULTS[cause]}' for cause, n in causes)}"
    return [f"{len(own)} of {len(own) + len(rest)} proxies ({share:.0%}) {what}{_region(common, rest)}."]


def unstable(confirmed: Sequence[Confirmed]) -> list[str]:
    """Return a sentence for each configuration that failed in a confirmation run: it ranks behind all that didn't."""
    return [
        f"{c.label} failed in {c.failed} of {c.failed + c.seeds} long runs; it ranks behind all that didn't."
        for c in confirmed
        if c.failed
    ]


def _region(failed: Sequence[FrozenTrial], rest: Sequence[FrozenTrial]) -> str:
    """Return, as text, the setting in which failed trials differ most from the rest, if any, by Mann-Whitney's test."""
    names = sorted({k for t in failed for k, v in t.params.items() if type(v) in (int, float)})
    best, text = LEVEL / max(1, len(names)), ""
    for name in names:
        inside, outside = ([t.params[name] for t in group if name in t.params] for group in (failed, rest))
        if min(len(inside), len(outside)) < MIN_FAILED or len({*inside, *outside}) < 2:
            continue
        p = mann_whitney_p(inside, outside)
        if p <= best:
            medians = [short_number(float(np.median(values))) for values in (inside, outside)]
            best, text = p, f"; median {name} {medians[0]} there, {medians[1]} elsewhere"
    return text
