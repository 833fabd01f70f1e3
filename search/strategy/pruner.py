"""An Optuna pruner that stops trials whose time is better spent on new ones, by one of three rules."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from search.common.stats import lower_bound, score_among, spearman
from search.strategy.pruner_model import Prediction, Prior, Sums, predict_best_runs, weighted_sums
from search.strategy.pruner_worth import worth_of
from search.strategy.reported_losses import ReportedLosses
from search.study.trials import attributes_of

AHEAD, LOOKS_AHEAD = 0.15, 3
"""A trial must look hopeless at this report and at up to three more within so large a fraction of all reports.

So a single lucky report prunes nothing.
"""


WORTH, RISK, HALVING = RULES = ("worth", "risk", "halving")
"""What a trial is pruned by.

Its worth beside new trials at equal cost, the risk of losing one of the best, or its place among the trials that came
as far.
"""

REDUCTION_FACTOR = 4
"""By the rule "halving" one of so many trials goes on."""


@dataclass(frozen=True)
class PruningDecision:
    """The pruner's decision on a trial at its last report."""

    prune: bool
    """Whether to stop the trial."""
    reason: str
    """One word: silent (no report), diverged, control, few (finished trials), late, promising; and by rule:

    outbid, pruned because new trials promise more for the same cost; hopeless, pruned because hardly any of the best
    runs looked as bad, and unproven, spared because that isn't shown; or behind, pruned because too many that came as
    far were ahead.
    A worker adds: baseline, unreachable (the database: other trials' losses aren't known) and unjudged.
    """
    proof: float | None = None
    """Probability that losses at this report are related to final ones."""
    chance: float | None = None
    """By the rule "risk": expected share of the best runs that look as bad as this trial, or worse."""
    place_chance: float | None = None
    """By the rule "worth": chance that the trial takes a place among the best finished ones."""
    new_trials_places: float | None = None
    """By the rule "worth": expected number of such places for new trials that cost as much as the rest of this one."""
    place: int | None = None
    """By the rule "halving": the trial's place among all trials that came as far, the best being 1."""
    came_as_far: int | None = None
    """By the rule "halving": number of trials that came as far, this one included."""


@dataclass(frozen=True)
class Relation:
    """Relation of the losses at one report to the final ones, over the finished trials."""

    step: int
    n: int
    """Number of finished trials that reported there."""
    correlation: float
    """Spearman's ρ over all finished trials; bad trials, which are easy to tell apart, raise it."""
    bound: float
    """Lower 90% confidence bound of the correlation."""
    proof: float
    """Probability that losses at the report are related to final ones, by the good runs' scores there."""


