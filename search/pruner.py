"""An Optuna pruner that stops a trial only where losses so far are proven to foretell final ones."""

import hashlib
import math
from dataclasses import dataclass

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.correlation import chance_among_best, lower_bound, normal_score, spearman


@dataclass(frozen=True)
class Verdict:
    """What the pruner thinks of a trial at its last report."""

    prune: bool
    reason: str
    """One word: silent (no report), control, few (finished trials), unproven, promising, hopeless."""
    correlation: float | None = None
    """Spearman's ρ of losses at this report with final ones, over the finished trials."""
    bound: float | None = None
    """Its lower confidence bound."""
    chance: float | None = None
    """Predicted chance that this trial ends among the best `promote`."""


@dataclass(frozen=True)
class Relation:
    """How losses at one report foretold final ones, over the finished trials."""

    step: int
    n: int
    correlation: float
    bound: float


def drawn_as_control(study_name: str, number: int, fraction: float) -> bool:
    """Return whether a trial is a control: a fixed draw by its name and number, known before it starts."""
    digest = hashlib.sha256(f"{study_name}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


class CorrelationPruner(BasePruner):
    """Prune at a report only if finished trials prove that losses there foretell final losses.

    A trial is pruned when (a) the lower confidence bound of Spearman's ρ between the loss at this report and
    the final loss, over at least `min_trials` finished trials, exceeds `min_correlation`, and (b) the chance
    that it ends among the best `promote`, by a normal copula with that bound as its correlation, is below
    its share of `risk`. For studies that minimise; trials must report at the same steps.

    Args:
        promote: how many of the best trials must not be lost.
        risk: largest chance, per trial and over all its `looks`, of losing one of them.
        looks: reports per trial that may prune; the risk is divided evenly among them.
        min_trials: finished trials before anything is pruned.
        min_correlation: what the bound must exceed.
        confidence: of the one-sided bound.
        controls: fraction of trials never pruned, which keep the estimate honest. A trial's user attribute
            `control`, where there is one, decides instead.

    """

    def __init__(
        self,
        promote: int = 5,
        *,
        risk: float = 0.05,
        looks: int = 19,
        min_trials: int = 8,
        min_correlation: float = 0.3,
        confidence: float = 0.9,
        controls: float = 0.05,
    ) -> None:
        for name, value, low, high in (
            ("promote", promote, 1, math.inf),
            ("risk", risk, 0, 1),
            ("looks", looks, 1, math.inf),
            ("min_trials", min_trials, 4, math.inf),
            ("min_correlation", min_correlation, -1, 1),
            ("confidence", confidence, 0.5, 1),
            ("controls", controls, 0, 1),
        ):
            if not low <= value <= high:
                raise ValueError(f"`{name}` is {value}, but must be between {low} and {high}")
        self.promote, self.risk, self.looks = promote, risk, looks
        self.min_trials, self.min_correlation = min_trials, min_correlation
        self.confidence, self.controls = confidence, controls

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether to stop the trial; called by Optuna's `Trial.should_prune`."""
        return self.judge(study, trial).prune

    def judge(self, study: Study, trial: FrozenTrial) -> Verdict:
        """Return the decision with its reason and figures."""
        step = trial.last_step
        if step is None:
            return Verdict(False, "silent")
        if trial.user_attrs.get("control", drawn_as_control(study.study_name, trial.number, self.controls)):
            return Verdict(False, "control")
        trials = study.get_trials(deepcopy=False)
        relation = self.relation(trials, step)
        if relation.n < self.min_trials:
            return Verdict(False, "few", relation.correlation, relation.bound)
        if relation.bound <= self.min_correlation:
            return Verdict(False, "unproven", relation.correlation, relation.bound)
        others = [
            t.intermediate_values[step] for t in trials if t.number != trial.number and step in t.intermediate_values
        ]
        score = normal_score(trial.intermediate_values[step], others)
        chance = chance_among_best(score, relation.bound, self.promote, len(others) + 1)
        hopeless = chance < self.risk / self.looks
        return Verdict(hopeless, "hopeless" if hopeless else "promising", relation.correlation, relation.bound, chance)

    def relation(self, trials: list[FrozenTrial], step: int) -> Relation:
        """Return the correlation of losses at a step with final losses, over the finished trials."""
        pairs = [
            (t.intermediate_values[step], t.value)
            for t in trials
            if t.state == TrialState.COMPLETE
            and t.value is not None
            and math.isfinite(t.intermediate_values.get(step, math.nan))
        ]
        rho = spearman([x for x, _ in pairs], [y for _, y in pairs])
        return Relation(step, len(pairs), rho, lower_bound(rho, len(pairs), self.confidence))
