"""An Optuna pruner that stops a trial only where losses so far are proven to foretell final ones."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from search.common.stats import lower_bound, score_among, spearman
from search.strategy.pruner_model import Foresight, Prior, Sums, foresee, sums
from search.strategy.reported_losses import Reported
from search.study.trials import attributes_of

AHEAD, LOOKS_AHEAD = 0.15, 3
"""A trial must look hopeless by what the best showed here and so far ahead: a single report's luck prunes nothing."""


@dataclass(frozen=True)
class Verdict:
    """What the pruner thinks of a trial at its last report."""

    prune: bool
    reason: str
    """One word: silent (no report), diverged, control, few (finished trials), late, unproven, promising, hopeless.

    Of a worker besides: baseline, and unreachable (the database, so that nothing is known of other trials).
    """
    proof: float | None = None
    """Probability that losses here say something of final ones."""
    chance: float | None = None
    """Expected share of the best runs that look as bad as this one, or worse."""


@dataclass(frozen=True)
class Relation:
    """How losses at one report foretold final ones, over the finished trials."""

    step: int
    n: int
    correlation: float
    """Spearman's ρ over all finished trials; bad ones drive it, so that it flatters."""
    bound: float
    """Its lower 90% confidence bound."""
    proof: float
    """Probability that losses here say something of final ones, by where the good runs stood."""


