"""Advice on what to try next, computed from a study's snapshot."""

import statistics

from search.analysis.anonymize import anonymous_caveats
from search.analysis.forecast import refused_by_cap
from search.analysis.snapshot import Snapshot
from search.common.next_commands import command
from search.show.figures.history import ended_proxies
from search.show.report.answers import unfinished
from search.show.wording import capitalized, joined
from search.study.trials import attributes_of, finished

ACTIONABLE = ("edge", "learning-rate", "noise")
"""Kinds of caveats that say what to do; the others say what not to trust."""
LARGER_FACTOR = 1.5
"""Ratio of the winner's size to that of the best proxies from which larger networks are advised."""
ENOUGH_TRIALS = 30
"""Number of trials from which settings without shown importance may be fixed."""


def next_steps(snapshot: Snapshot) -> list[str]:
    """Return advice, the most urgent first."""
    steps = [*_continue(snapshot), *_more_seeds(snapshot)]
    steps += [capitalized(c.sentence) for c in anonymous_caveats(snapshot) if c.name in ACTIONABLE]
    steps += [*_longer_proxy(snapshot), *_larger(snapshot), *_search_further(snapshot), *_narrower(snapshot)]
    if snapshot.plan.is_grid and not steps:
        return [f"Look at every point: `{command('sweep', study=snapshot.plan.name)}`."]
    if not snapshot.confirmed:
        return steps or [f"See why nothing is confirmed: `{command('status', study=snapshot.plan.name)}`."]
    return steps or ["Nothing in the figures asks for another search of this space. Try the winner at a longer budget."]


def _continue(snapshot: Snapshot) -> list[str]:
    if not unfinished(snapshot):
        return []
    refusal = refused_by_cap(snapshot)
    if refusal:
        return [f"Raise its cap, or take what it has found: {refusal}"]
    return [f"Let it end: `{command('start', study=snapshot.plan.name)}` goes on with it."]


def _more_seeds(snapshot: Snapshot) -> list[str]:
    """Advise further seeds if the noise isn't known."""
    if not snapshot.confirmed or snapshot.noise.deviation is not None or unfinished(snapshot):
        return []
    best = next(
        (c for c in snapshot.confirmed if not c.baseline and c.lr_scale == 1), None
    )  # as `promote` would run it
    if best is None:
        return []
    promote = command("promote", study=snapshot.plan.name, trial=best.proxy_number)
    return [f"Run {best.label} again with other seeds, so that the noise is known: `{promote} --seeds 2`."]


def _longer_proxy(snapshot: Snapshot) -> list[str]:
    """Advise longer proxies if their order isn't shown to predict that of long runs."""
    transfer, plan = snapshot.transfer, snapshot.plan
    short, long = plan.proxy.budget_seconds, plan.confirm.budget_seconds
    if transfer.tau is None or transfer.proven or long <= 2 * short or plan.is_grid:
        return []
    longer = min(2 * short, long / 2)
    return [
        f"Search with longer proxies: long runs are {long / short:.3g} times as long, and the order isn't shown to "
        f"carry over. Proxies of {_duration(longer)} would be nearer, and cost {longer / short:.2g} times as much."
    ]


def _duration(seconds: float) -> str:
    """Return a duration as it is written in a study file."""
    return f"{seconds:g}s" if seconds < 120 else f"{seconds / 60:g}m" if seconds < 7200 else f"{seconds / 3600:g}h"


def _larger(snapshot: Snapshot) -> list[str]:
    """Advise long runs of larger networks if the winner is larger than the best proxies."""
    sizes = {t.number: float(size) for t in snapshot.finished if (size := attributes_of(t).n_params) is not None}
    ranked = sorted((t for t in snapshot.finished if t.number in sizes), key=lambda t: t.value or 0.0)
    best = snapshot.confirmed[0] if snapshot.confirmed else None
    size = attributes_of(best.runs[0]).n_params if best is not None else None
    if size is None or len(ranked) < 8 or snapshot.transfer.proven:
        return []
    usual_size = statistics.median(sizes[t.number] for t in ranked[:5])
    if size < LARGER_FACTOR * usual_size:
        return []
    tried = {c.proxy_number for c in snapshot.confirmed} | {attributes_of(r).confirms for r in snapshot.runs}
    untried = [t.number for t in ranked if sizes[t.number] >= size / LARGER_FACTOR and t.number not in tried]
    text = f"Give larger networks long runs: the winner has {size:,.0f} parameters, the five best proxies "
    text += f"{usual_size:,.0f} (median); short runs may favour small ones."
    if untried:
        promote = command("promote", study=snapshot.plan.name, trial=untried[0])
        text += f" The best proxy of about its size not tried yet: `{promote}`."
    return [text]


def _search_further(snapshot: Snapshot) -> list[str]:
    """Advise more trials if the best proxy came late, or another space if it came early."""
    trials = ended_proxies(snapshot)
    done = finished(trials)
    doubtful = snapshot.transfer.tau is not None and not snapshot.transfer.proven
    if not done or len(trials) < 16 or doubtful or unfinished(snapshot) or snapshot.plan.is_grid:
        return []
    place = trials.index(min(done, key=lambda t: t.value or 0.0)) + 1
    if place > 0.8 * len(trials):
        return [
            f"Search on: the best proxy came as number {place} of {len(trials)}, so that more may find better. Raise "
            f"[proxy] `{_ended_by(snapshot)}` in the study file, and "
            f"`{command('start', study=snapshot.plan.name)}` goes on."
        ]
    if place < 0.5 * len(trials):
        return [
            f"Rather change the space than search on in it: the best proxy came as number {place} of {len(trials)}, "
            f"and the {len(trials) - place} since then found nothing better."
        ]
    return []


def _ended_by(snapshot: Snapshot) -> str:
    """Return the setting of [proxy] that ended the proxies."""
    proxy = snapshot.plan.proxy
    if snapshot.slots >= proxy.trials or not proxy.limited:
        return "trials"
    return "max_hours" if proxy.max_hours else "max_usd"


def _narrower(snapshot: Snapshot) -> list[str]:
    """Advise which settings may be fixed: those without shown importance, if others have some."""
    importance, transfer = snapshot.importance, snapshot.transfer
    if importance is None or not importance.proven or importance.trials < ENOUGH_TRIALS or not snapshot.confirmed:
        return []
    if transfer.tau is not None and not transfer.proven:
        return []  # what matters in short runs isn't shown to matter in long ones
    free = {n for n, p in snapshot.plan.space.parameters.items() if p.when is None} & snapshot.confirmed[
        0
    ].params.keys()
    fair_share = 1 / len(importance.shares)
    small = [
        n
        for n, share in importance.shares.items()
        if n in free and n not in importance.proven and share < fair_share / 2
    ]
    if not small:
        return []
    return [
        f"Narrow the space: nothing shows that {joined(small)} matter{'s' if len(small) == 1 else ''} in short runs "
        f"({importance.trials} trials). Fixed at the winner's values, they leave more trials to "
        f"{joined(importance.proven)}."
    ]
