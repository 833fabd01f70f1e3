"""Effect of pruning on a study: the time saved, why nothing was pruned, and the cost estimated from controls."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from search.common.durations import format_duration
from search.strategy.pruner import HALVING, RISK, CorrelationPruner, Relation
from search.study.cost import budget_seconds
from search.study.plan import Plan
from search.study.settings import Fidelity
from search.study.trials import attributes_of, finished

PROVEN = 0.95
"""Probability that losses at a report predict the best runs' final ones, from which on the report's gate is open."""
BEST_SHARE = 0.1
"""Share of tried proxies that count as the best."""


def pruning_lines(
    plan: Plan, trials: Sequence[FrozenTrial], pruner: CorrelationPruner, relations: Sequence[Relation]
) -> str:
    """Return, as a sentence, how many proxies were pruned and what that saved, or why none was."""
    pruned = sum(t.state == TrialState.PRUNED for t in trials)
    if pruned:
        saved = format_duration(saved_seconds(trials, plan.proxy))
        return f"Pruning: {pruned} pruned, which saved {saved} of training{_controls(trials, pruner)}."
    return f"Pruning: none pruned: {_why_none(relations, pruner)}."


def saved_seconds(trials: Sequence[FrozenTrial], fidelity: Fidelity) -> float:
    """Return the seconds of training that pruning saved on these trials."""
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    return sum((1 - (t.last_step or 0) / 100) * budget_seconds(t, fidelity) for t in pruned)


def is_open(relation: Relation, needed: int) -> bool:
    """Return whether the gate is open at a report: losses there are shown to predict the best runs' final ones."""
    return relation.n >= needed and relation.proof >= PROVEN


def open_from(relations: Sequence[Relation], needed: int) -> int | None:
    """Return the percent from which on the gate is open at all reports; None if it is closed at the last."""
    opened = None
    for r in reversed(relations):
        if not is_open(r, needed):
            break
        opened = r.step
    return opened


def _why_none(relations: Sequence[Relation], pruner: CorrelationPruner) -> str:
    if pruner.rule == HALVING:
        return f"none was behind the best quarter of those that had come to {pruner.look}%"
    n = max(r.n for r in relations)
    if n < pruner.needed:
        return f"{n} finished trials, {pruner.needed} are needed first"
    opened = open_from(relations, pruner.needed)
    count = sum(is_open(r, pruner.needed) for r in relations)
    if not count:
        best = max(r.proof for r in relations)
        return f"losses so far aren't shown to predict final ones (probability {best:.0%} at most)"
    where = f"from {opened}% on" if opened is not None else f"at {count} of {len(relations)} reports"
    but = "no trial was hopeless enough" if pruner.rule == RISK else "every trial was worth the rest of its cost"
    return f"{where} losses are shown to predict final ones, but {but}"


def _controls(trials: Sequence[FrozenTrial], pruner: CorrelationPruner) -> str:
    """Return, as text, how controls ended that would have been pruned: an estimate of the cost of pruning."""
    ended = finished(list(trials))
    controls = [t for t in ended if attributes_of(t).control]
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