def drawn_as_control(study_name: str, number: int, fraction: float) -> bool:
    """Return whether a trial is a control: a fixed draw by its name and number, known before it starts."""
    digest = hashlib.sha256(f"{study_name}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


class CorrelationPruner(BasePruner):
    """Prune where finished trials prove that hardly any run that ends among the best looks as bad as this one.

    At a report, the places of the best finished runs among all runs there (normal scores of ranks) are described by
    a small Bayesian model (`search.strategy.pruner_model`), which also weighs the doubt that losses there say nothing
    at all. A trial is pruned when the expected share of the best runs that look as bad, here and a little ahead, is
    below `risk`. For studies of one objective, either direction; trials must report at the same steps.

    Args:
        risk: largest share of the best runs that may look as bad as a trial that is pruned. It holds for each report;
            over a run's reports, which are much alike, the best is lost more often: in replays of real searches
            in 0 to 12% of them at 0.06.
        best: share of all trials that count as the best.
        min_trials: finished trials before anything is pruned; 2 where `earlier` is given.
        odds: at first, that losses say something of final ones, against that they say nothing.
        controls: fraction of trials never pruned, which keep the estimate honest. A trial's user attribute
            `control`, where it is true or false, decides instead.
        earlier: what an earlier study with the same trainer, schedule and report points has shown: see `lessons`.

    """

    def __init__(
        self,
        *,
        risk: float = 0.06,
        best: float = 0.02,
        min_trials: int = 6,
        odds: float = 10.0,
        controls: float = 0.03,
        earlier: Mapping[int, Sums] | None = None,
    ) -> None:
        for name, value, low, high in (
            ("risk", risk, 0, 0.5),
            ("best", best, 0.001, 0.5),
            ("min_trials", min_trials, 2, math.inf),
            ("odds", odds, 0, math.inf),
            ("controls", controls, 0, 1),
        ):
            if not low <= value <= high:
                raise ValueError(f"`{name}` is {value}, but must be between {low} and {high}")
        self.risk, self.best, self.min_trials = risk, best, min_trials
        self.odds, self.controls, self.earlier = max(odds, 1e-300), controls, dict(earlier or {})

    @property
    def needed(self) -> int:
        """How many trials must have finished before any is pruned."""
        return 2 if self.earlier else self.min_trials

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether to stop the trial; called by Optuna's `Trial.should_prune`."""
        return self.judge(study, trial).prune

    def judge(
        self, study: Study, trial: FrozenTrial, trials: Callable[[], Sequence[FrozenTrial]] | None = None
    ) -> Verdict:
        """Return the decision with its reason and figures; by the study's trials, or by what `trials` returns."""
        step = trial.last_step
        if step is None:
            return Verdict(False, "silent")
        if math.isnan(trial.intermediate_values[step]):
            return Verdict(True, "diverged")
        drawn = attributes_of(trial).control
        if drawn_as_control(study.study_name, trial.number, self.controls) if drawn is None else drawn:
            return Verdict(False, "control")
        among = trials() if trials is not None else study.get_trials(deepcopy=False)
        return self.judge_among(among, trial, step, maximise=study.direction == StudyDirection.MAXIMIZE)

    def judge_among(
        self, trials: Sequence[FrozenTrial], trial: FrozenTrial, step: int, *, maximise: bool = False
    ) -> Verdict:
        """Return the decision on a trial at a step by these trials alone, of which it may be one."""
        runs = Reported.of([t for t in trials if t.number != trial.number], maximise=maximise)
        if runs.finished < self.needed:
            return Verdict(False, "few")
        return self._weigh(runs, step, runs.sign * trial.intermediate_values[step])

    def _weigh(self, runs: Reported, step: int, loss: float) -> Verdict:
        losses = runs.at(step)
        score = score_among(loss, losses[~np.isnan(losses)])
        looks = [self.foresee(runs, s) for s in _looks(runs.steps, step)]
        if not looks or looks[0] is None:
            return Verdict(False, "late" if not looks else "few")
        chances = [look.share_as_bad(score) for look in looks if look is not None]
        proof, chance = looks[0].proof, max(chances)
        if chance < self.risk:
            return Verdict(True, "hopeless", proof, chance)
        certain = [look.share_if_related(score) for look in looks if look is not None]
        return Verdict(False, "unproven" if max(certain) < self.risk else "promising", proof, chance)

    def foresee(self, runs: Reported, step: int) -> Foresight | None:
        """Return what finished runs say of the best at a step; None where none of them was there."""
        scores, (places, final) = runs.scores_at(step), runs.good
        seen = ~np.isnan(scores[places])
        earlier = self.earlier.get(step, np.zeros(6))
        if not seen.any() and not earlier[0]:
            return None
        prior = Prior(odds=self.odds, earlier=earlier)
        share = len(places) / max(1, runs.ended)
        cut = scores[runs.cut_at(step)]
        return foresee(final[seen], scores[places][seen], cut, share=share, best=self.best, prior=prior)

    def relation(self, trials: Sequence[FrozenTrial], step: int) -> Relation:
        """Return how losses at a step foretold final losses so far, in a study that minimises."""
        runs = Reported.of(trials)
        losses = runs.at(step)
        both = np.isfinite(losses) & np.isfinite(runs.final)
        rho = spearman(losses[both], runs.final[both])
        look = self.foresee(runs, step) if runs.finished else None
        n = int(both.sum())
        return Relation(step, n, rho, lower_bound(rho, n), look.proof if look else 0.0)


def _looks(steps: Sequence[int], step: int) -> list[int]:
    """Return this step and up to three ahead; none at the last report before the end, where little is left."""
    ahead = [s for s in steps[:-2] if s > step]
    if step >= (steps[-2] if len(steps) > 1 else step):
        return []
    reach = max(1, round(AHEAD * len(steps)))
    stride = math.ceil(reach / LOOKS_AHEAD)
    return [step, *ahead[stride - 1 : reach : stride]]


def lessons(trials: Sequence[FrozenTrial], *, worth: float = 8.0, maximise: bool = False) -> dict[int, Sums]:
    """Return what a finished study says of each report, for another pruner's `earlier`.

    However many its good runs were, they count as `worth` at most (a power prior: Ibrahim & Chen, Statistical
    Science 15, 2000). Only a study with the same trainer, schedule and report points can teach: those with other
    schedules change places at other times.
    """
    runs = Reported.of(trials, maximise=maximise)
    places, final = runs.good
    found = {}
    for step in runs.steps[:-1]:
        scores = runs.scores_at(step)[places]
        seen = ~np.isnan(scores)
        if seen.any():
            found[step] = sums(final[seen], scores[seen], min(1.0, worth / float(seen.sum())))
    return found
