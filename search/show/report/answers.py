"""The report's answers in sentences: what won and how surely, did the proxy predict, what mattered, what it cost.

Every sentence and its numbers are computed from the snapshot, as the figures below it are.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from optuna.trial import TrialState

from search.analysis.forecast import forecast
from search.analysis.grid import points
from search.analysis.ideas import compared, summary
from search.analysis.importance import MIN_TRIALS
from search.analysis.pruning_summary import saved_seconds
from search.analysis.snapshot import Snapshot
from search.analysis.worker_timeline import first_start, trial_spans, worker_spans
from search.common.durations import format_duration
from search.show.figures.costs import costs
from search.show.figures.space import describe_importance
from search.show.wording import capitalized, counted, joined, ordinal
from search.study.results import Confirmed, Noise, Significance, bpb_text, lead
from search.study.trials import attributes_of


def unfinished(snapshot: Snapshot) -> str:
    """Return a warning that runs are still to come, which may change every answer; empty if none are."""
    prediction = forecast(snapshot)
    running = [sum(t.state == TrialState.RUNNING for t in trials) for trials in (snapshot.proxies, snapshot.runs)]
    proxies, runs = prediction.proxies + running[0], prediction.confirmations + running[1]
    approximately = "" if snapshot.race_over else "about "  # the race's number of seeds depends on its results
    noun = ("run", "runs") if snapshot.plan.is_grid else ("proxy", "proxies")
    to_come = [counted(proxies, *noun)] if proxies else []
    to_come += [f"{approximately}{counted(runs, 'long run')}"] if runs else []
    if not to_come and snapshot.race_over:
        return ""
    rest = f"{joined(to_come)} still to come or under way" if to_come else "its race isn't over"
    return f"This study is not finished: {rest}. What follows may change."


def winner(snapshot: Snapshot) -> list[str]:
    """Return the best configuration, and how surely it is ahead of the others."""
    if snapshot.plan.is_grid and not snapshot.confirmed:
        return _best_point(snapshot)
    if not snapshot.confirmed:
        return _only_proxies(snapshot)
    best, n = snapshot.confirmed[0], len(snapshot.confirmed[0].bpb_by_seed)
    estimate = snapshot.estimates[best.key]
    name = f"The hand-made {best.label}" if best.baseline else capitalized(best.label)
    mean = "one run" if n == 1 else f"the mean of {n} seeds"
    if estimate.bpb != best.mean_bpb:
        mean = f"estimated from {mean}, {best.mean_bpb:.4f}, which is flattered by having been chosen"
    bpb = estimate.text + (" (95% interval)" if estimate.half_width is not None else "")
    sentences = [f"{name} is best: {bpb} BPB after {snapshot.plan.confirm.budget} of training, {mean}."]
    if best.baseline and any(not c.baseline for c in snapshot.confirmed):
        sentences.append("The search found nothing better than the hand-made baseline.")
    return [
        *sentences,
        *(comparison_sentence(best, rival, snapshot.noise) for rival in _rivals(snapshot)),
        *_race_sentence(snapshot),
    ]


def _rivals(snapshot: Snapshot) -> list[Confirmed]:
    """Return the second best, and the best baseline unless it is one of the two best."""
    baseline = (
        [c for c in snapshot.confirmed[2:] if c.baseline][:1]
        if not any(c.baseline for c in snapshot.confirmed[:2])
        else []
    )
    return [*snapshot.confirmed[1:2], *baseline]


def comparison_sentence(best: Confirmed, rival: Confirmed, noise: Noise) -> str:
    """Return how far the best is ahead of a rival, and whether noise may explain it."""
    comparison, name = lead(best, rival, noise), f"the hand-made {rival.label}" if rival.baseline else rival.label
    if comparison.by_failure > 0:
        return f"{capitalized(name)} ranks behind it because it failed in {counted(rival.failed, 'long run')}."
    distance = f"By the mean of its runs it is {comparison.gap:.4f} BPB ahead of {name} ({rival.mean_bpb:.4f})"
    if comparison.significance is Significance.NOT_KNOWN:
        return f"{distance}; how much of that is chance isn't known, since no configuration ran with two seeds."
    if comparison.proven:
        return f"{distance}, more than seed noise explains ({comparison.least:.4f} at 95%)."
    return f"{distance}, which seed noise may explain (up to {comparison.least:.4f} at 95%): don't tell the two apart."


def _race_sentence(snapshot: Snapshot) -> list[str]:
    if len(snapshot.confirmed) == 1:
        return ["Nothing else has been confirmed to compare it with."]
    return [snapshot.race_line] if snapshot.race_line else []


def _only_proxies(snapshot: Snapshot) -> list[str]:
    if not snapshot.finished:
        states = Counter(t.state for t in snapshot.proxies if t.state != TrialState.WAITING)
        numbers = {"pruned": states[TrialState.PRUNED], "failed": states[TrialState.FAIL]}
        counts = [
            f"{counted(states.total(), 'proxy', 'proxies')} begun",
            *(f"{n} {end}" for end, n in numbers.items() if n),
        ]
        return [f"Nothing has trained to the end yet: {', '.join(counts)}."]
    best = min(snapshot.finished, key=lambda t: t.value or 0.0)
    budget, number = snapshot.plan.proxy.budget, len(snapshot.finished)
    return [
        f"Nothing is confirmed yet. The best of {counted(number, 'finished proxy', 'finished proxies')} is trial "
        f"{best.number} with {best.value:.4f} BPB after {budget}, which is a hint, not a result."
    ]


def _best_point(snapshot: Snapshot) -> list[str]:
    finished = [p for p in points(snapshot.plan.grid(), snapshot.proxies) if p.runs]
    if not finished:
        return _only_proxies(snapshot)
    if snapshot.plan.ideas:
        verdicts = summary(compared(snapshot.plan, snapshot.proxies)) or "No idea can be compared yet."
        return ["This study is a sweep of ideas: nothing in it is confirmed.", verdicts]
    best = min(finished, key=lambda p: p.bpb)
    half_width = best.means["val_bpb"].half_width
    bpb = bpb_text(best.bpb, half_width) + (" (95% interval)" if half_width is not None else "")
    settings = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in best.params.items())
    return [
        f"This study is a sweep: nothing in it is confirmed. Of {len(finished)} points the best is {settings}: "
        f"{bpb} BPB, {counted(best.runs, 'run')}."
    ]


def proxy_prediction(snapshot: Snapshot) -> list[str]:
    """Return whether the order of short runs predicts that of long ones, and what pruning did."""
    transfer = snapshot.transfer
    if snapshot.plan.is_grid and not snapshot.confirmed:
        return ["This study is a sweep: every point trained for its whole budget, so that nothing had to be predicted."]
    pruning = [snapshot.pruning] if snapshot.pruning else []
    predictions = [snapshot.predictions_line] if snapshot.predictions_line else []
    if transfer.tau is None:
        too_few = (
            f"Not known yet: {counted(transfer.pairs, 'configuration')} with a proxy and a long run; 5 are needed."
        )
        return [too_few, *predictions, *pruning]
    short, long = snapshot.plan.proxy.budget, snapshot.plan.confirm.budget
    figures, winners_place = f"{capitalized(transfer.figures)}.", _winners_proxy_place(snapshot)
    if transfer.proven:
        return [
            f"Yes: the order of {short} runs predicts that of {long} runs.",
            figures,
            *winners_place,
            *predictions,
            *pruning,
        ]
    figures += (
        " The order was rather reversed." if (transfer.high or 0) < 0 else " τ ≤ 0, no better than chance, fits too."
    )
    not_shown = (
        f"Not shown: the order of {short} runs says too little of that of {long} runs. Trust only what was confirmed."
    )
    return [not_shown, figures, *winners_place, *predictions, *pruning]


def _winners_proxy_place(snapshot: Snapshot) -> list[str]:
    """Return the winner's place among the proxies; empty if it has none."""
    best = snapshot.confirmed[0]
    if best.proxy_bpb is None:
        return []
    better = sum((t.value or 0.0) < best.proxy_bpb for t in snapshot.finished)
    name = f"the hand-made {best.label}" if best.baseline else best.label
    return [f"The winner, {name}, was {ordinal(better + 1)} of {len(snapshot.finished)} finished proxies."]


