import math

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.strategy.sampler_history import sampler_history, without_disasters
from search.study.space import Parameter, Space
from search.study.trials import trial_params

SPACE = Space({"max_lr": Parameter(low=0.0, high=1.0)})


def trial(
    state: TrialState,
    value: float | None = None,
    x: float = 0.5,
    reports: dict[int, float] | None = None,
    why: str = "",
) -> FrozenTrial:
    return create_trial(
        state=state,
        value=value,
        params={"max_lr": 0.5},
        distributions={"max_lr": SPACE.parameters["max_lr"].distribution()},
        intermediate_values=reports,
        user_attrs={"failure": why} if why else {},
    )


COMPLETE = [
    trial(TrialState.COMPLETE, 1.0, reports={50: 2.0, 100: 1.0}),
    trial(TrialState.COMPLETE, 1.5, reports={50: 2.4, 100: 1.5}),
    trial(TrialState.COMPLETE, 3.0, reports={50: 4.0, 100: 3.0}),
]


def history_of(kind: str, *more: FrozenTrial) -> list[FrozenTrial]:
    return sampler_history(kind, [*COMPLETE, *more], SPACE)[len(COMPLETE) :]


@pytest.mark.parametrize(
    ("loss", "counts_as"),
    [(2.0, 1.0), (2.2, 1.25), (3.2, 2.25), (1.0, 1.0), (9.0, 3.0), (math.nan, 3.0), (math.inf, 3.0)],
)
def test_a_gaussian_process_gets_a_pruned_trial_with_an_estimated_final_value(loss: float, counts_as: float) -> None:
    (seen,) = history_of("gp", trial(TrialState.PRUNED, reports={20: 0.1, 50: loss}))
    assert seen.state == TrialState.COMPLETE
    assert seen.value == pytest.approx(counts_as)


def test_a_trial_pruned_at_a_step_that_no_finished_trial_has_is_the_worst() -> None:
    (seen,) = history_of("gp", trial(TrialState.PRUNED, reports={30: 0.1}))
    assert seen.value == 3.0


@pytest.mark.parametrize("why", ["diverged", "out_of_memory"])
def test_a_configurations_own_fault_counts_as_the_worst(why: str) -> None:
    failed = trial(TrialState.FAIL, why=why, reports={5: 0.1})
    (seen,) = history_of("gp", failed)
    assert (seen.state, seen.value) == (TrialState.COMPLETE, 3.0)
    (seen,) = history_of("tpe", failed)
    assert (seen.state, seen.intermediate_values) == (TrialState.PRUNED, {})


@pytest.mark.parametrize("why", ["lost", "interrupted", "error"])
def test_other_failures_say_nothing(why: str) -> None:
    assert history_of("tpe", trial(TrialState.FAIL, why=why)) == history_of("gp", trial(TrialState.FAIL, why=why)) == []


def test_tpe_gets_a_pruned_trial_with_its_last_report() -> None:
    (seen,) = history_of("tpe", trial(TrialState.PRUNED, 2.2, reports={20: 3.0, 50: 2.2}))
    assert (seen.state, seen.intermediate_values) == (TrialState.PRUNED, {50: 2.2})


def test_a_result_that_is_no_number_is_no_result() -> None:
    (seen,) = history_of("tpe", trial(TrialState.COMPLETE, math.inf))
    assert (seen.state, seen.intermediate_values) == (TrialState.PRUNED, {})


def test_what_runs_or_waits_is_running_with_what_it_was_given() -> None:
    waiting = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": {"max_lr": 0.25}})
    (seen,) = history_of("tpe", waiting)
    assert (seen.state, seen.params) == (TrialState.RUNNING, {"max_lr": 0.25})
    assert history_of("tpe", create_trial(state=TrialState.WAITING)) == []
    assert trial_params(waiting) == {"max_lr": 0.25}


def test_without_results_a_gaussian_process_has_nothing_to_compare_with() -> None:
    assert sampler_history("gp", [trial(TrialState.FAIL, why="out_of_memory")], SPACE) == []
    assert len(sampler_history("tpe", [trial(TrialState.FAIL, why="out_of_memory")], SPACE)) == 1


def test_no_loss_is_further_behind_the_median_than_the_best_is_ahead() -> None:
    assert without_disasters(np.array([1.4, 1.5, 1.6, 9.0])).tolist() == pytest.approx([1.4, 1.5, 1.6, 1.7])
    assert without_disasters(np.array([])).tolist() == []


def test_one_run_far_behind_leaves_a_gaussian_process_the_differences_among_the_good_ones() -> None:
    losses = [1.4, 1.5, 1.6, 1.7, 9.0]
    trials = [trial(TrialState.COMPLETE, loss) for loss in losses]
    diverged, pruned = trial(TrialState.FAIL, why="diverged"), trial(TrialState.PRUNED, reports={50: 5.0})
    told = sampler_history("gp", [*trials, diverged, pruned], SPACE)
    assert [t.value for t in told] == pytest.approx([1.4, 1.5, 1.6, 1.7, 2.0, 2.0, 2.0])  # median 1.7, 0.3 behind it
    assert [t.value for t in sampler_history("tpe", trials, SPACE)] == losses
