import threading
import time
from collections import Counter
from typing import Any

import pytest
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search.common.errors import SpaceExhaustedError
from search.strategy.sampler import Sampler, ensure_parameters
from search.study import study_file as studyfile
from search.study.plan import Plan
from search.study.space import Parameter, Params, Space
from search.study.study import LinkedStudy, load_study, open_study
from search.study.trials import trial_params
from storage.queue.trial_queue import Claim, NoClaim
from storage.server.database import Database, connect
from tests.conftest import CLI_SECONDS

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # of metric names

KINDS = ["tpe", "gp", "joint", "qmc", "random"]
SPACE = Space(
    {
        "max_lr": Parameter(low=1e-4, high=1e-1, log=True),
        "n_layer": Parameter(low=1, high=16),
        "optimizer": Parameter(choices=("adamw", "muon")),
        "momentum": Parameter(low=0.8, high=0.99, when={"optimizer": "muon"}),
        "attention": Parameter(choices=("full", "grouped")),
        "n_kv_head": Parameter(low=1, high=4, when={"attention": "grouped"}),
    }
)
SMALL = Space({"n_layer": Parameter(low=1, high=3), "tied": Parameter(choices=(True, False))})


def sampler(kind: str, space: Space = SPACE, seed: int = 0, startup: int = 5) -> Sampler:
    return Sampler(space=space, fixed={}, kind=kind, seed=seed, startup=startup)


def ended(space: Space, number: int, params: Params, value: float | None, why: str = "") -> FrozenTrial:
    trial = create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        value=value,
        params=params,
        distributions={k: space.parameters[k].distribution() for k in params},
        user_attrs={"failure": why} if why else {},
    )
    trial.number = number
    return trial


