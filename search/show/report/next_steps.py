"""What to try next, computed from what a study has shown."""

import statistics

from search.analysis.anonymize import anonymous_caveats
from search.analysis.forecast import refused_by_cap
from search.analysis.snapshot import Snapshot
from search.common.next_commands import command
from search.show.figures.history import ended
from search.show.report.answers import unfinished
from search.show.wording import capital, joined
from search.study.trials import attributes_of, finished

ACTIONABLE = ("edge", "learning-rate", "noise")
"""Caveats that say what to do; the others say what not to trust."""
LARGER = 1.5
"""A factor between sizes that is worth a word."""
ENOUGH = 30
"""Trials from which a setting that shows nothing may be fixed."""


def next_steps(facts: Snapshot) -> list[str]:
    """Return what the figures ask for, the most urgent first."""
    steps = [*_go_on(facts), *_own_runs(facts)]
    steps += [capital(c.sentence) for c in anonymous_caveats(facts) if c.name in ACTIONABLE]
    steps += [*_longer_proxy(facts), *_larger(facts), *_search_further(facts), *_narrower(facts)]
    if facts.plan.is_grid and not steps:
        return [f"Look at every point: `{command('sweep', study=facts.plan.name)}`."]
    if not facts.confirmed:
        return steps or [f"See why nothing is confirmed: `{command('status', study=facts.plan.name)}`."]
    return steps or ["Nothing in the figures asks for another search of this space. Try the winner at a longer budget."]


def _go_on(facts: Snapshot) -> list[str]:
    if not unfinished(facts):
        return []
    refused = refused_by_cap(facts)
    if refused:
        return [f"Raise its cap, or take what it has found: {refused}"]
    return [f"Let it end: `{command('start', study=facts.plan.name)}` goes on with it."]


def _own_runs(facts: Snapshot) -> list[str]:
    """Ask for second seeds where there is no noise to judge by."""
    if not facts.confirmed or facts.noise.deviation is not None or unfinished(facts):
        return []
    best = next((c for c in facts.confirmed if not c.baseline and c.lr_scale == 1), None)  # what `promote` runs
    if best is None:
        return []
    promote = command("promote", study=facts.plan.name, trial=best.proxy_number)
    return [f"Run {best.label} again with other seeds, so that the noise is known: `{promote} --seeds 2`."]


def _longer_proxy(facts: Snapshot) -> list[str]:
    """Ask for a proxy nearer to the long run where the order didn't carry over."""
    found, plan = facts.transfer, facts.plan
    short, long = plan.proxy.budget_seconds, plan.confirm.budget_seconds
    if found.tau is None or found.proven or long <= 2 * short or plan.is_grid:
        return []
    longer = min(2 * short, long / 2)
    return [
        f"Search with longer proxies: long runs are {long / short:.3g} times as long, and the order isn't shown to "
        f"carry over. Proxies of {_spelled(longer)} would be nearer, and cost {longer / short:.2g} times as much."
    ]


def _spelled(seconds: float) -> str:
    """Return a duration as a study file has it."""
    return f"{seconds:g}s" if seconds < 120 else f"{seconds / 60:g}m" if seconds < 7200 else f"{seconds / 3600:g}h"


def _larger(facts: Snapshot) -> list[str]:
    """Point to proxies of the winner's size where the best proxies are of another."""
    sizes = {t.number: float(size) for t in facts.finished if (size := attributes_of(t).n_params) is not None}
    top = sorted((t for t in facts.finished if t.number in sizes), key=lambda t: t.value or 0.0)
    best = facts.confirmed[0] if facts.confirmed else None
    size = attributes_of(best.runs[0]).n_params if best is not None else None
    if size is None or len(top) < 8 or facts.transfer.proven:
        return []
    usual = statistics.median(sizes[t.number] for t in top[:5])
    if size < LARGER * usual:
        return []
    tried = {c.proxy_number for c in facts.confirmed} | {attributes_of(r).confirms for r in facts.runs}
    left = [t.number for t in top if sizes[t.number] >= size / LARGER and t.number not in tried]
    said = f"Give larger networks long runs: the winner has {size:,.0f} parameters, the five best proxies {usual:,.0f} "
    said += "(median); short runs may favour small ones."
    if left:
        promote = command("promote", study=facts.plan.name, trial=left[0])
        said += f" The best proxy of about its size not tried yet: `{promote}`."
    return [said]


def _search_further(facts: Snapshot) -> list[str]:
    """Say whether the last improvement was recent."""
    trials = ended(facts)
    done = finished(trials)
    doubtful = facts.transfer.tau is not None and not facts.transfer.proven
    if not done or len(trials) < 16 or doubtful or unfinished(facts) or facts.plan.is_grid:
        return []
    place = trials.index(min(done, key=lambda t: t.value or 0.0)) + 1
    if place > 0.8 * len(trials):
        return [
            f"Search on: the best proxy came as number {place} of {len(trials)}, so that more may find better. Raise "
            f"[proxy] `trials` in the study file, and `{command('start', study=facts.plan.name)}` goes on."
        ]
    if place < 0.5 * len(trials):
        return [
            f"Rather change the space than search on in it: the best proxy came as number {place} of {len(trials)}, "
            f"and the {len(trials) - place} since then found nothing better."
        ]
    return []


def _narrower(facts: Snapshot) -> list[str]:
    """Name the settings that may be fixed: of no shown importance, where another has some."""
    found, checked = facts.importance, facts.transfer
    if found is None or not found.proven or found.trials < ENOUGH or not facts.confirmed:
        return []
    if checked.tau is not None and not checked.proven:
        return []  # what matters in short runs isn't shown to matter in long ones
    free = {n for n, p in facts.plan.space.parameters.items() if p.when is None} & facts.confirmed[0].params.keys()
    fair = 1 / len(found.shares)
    small = [n for n, share in found.shares.items() if n in free and n not in found.proven and share < fair / 2]
    if not small:
        return []
    return [
        f"Narrow the space: nothing shows that {joined(small)} matter{'s' if len(small) == 1 else ''} in short runs "
        f"({found.trials} trials). Fixed at the winner's values, they leave more trials to {joined(found.proven)}."
    ]
