"""The report's answers in sentences: what won and how sure, did the proxy predict, what mattered, what it cost.

Every sentence is computed from the facts, with its number, so that it is true of the figures below it.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from optuna.trial import TrialState

from search.analysis.forecast import forecast
from search.analysis.grid import points
from search.analysis.importance import MIN_TRIALS
from search.analysis.pruning_summary import saved_seconds
from search.analysis.snapshot import Snapshot
from search.analysis.worker_timeline import first_start, trial_spans, worker_spans
from search.common.durations import format_duration
from search.show.figures.costs import costs
from search.show.figures.space import say_importance
from search.show.wording import capital, counted, joined, ordinal
from search.study.results import Confirmed, Noise, Significance, bpb_text, lead
from search.study.trials import attributes_of


def unfinished(facts: Snapshot) -> str:
    """Return what is still to come, since it may change every answer; empty where nothing is."""
    ahead = forecast(facts)
    running = [sum(t.state == TrialState.RUNNING for t in trials) for trials in (facts.proxies, facts.runs)]
    proxies, runs = ahead.proxies + running[0], ahead.confirmations + running[1]
    about = "" if facts.race_over else "about "  # how many seeds the race asks for depends on what it finds
    short = ("run", "runs") if facts.plan.is_grid else ("proxy", "proxies")
    open_ = [counted(proxies, *short)] if proxies else []
    open_ += [f"{about}{counted(runs, 'long run')}"] if runs else []
    if not open_ and facts.race_over:
        return ""
    left = f"{joined(open_)} still to come or under way" if open_ else "its race isn't over"
    return f"This study is not finished: {left}. What follows may change."


def won(facts: Snapshot) -> list[str]:
    """Return what won and how sure that is."""
    if facts.plan.is_grid and not facts.confirmed:
        return _best_point(facts)
    if not facts.confirmed:
        return _only_proxies(facts)
    best, n = facts.confirmed[0], len(facts.confirmed[0].bpb_by_seed)
    half = facts.noise.half_width(n)
    name = f"The hand-made {best.label}" if best.baseline else capital(best.label)
    mean = "one run" if n == 1 else f"the mean of {n} seeds"
    bpb = bpb_text(best.mean_bpb, half) + (" (95% interval)" if half is not None else "")
    said = [f"{name} is best: {bpb} BPB after {facts.plan.confirm.budget} of training, {mean}."]
    if best.baseline and any(not c.baseline for c in facts.confirmed):
        said.append("The search found nothing better than what was made by hand.")
    return [*said, *(compared(best, rival, facts.noise) for rival in _rivals(facts)), *_race(facts)]


def _rivals(facts: Snapshot) -> list[Confirmed]:
    """Return the second best, and the best baseline where that is another."""
    baseline = (
        [c for c in facts.confirmed[2:] if c.baseline][:1] if not any(c.baseline for c in facts.confirmed[:2]) else []
    )
    return [*facts.confirmed[1:2], *baseline]


def compared(best: Confirmed, rival: Confirmed, noise: Noise) -> str:
    """Return how far the best is ahead of a rival, and whether noise explains it."""
    found, name = lead(best, rival, noise), f"the hand-made {rival.label}" if rival.baseline else rival.label
    if found.by_failure > 0:
        return f"{capital(name)} ranks behind it because it failed in {counted(rival.failed, 'long run')}."
    ahead = f"It is {found.gap:.4f} BPB ahead of {name} ({rival.mean_bpb:.4f})"
    if found.significance is Significance.NOT_KNOWN:
        return f"{ahead}; how much of that is chance isn't known, since no configuration ran with two seeds."
    if found.proven:
        return f"{ahead}, more than seed noise explains ({found.least:.4f} at 95%)."
    return f"{ahead}, which seed noise may explain (up to {found.least:.4f} at 95%): don't tell the two apart."


def _race(facts: Snapshot) -> list[str]:
    if len(facts.confirmed) == 1:
        return ["Nothing else has been confirmed to compare it with."]
    return [facts.race_line] if facts.race_line else []


def _only_proxies(facts: Snapshot) -> list[str]:
    if not facts.finished:
        states = Counter(t.state for t in facts.proxies if t.state != TrialState.WAITING)
        ends = {"pruned": states[TrialState.PRUNED], "failed": states[TrialState.FAIL]}
        told = [f"{counted(states.total(), 'proxy', 'proxies')} begun", *(f"{n} {end}" for end, n in ends.items() if n)]
        return [f"Nothing has trained to the end yet: {', '.join(told)}."]
    best = min(facts.finished, key=lambda t: t.value or 0.0)
    budget = facts.plan.proxy.budget
    return [
        f"Nothing is confirmed yet. The best of {counted(len(facts.finished), 'finished proxy', 'finished proxies')} "
        f"is trial {best.number} with {best.value:.4f} BPB after {budget}, which is a hint, not a result."
    ]


def _best_point(facts: Snapshot) -> list[str]:
    found = [p for p in points(facts.plan.grid(), facts.proxies) if p.runs]
    if not found:
        return _only_proxies(facts)
    best = min(found, key=lambda p: p.bpb)
    half = best.means["val_bpb"].half_width
    bpb = bpb_text(best.bpb, half) + (" (95% interval)" if half is not None else "")
    where = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in best.params.items())
    return [
        f"This study is a sweep: nothing in it is confirmed. Of {len(found)} points the best is {where}: "
        f"{bpb} BPB, {counted(best.runs, 'run')}."
    ]


def predicts(facts: Snapshot) -> list[str]:
    """Return whether short runs foretold long ones, and what pruning did."""
    found = facts.transfer
    if facts.plan.is_grid and not facts.confirmed:
        return ["This study is a sweep: every point trained for its whole budget, so that nothing had to be foretold."]
    pruning = [facts.pruning] if facts.pruning else []
    if found.tau is None:
        few = f"Not known yet: {counted(found.pairs, 'configuration')} with a proxy and a long run; 5 are needed."
        return [few, *pruning]
    short, long = facts.plan.proxy.budget, facts.plan.confirm.budget
    figures, placed = f"{capital(found.figures)}.", _placed(facts)
    if found.proven:
        return [f"Yes: the order of {short} runs foretells that of {long} runs.", figures, *placed, *pruning]
    figures += (
        " The order was rather turned round." if (found.high or 0) < 0 else " τ ≤ 0, no better than chance, fits too."
    )
    no = f"Not shown: the order of {short} runs says too little of that of {long} runs. Trust only what was confirmed."
    return [no, figures, *placed, *pruning]


def _placed(facts: Snapshot) -> list[str]:
    """Say where the winner stood among the proxies."""
    best = facts.confirmed[0]
    if best.proxy_bpb is None:
        return []
    better = sum((t.value or 0.0) < best.proxy_bpb for t in facts.finished)
    name = f"the hand-made {best.label}" if best.baseline else best.label
    return [f"The winner, {name}, was {ordinal(better + 1)} of {len(facts.finished)} finished proxies."]


def mattered(facts: Snapshot) -> list[str]:
    """Return which settings made the difference."""
    if facts.plan.is_grid:
        return ["The figures show BPB at each point of the grid."]
    said = say_importance(facts)
    if said:
        return [said, "That is about short runs; only the figures of confirmed runs speak of long ones."]
    drawn = [t for t in facts.proxies if attributes_of(t).baseline is None]
    done, pruned = (sum(t.state == s for t in drawn) for s in (TrialState.COMPLETE, TrialState.PRUNED))
    if done + pruned >= MIN_TRIALS:
        return [f"It can't be told: {done} of {done + pruned} trials finished, too few or too much alike."]
    return [f"Too few trials tell: {done + pruned} of the search's finished or were pruned; {MIN_TRIALS} are needed."]


def cost(facts: Snapshot) -> list[str]:
    """Return what the study cost, in time and money, and what pruning saved."""
    found, did, were = costs(facts), trial_spans(facts), worker_spans(facts)
    if not found.total_hours:
        return ["Nothing that could be counted: no worker has entered."]
    last = max([s.end for s in did] + [w.end for w in were])
    took = format_duration(last - first_start(did, were))
    usd = f", ${found.total_usd:.2f}" if found.total_usd else ", at no price"
    cap = f" of ${facts.bill.cap:.2f} allowed" if facts.bill.cap else ""
    who = counted(len({s.worker for s in did} | {w.worker for w in were}), "worker")
    trained = sum(found.hours[:2]) / found.total_hours
    training = f"{format_duration(3600 * found.total_hours)} of workers' time{usd}{cap}: {who} over {took}."
    return [training, f"{trained:.0%} of that time was spent on training.", *_saved(facts)]


def _saved(facts: Snapshot) -> list[str]:
    pruned = sum(t.state == TrialState.PRUNED for t in facts.proxies)
    if not pruned:
        return []
    saved = format_duration(saved_seconds(facts.proxies, facts.plan.proxy))
    return [f"Pruning {counted(pruned, 'proxy', 'proxies')} saved {saved} of training."]


ANSWERS: Mapping[str, tuple[str, Callable[[Snapshot], list[str]]]] = {
    "won": ("What won, and how sure is that?", won),
    "predicts": ("Did the proxy predict?", predicts),
    "mattered": ("What mattered?", mattered),
    "cost": ("What did it cost?", cost),
}
"""The questions in their order, each with what answers it; the figures name theirs."""
