"""What pruning did to a study: how much it saved, why it held back, and what controls say it cost."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from search.duration import format_duration
from search.judging import make_pruner
from search.pruner import CorrelationPruner, Relation
from search.study import LinkedStudy, finished

PROVEN = 0.95
BEST_SHARE = 0.1


def pruning_lines(study: LinkedStudy) -> str:
    """Return how many trials were pruned and what that saved, or why none was, with the correlation by progress."""
    trials, pruner = study.proxy_trials(), make_pruner(study)
    relations = [pruner.relation(trials, p) for p in study.plan.report_points()[:-1]]
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    if pruned:
        left = sum(1 - (t.last_step or 0) / 100 for t in pruned) * study.plan.proxy.budget_seconds
        said = f"{len(pruned)} pruned, which saved {format_duration(left)} of training{_controls(trials, pruner)}"
    else:
        said = f"none pruned: {_held_back(relations, pruner)}"
    if max(r.n for r in relations) < pruner.needed:
        return f"Pruning: {said}."
    return f"Pruning: {said}.\nCorrelation with the final loss by progress: {sparkline(relations)}"


def _held_back(relations: Sequence[Relation], pruner: CorrelationPruner) -> str:
    n = max(r.n for r in relations)
    if n < pruner.needed:
        return f"{n} finished trials, {pruner.needed} are needed first"
    proven = next((r for r in relations if r.proof >= PROVEN), None)
    if proven is None:
        best = max(r.proof for r in relations)
        return f"it isn't proven that losses so far say anything of the end ({best:.0%} sure at most)"
    return f"from {proven.step}% on losses are proven to say something of the end, but no trial was hopeless enough"


def _controls(trials: Sequence[FrozenTrial], pruner: CorrelationPruner) -> str:
    """Say what became of controls that would have been pruned: what pruning costs, estimated."""
    ended = finished(list(trials))
    controls = [t for t in ended if t.user_attrs.get("control")]
    if not controls:
        return ""
    stopped = [t for t in controls if _would_stop(t, trials, pruner)]
    if not stopped:
        return f"; of {len(controls)} controls none would have been pruned"
    tried = len(ended) + sum(t.state == TrialState.PRUNED for t in trials)
    best = sorted(t.value or 0.0 for t in ended)[: max(1, round(BEST_SHARE * tried))]
    lost = sum((t.value or 0.0) <= best[-1] for t in stopped)
    return (
        f"; of {len(controls)} controls {len(stopped)} would have been pruned, "
        f"{lost or 'none'} of them among the best {BEST_SHARE:.0%}"
    )


def _would_stop(trial: FrozenTrial, trials: Sequence[FrozenTrial], pruner: CorrelationPruner) -> bool:
    reports = trial.intermediate_values
    return any(pruner.judge_among(trials, trial, step).prune for step in sorted(reports))


def sparkline(relations: Sequence[Relation]) -> str:
    """Return the correlation at each report point as a bar, with the figures at a few of them."""
    bars = " ▁▂▃▄▅▆▇█"
    line = "".join(bars[round(max(r.correlation, 0) * 8)] for r in relations)
    few = relations[:: max(1, len(relations) // 3)]
    return f"{line}  " + ", ".join(f"ρ {r.correlation:.2f} (≥ {r.bound:.2f}) at {r.step}%" for r in few)
