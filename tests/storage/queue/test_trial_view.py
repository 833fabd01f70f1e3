"""What a pruner is told of a study's trials is what Optuna tells of them."""

import math
import random
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.strategy.pruner import CorrelationPruner
from storage.queue.trial_queue import TrialQueue
from storage.server.database import Database


def told(trials: list[FrozenTrial]) -> dict[int, tuple[Any, ...]]:
    """What pruners look at, of the trials that tell something; NaN as itself."""
    wanted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    return {
        t.number: (t.state, t.value, {s: repr(v) for s, v in t.intermediate_values.items()})
        for t in trials
        if t.state in wanted
    }


def identities(trials: list[FrozenTrial]) -> list[tuple[Any, ...]]:
    """What claims and samplers look at; of who waits or runs, the parameters that were given, not those set since."""
    return [
        (t._trial_id, t.number, t.state, t.value, t.user_attrs, t.system_attrs.get("fixed_params"))
        + ((t.params,) if t.state.is_finished() else ())
        for t in trials
    ]


def test_views_are_optunas_however_trials_come_report_and_end(database: Database) -> None:
    """100 random acts, with a second pair of eyes that looks only now and then, and one that looks first at the end."""
    study = optuna.create_study(study_name="s", storage=database.storage)
    queue, seldom = (TrialQueue(database, "s", grace_seconds=60.0) for _ in range(2))
    draw, running = random.Random(5), list[int]()
    for act in range(100):
        chosen = draw.random()
        if chosen < 0.25 or not running:
            running.append(study.ask()._trial_id)
        elif chosen < 0.3:
            study.enqueue_trial({"x": act}, user_attrs={"retries": act, "why": [1.5, None, "'"]})
        elif chosen < 0.4:
            database.storage.set_trial_user_attr(draw.choice(running), draw.choice("ab"), draw.random())
        elif chosen < 0.8:
            value = draw.choice([draw.random(), math.nan, math.inf, -math.inf])
            database.storage.set_trial_intermediate_value(draw.choice(running), draw.randrange(5, 100, 5), value)
        else:
            ending = running.pop(draw.randrange(len(running)))
            state = draw.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
            database.storage.set_trial_state_values(
                ending, state, None if state == TrialState.FAIL else [draw.random()]
            )
        trials = study.get_trials(deepcopy=False)
        assert told(queue.trial_view.with_reports()) == told(trials)
        assert identities(queue.with_attributes()) == identities(trials)
        if act % 19 == 0:
            assert told(seldom.trial_view.with_reports()) == told(trials)
            assert identities(seldom.with_attributes()) == identities(trials)
    late = TrialQueue(database, "s", grace_seconds=60.0)
    assert told(late.trial_view.with_reports()) == told(seldom.trial_view.with_reports()) == told(study.get_trials())


def test_a_pruner_decides_as_by_optunas_own_trials(database: Database) -> None:
    study = optuna.create_study(study_name="s", storage=database.storage)
    draw, pruner = random.Random(1), CorrelationPruner(rule="risk", controls=0.0, min_trials=4)
    queue = TrialQueue(database, "s", grace_seconds=60.0)
    verdicts = []
    for number in range(24):
        trial, end = study.ask(), draw.random()
        for step in range(10, 100, 30):
            trial.report(end + draw.gauss(0, 0.02), step)
            frozen = database.storage.get_trial(trial._trial_id)
            verdicts.append(pruner.judge(study, frozen, queue.trial_view.with_reports))
            assert verdicts[-1] == pruner.judge(study, frozen)
        if number % 7:
            study.tell(trial, end)
    assert {v.reason for v in verdicts} >= {"hopeless", "promising"}