def important_settings(snapshot: Snapshot) -> list[str]:
    """Return which settings had an effect on BPB."""
    if snapshot.plan.is_grid:
        return ["The figures show BPB at each point of the grid."]
    importance = describe_importance(snapshot)
    if importance:
        return [importance, "That is about short runs; only the figures of confirmed runs speak of long ones."]
    searched = [t for t in snapshot.proxies if attributes_of(t).baseline is None]
    finished, pruned = (sum(t.state == s for t in searched) for s in (TrialState.COMPLETE, TrialState.PRUNED))
    if finished + pruned >= MIN_TRIALS:
        return [f"It can't be told: {finished} of {finished + pruned} trials finished, too few or too much alike."]
    return [f"Too few trials: {finished + pruned} of the search's finished or were pruned; {MIN_TRIALS} are needed."]


def cost(snapshot: Snapshot) -> list[str]:
    """Return the study's cost in time and money, and what pruning saved."""
    totals, spans, times_present = costs(snapshot), trial_spans(snapshot), worker_spans(snapshot)
    if not totals.total_hours:
        return ["Nothing that could be counted: no worker has registered."]
    last = max([s.end for s in spans] + [w.end for w in times_present])
    duration = format_duration(last - first_start(spans, times_present))
    usd = f", ${totals.total_usd:.2f}" if totals.total_usd else ", at no price"
    cap = f" of ${snapshot.bill.cap:.2f} allowed" if snapshot.bill.cap else ""
    workers = counted(len({s.worker for s in spans} | {w.worker for w in times_present}), "worker")
    trained = sum(totals.hours[:2]) / totals.total_hours
    training = f"{format_duration(3600 * totals.total_hours)} of workers' time{usd}{cap}: {workers} over {duration}."
    return [training, f"{trained:.0%} of that time was spent on training.", *_saved(snapshot)]


def _saved(snapshot: Snapshot) -> list[str]:
    pruned = sum(t.state == TrialState.PRUNED for t in snapshot.proxies)
    if not pruned:
        return []
    saved = format_duration(saved_seconds(snapshot.proxies, snapshot.plan.proxy))
    return [f"Pruning {counted(pruned, 'proxy', 'proxies')} saved {saved} of training."]


ANSWERS: Mapping[str, tuple[str, Callable[[Snapshot], list[str]]]] = {
    "won": ("What won, and how sure is that?", winner),
    "predicts": ("Did the proxy predict?", proxy_prediction),
    "mattered": ("What mattered?", important_settings),
    "cost": ("What did it cost?", cost),
}
"""The report's questions in order, each with the function that answers it; figures refer to them by key."""