def drawn_as_control(study_name: str, number: int, fraction: float) -> bool:
    """Return whether a trial is a control: a fixed draw by study name and trial number, before the trial starts."""
    digest = hashlib.sha256(f"{study_name}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


class CorrelationPruner(BasePruner):
    """Prune a trial when, by what the other trials show, its time is better spent on new ones.

    By the rule "worth" a trial is pruned when new trials, for the rest of its cost, may be expected to take more places
    among the best than the trial itself (`search.strategy.pruner_worth`). It suits a study that ends when its time or
    money does, so that what is saved buys further trials.

    By the rule "risk" it is pruned when hardly any run that ends among the best looks as bad as it does. At a report,
    the ranks of the best finished runs among all runs (as normal scores) are described by a small Bayesian model
    (`search.strategy.pruner_model`), averaged with the alternative that losses there predict nothing. The expected
    share of the best runs that look as bad, at this report and a little ahead, must be below `risk`. It suits a study
    that ends with a number of trials, of which the best is to be kept.

    By the rule "halving" (asynchronous successive halving with one look: Li et al., MLSys 2020) a trial goes on after a
    quarter of its budget only if it is in the best quarter of all trials that came as far. It needs no finished trial.
    It suits trials that are the first part of a longer run, and money for few: a report near their end says as much as
    their end, so that there is no relation to learn.

    For studies with one objective, in either direction; trials must report at the same steps.

    Args:
        rule: "worth", "risk" or "halving".
        caution: for the rule "worth", factor by which new trials must promise more than a trial that is pruned.
        places: for the rule "worth", number of trials that something will be made of: 1 if the best is all that counts.
        risk: for the rule "risk", largest share of the best runs that may look as bad as a trial that is pruned. It
            holds for each report; over all reports of a run, which are strongly correlated, the best run is pruned
            more often: in 0 to 12% of replayed real searches at 0.06.
        best: for the rule "risk", share of all trials that count as the best.
        min_trials: finished trials before anything is pruned, but by the rule "halving"; 2 if `earlier` is given.
        odds: prior odds that losses at a report are related to final ones.
        controls: fraction of trials that are never pruned, which keep the estimate honest. A trial's user attribute
            `control`, if it is true or false, decides instead.
        earlier: for the rule "risk", results of an earlier study with the same trainer, schedule and report points, by
            `earlier_sums`.
        look: for the rule "halving", step at which trials are compared; where they report at others, the first after.

    """

    def __init__(
        self,
        *,
        rule: str = WORTH,
        caution: float = 1.0,
        places: int = 1,
        risk: float = 0.06,
        best: float = 0.02,
        min_trials: int = 5,
        odds: float = 10.0,
        controls: float = 0.03,
        earlier: Mapping[int, Sums] | None = None,
        look: int = 25,
    ) -> None:
        if rule not in RULES:
            raise ValueError(f'`rule` is "{rule}", but must be one of: {", ".join(RULES)}')
        for name, value, low, high in (
            ("caution", caution, 0, math.inf),
            ("places", places, 1, math.inf),
            ("risk", risk, 0, 0.5),
            ("best", best, 0.001, 0.5),
            ("min_trials", min_trials, 2, math.inf),
            ("odds", odds, 0, math.inf),
            ("controls", controls, 0, 1),
            ("look", look, 1, math.inf),
        ):
            if not low <= value <= high:
                raise ValueError(f"`{name}` is {value}, but must be between {low} and {high}")
        self.rule, self.caution, self.places = rule, caution, places
        self.risk, self.best, self.min_trials = risk, best, min_trials
        self.odds, self.controls, self.earlier = max(odds, 1e-300), controls, dict(earlier or {})
        self.look = look

    @property
    def needed(self) -> int:
        """Number of trials that must have finished before losses say something of final ones.

        None is pruned before, but by the rule "halving", which asks for nothing of the kind.
        """
        if self.rule == WORTH:
            return max(self.min_trials, self.places + 1)
        return 2 if self.earlier else self.min_trials

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether to stop the trial; called by Optuna's `Trial.should_prune`."""
        return self.judge(study, trial).prune

    def judge(
        self, study: Study, trial: FrozenTrial, trials: Callable[[], Sequence[FrozenTrial]] | None = None
    ) -> PruningDecision:
        """Return the decision with its reason and figures.

        `trials` returns the trials to judge by; without it they are the study's own.
        """
        step = trial.last_step
        if step is None:
            return PruningDecision(False, "silent")
        if math.isnan(trial.intermediate_values[step]):
            return PruningDecision(True, "diverged")
        drawn = attributes_of(trial).control
        if drawn_as_control(study.study_name, trial.number, self.controls) if drawn is None else drawn:
            return PruningDecision(False, "control")
        among = trials() if trials is not None else study.get_trials(deepcopy=False)
        return self.judge_among(among, trial, step, maximise=study.direction == StudyDirection.MAXIMIZE)

    def judge_among(
        self, trials: Sequence[FrozenTrial], trial: FrozenTrial, step: int, *, maximise: bool = False
    ) -> PruningDecision:
        """Return the decision on a trial at a step, judged by these trials, which may include it."""
        runs = ReportedLosses.from_trials([t for t in trials if t.number != trial.number], maximise=maximise)
        if self.rule == HALVING:
            return self._by_halving(runs, trial, step)
        if runs.finished < self.needed:
            return PruningDecision(False, "few")
        return self._decide(runs, step, runs.sign * trial.intermediate_values[step])

    def _by_halving(self, runs: ReportedLosses, trial: FrozenTrial, step: int) -> PruningDecision:
        """Return the decision on a trial at its first report from `look` on; at all others it goes on."""
        if step < self.look or any(self.look <= earlier < step for earlier in trial.intermediate_values):
            return PruningDecision(False, "promising")
        losses = runs.at(step)
        losses = losses[~np.isnan(losses)]
        place = 1 + int((losses < runs.sign * trial.intermediate_values[step]).sum())
        came = 1 + len(losses)
        behind = place > max(1, came // REDUCTION_FACTOR)
        prediction = self.predict(runs, step) if runs.finished else None
        return PruningDecision(
            prune=behind,
            reason="behind" if behind else "promising",
            proof=prediction.proof if prediction else None,
            place=place,
            came_as_far=came,
        )

    def _decide(self, runs: ReportedLosses, step: int, loss: float) -> PruningDecision:
        steps = _steps_to_check(runs.steps, step)
        if not steps:
            return PruningDecision(False, "late")
        return self._by_worth(runs, step, loss) if self.rule == WORTH else self._by_risk(runs, steps, loss)

    def _by_worth(self, runs: ReportedLosses, step: int, loss: float) -> PruningDecision:
        worth, prediction = worth_of(runs, step, loss, self.places), self.predict(runs, step)
        if worth is None or prediction is None:
            return PruningDecision(False, "few")
        outbid = self.caution * worth.chance < worth.new_places
        return PruningDecision(
            prune=outbid,
            reason="outbid" if outbid else "promising",
            proof=prediction.proof,
            place_chance=worth.chance,
            new_trials_places=worth.new_places,
        )

    def _by_risk(self, runs: ReportedLosses, steps: Sequence[int], loss: float) -> PruningDecision:
        losses = runs.at(steps[0])
        score = score_among(loss, losses[~np.isnan(losses)])
        predictions = [self.predict(runs, s) for s in steps]
        if predictions[0] is None:
            return PruningDecision(False, "few")
        chances = [p.share_as_bad(score) for p in predictions if p is not None]
        proof, chance = predictions[0].proof, max(chances)
        if chance < self.risk:
            return PruningDecision(True, "hopeless", proof, chance)
        if_related = [p.share_if_related(score) for p in predictions if p is not None]
        return PruningDecision(False, "unproven" if max(if_related) < self.risk else "promising", proof, chance)

    def predict(self, runs: ReportedLosses, step: int) -> Prediction | None:
        """Return the prediction of the best runs' scores at a step; None if no good run has a loss there."""
        scores, (places, final) = runs.scores_at(step), runs.good
        seen = ~np.isnan(scores[places])
        earlier = self.earlier.get(step, np.zeros(6))
        if not seen.any() and not earlier[0]:
            return None
        prior = Prior(odds=self.odds, earlier=earlier)
        share = len(places) / max(1, runs.ended)
        pruned = scores[runs.pruned_at(step)]
        return predict_best_runs(final[seen], scores[places][seen], pruned, share=share, best=self.best, prior=prior)

    def relation(self, trials: Sequence[FrozenTrial], step: int) -> Relation:
        """Return the relation of losses at a step to final losses so far, in a study that minimises."""
        runs = ReportedLosses.from_trials(trials)
        losses = runs.at(step)
        both = np.isfinite(losses) & np.isfinite(runs.final)
        rho = spearman(losses[both], runs.final[both])
        prediction = self.predict(runs, step) if runs.finished else None
        n = int(both.sum())
        return Relation(step, n, rho, lower_bound(rho, n), prediction.proof if prediction else 0.0)


def _steps_to_check(steps: Sequence[int], step: int) -> list[int]:
    """Return this step and up to three ahead; none at the last report before the end: there little is left to save."""
    ahead = [s for s in steps[:-2] if s > step]
    if step >= (steps[-2] if len(steps) > 1 else step):
        return []
    reach = max(1, round(AHEAD * len(steps)))
    stride = math.ceil(reach / LOOKS_AHEAD)
    return [step, *ahead[stride - 1 : reach : stride]]


def earlier_sums(trials: Sequence[FrozenTrial], *, worth: float = 8.0, maximise: bool = False) -> dict[int, Sums]:
    """Return a finished study's results by report step, for another pruner's `earlier`.

    However many good runs the study had, they count as at most `worth` runs (a power prior: Ibrahim & Chen,
    Statistical Science 15, 2000). It must have the same trainer, schedule and report points: with another schedule
    runs change ranks at other times.
    """
    runs = ReportedLosses.from_trials(trials, maximise=maximise)
    places, final = runs.good
    sums_by_step = {}
    for step in runs.steps[:-1]:
        scores = runs.scores_at(step)[places]
        seen = ~np.isnan(scores)
        if seen.any():
            sums_by_step[step] = weighted_sums(final[seen], scores[seen], min(1.0, worth / float(seen.sum())))
    return sums_by_step