def history(count: int, largest: int = 16, why: str = "out_of_memory") -> list[FrozenTrial]:
    """Trials at random, better the deeper they are, until they are too deep."""
    trials: list[FrozenTrial] = []
    for number in range(count):
        params = sampler("random").draw(trials, number, {}).params
        value = 2 - 0.05 * params["n_layer"] if params["n_layer"] <= largest else None
        trials.append(ended(SPACE, number, params, value, why if value is None else ""))
    return trials


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_depends_on_seed_number_and_history_alone(kind: str) -> None:
    trials = history(12)
    first = sampler(kind).draw(trials, 12, {})
    assert first.kind == kind
    assert sampler(kind).draw(trials, 12, {}) == first
    others = [sampler(kind).draw(trials, 13, {}), sampler(kind, seed=1).draw(trials, 12, {})]
    assert all((other.params, other.seed) != (first.params, first.seed) for other in others)
    if kind not in ("gp", "joint"):  # which may be sure of a corner, whatever their seed
        assert all(other.params != first.params for other in others)


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_until_enough_trials_have_ended_nothing_is_learned(kind: str) -> None:
    assert sampler(kind).draw(history(4), 4, {}) == sampler("random").draw([], 4, {})
    assert sampler(kind).draw(history(5), 5, {}).kind == kind


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_decide_what_is_drawn(kind: str) -> None:
    trials = history(10)
    for number in range(10, 16):
        params = sampler(kind).draw(trials, number, {}).params
        assert params.keys() == SPACE.names(params)
        assert all(SPACE.parameters[k].holds(v) for k, v in params.items())
        trials.append(ended(SPACE, number, params, float(number)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_trial_was_given_is_kept_and_the_rest_drawn(kind: str) -> None:
    given = {"optimizer": "muon", "n_layer": 3}
    params = sampler(kind).draw(history(10), 10, given).params
    assert params.items() >= given.items()
    assert "momentum" in params


@pytest.mark.parametrize("kind", KINDS)
def test_every_configuration_is_drawn_once_and_then_there_is_none(kind: str) -> None:
    trials: list[FrozenTrial] = []
    for number in range(6):
        params = sampler(kind, SMALL, startup=2).draw(trials, number, {}).params
        trials.append(ended(SMALL, number, params, float(params["n_layer"])))
    assert len({tuple(sorted(t.params.items())) for t in trials}) == 6
    with pytest.raises(SpaceExhaustedError, match=r"all 6 configurations of \[space\]"):
        sampler(kind, SMALL, startup=2).draw(trials, 6, {})


@pytest.mark.parametrize("why", ["diverged", "out_of_memory", "error", "lost"])
def test_what_failed_is_not_drawn_again(why: str) -> None:
    every = SMALL.configurations({}, 6)
    assert every is not None
    trials = [ended(SMALL, number, params, None, why) for number, params in enumerate(every[:5])]
    assert sampler("random", SMALL).draw(trials, 5, {}).params == every[5]


def test_the_nearest_new_one_takes_the_place_of_a_duplicate() -> None:
    space = Space({"n_layer": Parameter(low=0, high=100), "tied": Parameter(choices=(True, False))})
    near = {"n_layer": 50, "tied": True}
    taken = {frozenset({"n_layer": n, "tied": True}.items()) for n in range(45, 53)}
    assert sampler("tpe", space)._neighbour(near, taken, 0, {}).params == {"n_layer": 53, "tied": True}


def test_in_a_large_space_a_neighbour_is_near_too() -> None:
    near = sampler("random").draw([], 0, {}).params
    for number in range(20):
        other = sampler("random")._neighbour(near, {frozenset(near.items())}, number, {}).params
        assert other != near
        assert sum(other.get(k) == v for k, v in near.items()) >= len(near) - 3


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_what_does_not_fit_is_avoided(kind: str) -> None:
    """Deeper is better up to 8 layers and doesn't fit above: half of the space, next to the best."""

    seen, draws = (80, 20) if kind == "tpe" else (30, 5)

    def too_deep(why: str) -> int:
        trials = history(seen, largest=8, why=why)
        drawn = [sampler(kind).draw(trials, number, {}).params for number in range(seen, seen + draws)]
        return sum(p["n_layer"] > 8 for p in drawn)

    assert too_deep("out_of_memory") <= draws / 5
    assert too_deep("error") >= draws * 4 / 5  # such failures are left out of the history


PLAN = """
[data]
source = "builtin"
[space]
n_layer = {{ low = 1, high = 4 }}
batch_size = {{ choices = [4, 8, 16] }}
optimizer = {{ choices = ["adamw", "muon"] }}
momentum = {{ low = 0.8, high = 0.99, when = {{ optimizer = "muon" }} }}
tied = {{ choices = [true, false] }}
[proxy]
budget = "1s"
sampler = "{kind}"
trials = {trials}
startup = 4
[confirm]
budget = "2s"
[baselines.by-hand]
n_layer = 2
batch_size = 8
optimizer = "adamw"
tied = true
"""
DISCRETE = PLAN.replace("momentum = {{ low = 0.8, high = 0.99, when", "n_head = {{ low = 1, high = 2, when")


def plan(kind: str, trials: int, text: str = DISCRETE) -> Plan:
    return Plan.parse(text.format(kind=kind, trials=trials), name="drawn", origin="test")


def train(study: LinkedStudy, claim: Claim) -> Params:
    """Do what a worker does, but for training."""
    ensure_parameters(study, claim.trial_id)
    params = study.plan.space.suggest(Trial(study.proxies, claim.trial_id), study.plan.fixed())
    study.proxy_queue.finish(claim.trial_id, TrialState.COMPLETE, float(params["n_layer"]))
    return params


def claimed(study: LinkedStudy) -> Claim:
    claim = study.proxy_queue.claim("w", study.plan.proxy.trials)
    assert isinstance(claim, Claim)
    return claim


@pytest.mark.parametrize("kind", KINDS)
def test_a_plans_sampler_draws_its_trials_and_is_recorded(database: Database, kind: str) -> None:
    study = open_study(database, plan(kind, 7, PLAN))
    for _ in range(7):
        train(study, claimed(study))
    baseline, *drawn = study.proxy_trials()
    assert "sampler" not in baseline.user_attrs
    assert baseline.params == study.plan.baselines["by-hand"]
    kinds = [t.user_attrs["sampler"]["kind"] for t in drawn]
    first = {"tpe": {"random", "baseline"}, "gp": {"random", "baseline"}, "joint": {"qmc"}}.get(kind, {kind})
    assert set(kinds[:3]) <= first
    assert kinds[3:] == [kind] * 3
    assert all(t.params.keys() == study.plan.space.names({**study.plan.fixed(), **t.params}) for t in drawn)


@pytest.mark.parametrize("kind", ["tpe", "qmc"])
def test_sixteen_workers_at_once_draw_no_configuration_twice(database: Database, database_url: str, kind: str) -> None:
    open_study(database, plan(kind, 34, DISCRETE.replace("high = 4 }", "high = 2 }")))  # of 36
    failures: list[BaseException] = []
    start = threading.Barrier(16)

    def work() -> None:
        own = connect(database_url)
        try:
            study = load_study(own, "drawn")
            start.wait(CLI_SECONDS)
            while (claim := study.proxy_queue.claim("w", study.plan.proxy.trials)) is not NoClaim.DONE:
                if isinstance(claim, Claim):
                    train(study, claim)
                else:
                    time.sleep(0.1)  # for trials of others, which asking again at once would only hold up
        except BaseException as error:
            failures.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    trials = load_study(database, "drawn").proxy_trials()
    assert Counter(t.state for t in trials) == {TrialState.COMPLETE: 34}
    assert max(Counter(tuple(sorted(t.params.items())) for t in trials).values()) == 1


def test_a_retry_is_given_the_same_even_if_its_worker_died_before_setting_it(database: Database) -> None:
    study = open_study(database, plan("tpe", 5))
    for expected in ("by-hand", None):
        claim = claimed(study)
        ensure_parameters(study, claim.trial_id)
        given = trial_params(database.storage.get_trial(claim.trial_id))
        study.proxy_queue.fail(claim.trial_id, "lost")
        retry = claimed(study)
        assert retry.user_attrs["retries"] == claim.number
        assert retry.user_attrs.get("baseline") == expected
        assert ("sampler" in retry.user_attrs) == (expected is None)
        assert train(study, retry) == given


def test_ensuring_parameters_twice_changes_nothing(database: Database) -> None:
    study = open_study(database, plan("random", 5))
    train(study, claimed(study))
    claim = claimed(study)
    ensure_parameters(study, claim.trial_id)
    before = database.storage.get_trial(claim.trial_id)
    ensure_parameters(study, claim.trial_id)
    assert database.storage.get_trial(claim.trial_id) == before


def test_an_exhausted_study_says_so(database: Database) -> None:
    text = DISCRETE.split("[baselines")[0].replace("high = 4 }", "high = 2 }").replace("[4, 8, 16]", "[8]")
    study = open_study(database, plan("tpe", 12, text))
    for _ in range(12):
        train(study, claimed(study))
    one_more = study.proxy_queue.claim("w", 13)
    assert isinstance(one_more, Claim)
    with pytest.raises(SpaceExhaustedError, match="all 12 configurations"):
        ensure_parameters(study, one_more.trial_id)


def test_the_shipped_spaces_are_large_enough_to_count_no_further() -> None:
    for name in ("quickstart", "babylm"):
        read: Any = studyfile.read(name)
        assert read.space.configurations(read.fixed(), 10_000) is None
