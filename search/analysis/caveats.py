"""Early warnings: what in a study's results should not be trusted blindly, a plain sentence with its figure each.

Silent where there is too little data to say, and wherever chance alone would say it more than once in 20 studies.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.analysis.space_edges import Ranked, edges, shown
from search.analysis.worker_differences import hardware
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
from search.study.space import identity
from search.study.trials import attributes_of, finished

LEVEL = 0.05
"""Chance of a caveat where there is nothing to say, shared among its tests."""
RATE = "max_lr"
LEAST_FACTOR = 1.25
"""Between two learning rates that differ enough to act upon."""
FEWEST_FINISHED = 10
FEWEST_PAIRS = 6
FEWEST_HALVES = 20
"""Runs, of both halves together, whose correlations are compared."""
LEAST_FALL = 0.1
"""Of a correlation that is worth a word."""
MOST_FAILED = 0.25
FEWEST_FAILED = 4
MOST_SEEDS = 100
"""Beyond so many the number itself says nothing more."""
LOOKS = (25, 50, 75)
"""Percents of progress at which correlations are compared."""


@dataclass(frozen=True)
class Caveat:
    """One early warning: what kind it is, and the sentence that people read."""

    name: str
    sentence: str


def caveats(
    plan: Plan, proxies: Sequence[FrozenTrial], found: Sequence[Confirmed], pooled: Noise | None = None
) -> list[Caveat]:
    """Return the caveats of a study from its proxy trials and its confirmed configurations, the best first.

    `pooled` is the noise from seed to seed, where it is known already.
    """
    runs = [t for t in proxies if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    runs += [run for c in found for run in c.runs]
    sentences = {
        "edge": edges(plan.space, ranked(proxies, found)),
        "learning-rate": rate_drift(plan, found),
        "noise": noise_hides(found, pooled),
        "correlation": [] if plan.is_grid else [*falls_over_time(plan, proxies, found), *falls_late(plan, proxies)],
        "hardware": hardware(plan, runs),
        "failures": [*failures(proxies), *unstable(found)],
    }
    return [Caveat(name, text) for name, texts in sentences.items() for text in texts]


def ranked(proxies: Sequence[FrozenTrial], found: Sequence[Confirmed]) -> list[Ranked]:
    """Return the finished proxies, of which the best tenth and at least 5 count, and the confirmed, the better half."""
    same: dict[frozenset[Any], list[FrozenTrial]] = {}
    for trial in finished(list(proxies)):
        same.setdefault(identity(trial.params), []).append(trial)
    runs = sorted(same.values(), key=lambda group: float(np.mean([t.value for t in group])))
    groups = []
    if len(runs) >= FEWEST_FINISHED:
        params, order = [g[0].params for g in runs], [g[0].number for g in runs]
        groups.append(Ranked("proxies", params, order, max(FEWEST_FINISHED // 2, len(runs) // 10)))
    if len(found) >= FEWEST_PAIRS:
        groups.append(Ranked("confirmed", [c.params for c in found], [0] * len(found), min(5, len(found) // 2)))
    return groups


def rate_drift(plan: Plan, found: Sequence[Confirmed]) -> list[str]:
    """Say whether long runs want another learning rate than short ones, over what was run at both lengths.

    The places that a configuration gains or loses in the long run are correlated with its learning rate.
    """
    pairs = [
        (float(c.params[RATE]), c.proxy_bpb, c.mean_bpb) for c in found if c.proxy_bpb is not None and RATE in c.params
    ]
    if len(pairs) < FEWEST_PAIRS or len({rate for rate, _, _ in pairs}) < 3:
        return []
    rate, short, long = (np.array(column) for column in zip(*pairs, strict=True))
    if permutation_p(np.log(rate), ranks(long) - ranks(short)) > LEVEL:
        return []
    best = len(pairs) // 2
    means = [float(np.exp(np.log(rate[np.argsort(bpb, kind="stable")[:best]]).mean())) for bpb in (long, short)]
    gained = np.corrcoef(np.log(rate), ranks(long) - ranks(short))[0, 1] < 0
    if abs(math.log(means[0] / means[1])) < math.log(LEAST_FACTOR) or gained != (means[0] > means[1]):
        return []
    change, scale = ("rises", "1.4") if gained else ("falls", "0.7")
    return [
        f"the best {RATE} {change} with the budget: {shown(means[1])} (mean of {best} of {len(pairs)}) at "
        f"{plan.proxy.budget}, {shown(means[0])} at {plan.confirm.budget}; try `confirm.lr_scales = [1.0, {scale}]`."
    ]


def noise_hides(found: Sequence[Confirmed], pooled: Noise | None = None) -> list[str]:
    """Say whether the leader is ahead of the second, and of the best baseline, by more than noise explains."""
    pooled = pooled or noise(found)
    if pooled.deviation is None or len(found) < 2:
        return []
    baseline = next((c for c in found if c.baseline), None)
    rivals = [found[1]]
    if baseline is not None and baseline not in found[:2]:
        rivals.append(baseline)
    hidden = [part for rival in rivals if (part := _hidden(found[0], rival, pooled))]
    if not hidden:
        return []
    ahead = ", of ".join(hidden)
    return [f"{found[0].label} is not proven best: ahead of {ahead}; seed noise {pooled.deviation:.4f}."]


def _hidden(leader: Confirmed, rival: Confirmed, pooled: Noise) -> str | None:
    assert pooled.deviation is not None
    ahead = lead(leader, rival, pooled)
    if ahead.proven:
        return None
    needed = max(seeds_to_tell(ahead.gap, pooled.deviation) or MOST_SEEDS + 1, leader.seeds + 1, rival.seeds + 1)
    number = f"about {needed}" if needed <= MOST_SEEDS else f"over {MOST_SEEDS}"
    return f"{rival.label} by {ahead.gap:.4f} ({number} seeds each would tell)"


def falls_over_time(plan: Plan, proxies: Sequence[FrozenTrial], found: Sequence[Confirmed]) -> list[str]:
    """Say whether a correlation that was good among the first finished runs is gone among the last ones."""
    trials = sorted(finished(list(proxies)), key=lambda t: (t.datetime_complete or datetime.min, t.number))
    level = LEVEL / (2 * len(LOOKS) + 1)
    falls: list[tuple[Fall, str]] = []
    for step in _looks(plan):
        pairs = [p for t in trials if (p := (t.intermediate_values.get(step, math.nan), t.value or 0.0)) and _finite(p)]
        falls += [(fall, f"of the loss at {step}% with the final one") for fall in _over_time(pairs)]
    later = sorted(found, key=lambda c: max(r.datetime_complete or datetime.min for r in c.runs))
    both = [(c.proxy_bpb, c.mean_bpb) for c in later if c.proxy_bpb is not None]
    falls += [(fall, "of proxy with confirmed BPB") for fall in _over_time(both)]
    sure = [(fall, what) for fall, what in falls if fall.p <= level and fall.before - fall.after >= LEAST_FALL]
    if not sure:
        return []
    fall, what = min(sure, key=lambda pair: pair[0].p)
    return [
        f"ρ {what} fell from {fall.before:.2f} to {fall.after:.2f} in the second half of the runs, "
        "beyond what narrower spread explains."
    ]


def _over_time(pairs: Sequence[tuple[float, float]]) -> list[Fall]:
    half = len(pairs) // 2
    columns = [{p[i] for p in part} for part in (pairs[:half], pairs[half:]) for i in (0, 1)]
    if len(pairs) < FEWEST_HALVES or any(len(values) < 3 for values in columns):
        return []
    return [fall_over_time([x for x, _ in pairs], [y for _, y in pairs])]


def falls_late(plan: Plan, proxies: Sequence[FrozenTrial]) -> list[str]:
    """Say whether a later loss foretells the final one worse than an earlier loss, which should not happen."""
    trials, steps = finished(list(proxies)), _looks(plan)
    falls = []
    for early, late in ((a, b) for i, a in enumerate(steps) for b in steps[i + 1 :]):
        rows = [(t.intermediate_values.get(early), t.intermediate_values.get(late), t.value) for t in trials]
        known = [(x, z, y) for x, z, y in rows if None not in (x, z, y) and _finite((x, z, y))]  # type: ignore[arg-type]
        if len(known) >= FEWEST_HALVES and all(len(set(column)) > 2 for column in zip(*known, strict=True)):
            columns = [[float(v) for v in column if v is not None] for column in zip(*known, strict=True)]
            falls.append((fall_with_progress(*columns), early, late))
    if not falls:
        return []
    fall, early, late = min(falls, key=lambda f: f[0].p)
    if fall.p > LEVEL / (2 * len(LOOKS) + 1) or fall.before - fall.after < LEAST_FALL:
        return []
    return [
        f"the loss at {early}% foretells the final one better than at {late}% "
        f"(ρ {fall.before:.2f} and {fall.after:.2f}); check the schedule."
    ]


def _looks(plan: Plan) -> list[int]:
    """Return the report points nearest to `LOOKS`, each once."""
    points = plan.report_points()[:-1]
    return sorted({min(points, key=lambda p: (abs(p - look), p)) for look in LOOKS}) if points else []


def _finite(values: Sequence[float]) -> bool:
    return all(math.isfinite(v) for v in values)


def failures(proxies: Sequence[FrozenTrial]) -> list[str]:
    """Say whether more than a quarter of the proxies failed by their own fault, and where in the space."""
    own = [t for t in proxies if t.state == TrialState.FAIL and attributes_of(t).failure in OWN_FAULTS]
    rest = [t for t in proxies if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    share = len(own) / max(1, len(own) + len(rest))
    if len(own) < FEWEST_FAILED or share <= MOST_FAILED:
        return []
    causes = Counter(attributes_of(t).failure or "" for t in own).most_common()
    common = [t for t in own if attributes_of(t).failure == causes[0][0]]
    what = OWN_FAULTS[causes[0][0]]
    if len(causes) > 1:
        what = f"failed: {', '.join(f'{n} {OWN_FAULTS[cause]}' for cause, n in causes)}"
    return [f"{len(own)} of {len(own) + len(rest)} proxies ({share:.0%}) {what}{_region(common, rest)}."]


def unstable(found: Sequence[Confirmed]) -> list[str]:
    """Say which configurations failed in some of their long runs: they rank behind those that never did."""
    return [
        f"{c.label} failed in {c.failed} of {c.failed + c.seeds} long runs; it ranks behind all that didn't."
        for c in found
        if c.failed
    ]


def _region(failed: Sequence[FrozenTrial], rest: Sequence[FrozenTrial]) -> str:
    """Name the setting in which the failed differ most from the rest, by Mann-Whitney's test, if any does."""
    names = sorted({k for t in failed for k, v in t.params.items() if type(v) in (int, float)})
    best, said = LEVEL / max(1, len(names)), ""
    for name in names:
        inside, outside = ([t.params[name] for t in group if name in t.params] for group in (failed, rest))
        if min(len(inside), len(outside)) < FEWEST_FAILED or len({*inside, *outside}) < 2:
            continue
        p = mann_whitney_p(inside, outside)
        if p <= best:
            medians = [shown(float(np.median(values))) for values in (inside, outside)]
            best, said = p, f"; median {name} {medians[0]} there, {medians[1]} elsewhere"
    return said
