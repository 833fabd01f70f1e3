"""What the same money would have found otherwise, for a study worked by hand."""

import math
from typing import Literal

import optuna
import pytest
from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.replay.one_study import replay
from search.replay.same_money import ALIKE, LONG, same_money


def finished(final: float) -> FrozenTrial:
    """A trial that loses 1 at each of three reports, the last of them the end."""
    return create_trial(value=final, intermediate_values={30: final + 2, 60: final + 1, 100: final})


def pruned(**reports: float) -> FrozenTrial:
    losses = {int(step[1:]): loss for step, loss in reports.items()}
    return create_trial(state=TrialState.PRUNED, value=list(losses.values())[-1], intermediate_values=losses)


def study_of(*trials: FrozenTrial, direction: Literal["minimize", "maximize"] = "minimize") -> optuna.Study:
    study = optuna.create_study(study_name="mine", direction=direction)
    study.add_trials(trials)
    return study


WHOLE = [finished(final) for final in (1.0, 2.0, 4.0, 5.0, 6.0, 7.0)]


def test_pruned_trials_go_on_as_the_nearest_finished_one_at_their_distance() -> None:
    """By hand: 4.2 at 30% is nearest to 4 (of the run to 2), 0.2 behind; 8.9 at 60% to 8 (of that to 7), 0.9 behind."""
    own = same_money(study_of(*WHOLE, pruned(_30=4.2), pruned(_30=9.5, _60=8.9)))
    assert own is not None
    curves, limit = own
    assert curves.final[6:].tolist() == pytest.approx([2.2, 7.9])
    assert curves.loss[6:].tolist() == [pytest.approx([4.2, 3.2]), [9.5, 8.9]]
    assert limit.budget == pytest.approx(6 + 0.3 + 0.6)
    assert limit.resampled
    spent, alike, continued = curves.notes
    assert spent == "the study spent 6.9 whole runs on 8 trials, the best of which ended at 1.0000"
    assert (alike, continued.startswith("how 2 pruned trials would have ended isn't known")) == (ALIKE, True)


def test_a_trial_that_was_pruned_for_diverging_ends_as_the_worst() -> None:
    own = same_money(study_of(*WHOLE, create_trial(state=TrialState.PRUNED, intermediate_values={30: math.nan})))
    assert own is not None
    assert own[0].final[-1] == 9.0  # the worst loss that any of them reported


def test_a_maximising_study_is_turned_and_told_in_its_own_sign() -> None:
    trials = [
        create_trial(value=-(t.value or 0.0), intermediate_values={s: -v for s, v in t.intermediate_values.items()})
        for t in WHOLE
    ]
    own = same_money(study_of(*trials, direction="maximize"))
    assert own is not None
    assert own[0].final.tolist() == [t.value for t in WHOLE]
    assert "ended at -1.0000" in own[0].notes[0]


def test_failed_trials_cost_nothing_and_uneven_reports_can_not_be_drawn_anew() -> None:
    failed = create_trial(state=TrialState.FAIL, intermediate_values={30: 1.0})
    own = same_money(study_of(*WHOLE, failed))
    assert own is not None
    assert own[1].budget == 6
    assert same_money(study_of(*WHOLE, create_trial(value=1.0, intermediate_values={50: 2.0, 100: 1.0}))) is None


def test_a_study_of_ours_says_that_long_runs_alone_are_not_known() -> None:
    study = study_of(*WHOLE)
    study.set_user_attr("plan", "[proxy]")
    own = same_money(study)
    assert own is not None
    assert own[0].notes[-1] == LONG


def test_without_pruning_the_money_buys_as_many_draws_as_it_paid_whole_runs() -> None:
    """6 draws of 6 runs: one has the best with the chance 1 − (5/6)⁶ = .665, over 400 studies within 3 × .024."""
    own = same_money(study_of(*WHOLE))
    assert own is not None
    scores = [replay(own[0], NopPruner(), own[1], seed) for seed in range(400)]
    assert {score.tried for score in scores} == {6}
    assert sum(score.regret == 0 for score in scores) / 400 == pytest.approx(0.665, abs=0.072)
