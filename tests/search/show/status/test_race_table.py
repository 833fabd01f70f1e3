"""The table of the race: what it says of runs that were lost and of those that repeat them."""

from types import SimpleNamespace
from typing import Any, cast

from optuna.trial import FrozenTrial, TrialState, create_trial

from search.analysis.snapshot import Snapshot
from search.show.status.race_table import decisions
from tests.search.raced import plan


def test_a_decision_says_how_the_retries_of_a_lost_run_ended() -> None:
    first = {"baseline": "by-hand", "seed": 100, "why": "first run: hand-made"}
    second = {"baseline": "by-hand", "seed": 101, "why": "run 2"}
    runs = [
        run(0, None, {**first, "failure": "lost"}),
        run(1, 1.25, second),
        run(2, None, {**first, "retries": 0, "failure": "lost"}),
        run(3, 1.5, {**first, "retries": 2}),
    ]
    assert decisions(cast(Snapshot, SimpleNamespace(plan=plan(), runs=runs))) == [
        "baseline by-hand, seed 100, 30m: first run: hand-made → lost, again: lost, again: 1.5000 BPB",
        "baseline by-hand, seed 101, 30m: run 2 → 1.2500 BPB",
    ]


def run(number: int, value: float | None, attrs: dict[str, Any]) -> FrozenTrial:
    state = TrialState.FAIL if value is None else TrialState.COMPLETE
    trial = create_trial(state=state, value=value, user_attrs=attrs)
    trial.number = number
    return trial
