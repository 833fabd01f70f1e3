"""The race in whole studies: a real database, trials claimed and finished as workers do, trained by a formula."""

import io
import random
import threading
from collections import Counter
from pathlib import Path

import pytest
from optuna.trial import Trial, TrialState
from rich.console import Console

from search.analysis.snapshot import read
from search.common.errors import SearchError
from search.export.export import FORMATS, best_export, render
from search.export.reader import read_export
from search.show.status.summary import summary
from search.strategy.current_race import due_runs, race_field
from search.strategy.priming import prime
from search.strategy.promotion import promote, promote_by_hand
from search.strategy.race import SPENT, standing
from search.strategy.study_pruner import make_pruner
from search.study.results import confirmed, transfer
from search.study.study import LinkedStudy, open_study
from search.study.trials import INHERITED
from storage.queue.trial_queue import Claim
from storage.server.database import Database, connect
from tests.search.raced import Formula, Trainer, kinds, place, plan, run_key

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do


def status(study: LinkedStudy) -> str:
    screen = Console(width=200, record=True, file=io.StringIO())
    screen.print(summary(read(study)))
    return screen.export_text()


def rising(at: float) -> float:
    return 1.3 + 0.2 * at


def falling(at: float) -> float:
    return 1.5 - 0.2 * at


def scattered(at: float) -> float:
    return 1.3 + 0.2 * random.Random(round(at * 1e6)).random()


@pytest.mark.parametrize("baseline", [0.1, 1e-4], ids=["good baseline", "bad baseline"])
@pytest.mark.parametrize("lying", [rising, scattered], ids=["opposite", "unrelated"])
def test_a_misleading_proxy_is_detected_and_not_followed(lying: Formula, baseline: float, in_memory: Database) -> None:
    """Long runs want the highest rate, where the baseline stands or not; the proxy says the opposite, or anything."""
    study = open_study(in_memory, plan(baseline=baseline))
    Trainer(study, lying, falling).run()
    configurations, table = confirmed(study), best_export(read(study))
    assert not transfer(configurations).proven
    assert "wider" in kinds(study)
    assert "NOT shown to predict" in table["transfer"]
    assert "NOT shown to predict" in status(study)
    truth = {c.label: falling(place(c.params)) for c in configurations}
    assert truth[table["configuration"]] == min(truth.values())
    assert (table["configuration"] == "baseline by-hand") == (baseline == 0.1)
    favourite = min((t for t in study.proxy_trials()), key=lambda t: t.value or 0.0)
    if lying is rising and "baseline" not in favourite.user_attrs:
        assert truth[f"trial {favourite.number}"] > min(truth.values())


def test_a_proxy_that_predicts_widens_nothing(database: Database) -> None:
    study = open_study(database, plan(baseline=1e-2))
    Trainer(study, falling, falling).run()
    assert transfer(confirmed(study)).proven
    assert kinds(study) == {"baseline", "top", "random"}
    assert "the proxy predicts" in best_export(read(study))["transfer"]


def test_a_baseline_that_is_best_stays_best_and_the_export_says_so(in_memory: Database) -> None:
    study = open_study(in_memory, plan(baseline=0.1))
    Trainer(study, falling, falling).run()
    table = best_export(read(study))
    assert table["configuration"] == "baseline by-hand"
    assert table["parameters"] == {"max_lr": 0.1, "batch_size": 8}
    assert "the search found nothing better" in table["result"]["better_than_baseline"]
    assert len(table["result"]["seeds"]) >= 2


def test_only_the_better_half_climbs(in_memory: Database) -> None:
    """Six at 10m, three at 15m, two at 30m with the baseline and the random one, which climb nothing."""
    rungs = 'top = 6\nrungs = ["10m", "15m"]\nwiden = 0'
    study = open_study(in_memory, plan(rungs, baseline=1e-2))
    Trainer(study, rising, falling).run()
    runs = study.confirm_trials()
    at = {budget: [r for r in runs if r.user_attrs["budget"] == budget] for budget in ("10m", "15m", "30m")}
    entered = {b: {(r.user_attrs["kind"], r.user_attrs.get("confirms")) for r in group} for b, group in at.items()}
    assert [len(entered[b]) for b in at] == [6, 3, 4]
    for below, above in (("10m", "15m"), ("15m", "30m")):
        best = sorted(at[below], key=lambda r: r.value or 0.0)[: len(at[below]) // 2 + (below == "15m")]
        assert {("top", r.user_attrs["confirms"]) for r in best} == {e for e in entered[above] if e[0] == "top"}
    assert all(r.user_attrs["why"] == f"on the rung of {r.user_attrs['budget']}" for r in [*at["10m"], *at["15m"]])
    assert {e[0] for e in entered["30m"]} == {"top", "baseline", "random"}
    assert len(confirmed(study)) == 4
    reasons = Counter(reason for _, reason in standing(race_field(study)))
    assert reasons["dropped on the rung of 10m"] == 3
    assert reasons["dropped on the rung of 15m"] == 1
    assert reasons["has not run"] == 0


def test_a_run_that_fails_on_a_rung_climbs_no_further(in_memory: Database) -> None:
    study = open_study(in_memory, plan('top = 3\nrungs = ["10m"]\nwiden = 0\nrandom = 0', baseline=1e-2))
    trainer, failed = Trainer(study, rising, rising), None
    while claimed := trainer.claim():
        queue, claim = claimed
        if failed is None and claim.user_attrs.get("budget") == "10m":
            failed = claim.user_attrs["confirms"]  # the proxy's favourite, which comes first
            trainer.params(queue, claim)
            queue.fail(claim.trial_id, "diverged")
        else:
            trainer.train(queue, claim)
    long = [r for r in study.confirm_trials() if r.user_attrs["budget"] == "30m"]
    assert {r.user_attrs.get("confirms") for r in long} >= {None}
    assert failed not in {r.user_attrs.get("confirms") for r in long}
    assert len({r.user_attrs.get("confirms") for r in long}) == 3


def test_an_export_before_the_race_is_over_says_so(in_memory: Database) -> None:
    """After each run, whether another one came: only then was the study not at its end."""
    study = open_study(in_memory, plan())
    trainer = Trainer(study, rising, rising)
    while not confirmed(study):
        trainer.step()
    warnings_by_run = [best_export(read(study))["warnings"]]
    while trainer.step():
        warnings_by_run.append(best_export(read(study))["warnings"])
    unfinished = [
        any("is not finished" in w or "race is not over" in w for w in warnings) for warnings in warnings_by_run
    ]
    assert unfinished == [True] * (len(warnings_by_run) - 1) + [False]
    assert any("race is not over" in w for warnings in warnings_by_run for w in warnings)


def test_a_scaled_rate_can_win_and_is_exported(in_memory: Database, tmp_path: Path) -> None:
    """The proxies want the rate 0.02, long runs half of the best proxy's."""

    def at_lr(best: float) -> Formula:
        return lambda at: 1.3 + (at - best) ** 2

    study = open_study(in_memory, plan("top = 3\nlr_scales = [1.0, 0.5]\nwiden = 0", baseline=1e-4))
    Trainer(study, at_lr(0.77), at_lr(0.77)).run()
    best = min((t for t in study.proxy_trials()), key=lambda t: t.value or 0.0)
    half = place({**best.params, "max_lr": best.params["max_lr"] / 2})
    again = open_study(in_memory, plan("top = 3\nlr_scales = [1.0, 0.5]\nwiden = 0", baseline=1e-4, name="again"))
    Trainer(again, at_lr(0.77), at_lr(half)).run()
    table = best_export(read(again))
    scaled = best.params["max_lr"] / 2
    assert table["configuration"] == f"trial {best.number} at lr × 0.5"
    assert table["parameters"]["max_lr"] == table["train"]["max_lr"] == pytest.approx(scaled)
    for form in FORMATS:
        (tmp_path / f"best.{form}").write_text(render(table, form), encoding="utf-8")
        training = read_export(tmp_path / f"best.{form}").training
        assert training.configuration.train.max_lr == pytest.approx(scaled)
        assert training.configuration.train.batch_size == best.params["batch_size"]
    tops = {
        (r.user_attrs["confirms"], r.user_attrs["lr_scale"])
        for r in again.confirm_trials()
        if r.user_attrs["kind"] == "top"
    }
    assert len(tops) == 6
    assert all(c.proxy_bpb is None for c in confirmed(again) if c.lr_scale != 1)


@pytest.mark.parametrize("cap", ["max_hours = 4.0", "max_usd = 2.0"])
def test_hours_and_dollars_stop_new_runs_and_status_says_so(cap: str, in_memory: Database) -> None:
    """Runs of half an hour at $0.50 an hour: 8 of them are 4 hours or $2."""
    study = open_study(in_memory, plan(cap))
    Trainer(study, rising, falling).run()
    assert len(study.confirm_trials()) == 8
    assert ["race", SPENT] in [line.split(maxsplit=1) for line in status(study).splitlines()]
    assert due_runs(study).decision.over


@pytest.mark.parametrize(("hours", "rungs", "long"), [(1.0, 1, 1), (2.0, 6, 2)])
def test_hours_stop_the_rungs_too(hours: float, rungs: int, long: int, in_memory: Database) -> None:
    """The baseline takes half an hour, a run on the rung ten minutes; none starts where a long one can't be paid."""
    study = open_study(in_memory, plan(f'max_hours = {hours}\ntop = 6\nrandom = 0\nrungs = ["10m"]'))
    Trainer(study, rising, falling).run()
    assert Counter(r.user_attrs["budget"] for r in study.confirm_trials()) == {"10m": rungs, "30m": long}
    assert study.confirmations.user_attrs["race"] == SPENT
    assert sum(r.user_attrs["total_seconds"] for r in study.confirm_trials()) <= hours * 3600


def test_what_is_promoted_by_hand_is_run_and_takes_part(database: Database) -> None:
    study = open_study(database, plan("random = 0\nwiden = 0\ntop = 2"))
    trainer = Trainer(study, rising, falling)
    with pytest.raises(SearchError, match="--trial is 40, but must be a proxy trial"):
        promote_by_hand(study, 40, 1)
    for _ in range(5):
        trainer.step()
    chosen = max(study.proxy_trials()[:5], key=lambda t: t.value or 0.0 if "baseline" not in t.user_attrs else 0.0)
    assert promote_by_hand(study, chosen.number, 2) == 2
    assert promote_by_hand(study, chosen.number, 2) == 0
    for _ in range(3):
        trainer.step()
    chosen_runs = [r for r in study.confirm_trials() if r.user_attrs.get("by_hand")]
    assert [(r.state, r.user_attrs["seed"]) for r in chosen_runs] == [(TrialState.COMPLETE, s) for s in (100, 101)]
    assert len([t for t in study.proxy_trials() if t.state.is_finished()]) == 5
    trainer.run()
    (entered,) = [c for c in race_field(study) if c.key == f"trial {chosen.number}"]
    assert entered.kind == "hand"
    assert len(entered.bpb) >= 2
    runs = Counter(run_key(r) for r in study.confirm_trials())
    assert max(runs.values()) == 1
    assert f"trial {chosen.number}" in {c.label for c in confirmed(study)}


def test_a_baseline_promoted_by_hand_is_the_baseline(in_memory: Database) -> None:
    study = open_study(in_memory, plan())
    Trainer(study, rising, falling).run()
    (baseline,) = [t for t in study.proxy_trials() if "baseline" in t.user_attrs]
    had = len(next(c for c in race_field(study) if c.key == "baseline by-hand").bpb)
    assert promote_by_hand(study, baseline.number, had + 1) == 1
    assert study.confirm_trials()[-1].user_attrs["baseline"] == "by-hand"
    assert len([c for c in race_field(study) if c.key.startswith("baseline")]) == 1


def test_a_lost_run_is_retried_as_what_it_was_and_counts_once(database: Database) -> None:
    study = open_study(database, plan("lr_scales = [1.0, 0.5]\ntop = 2\nwiden = 0"))
    lost: set[int] = set()
    trainer = Trainer(study, rising, falling)
    while claimed := trainer.claim():
        queue, claim = claimed
        if queue is study.confirm_queue and "retries" not in claim.user_attrs and len(lost) < 6:
            trainer.params(queue, claim)
            before = len(study.confirm_trials())
            queue.fail(claim.trial_id, "lost")
            assert promote(study) == 0
            retry = study.confirm_trials()[-1]
            assert len(study.confirm_trials()) == before + 1
            assert retry.user_attrs["retries"] == claim.number
            inherited = {k: v for k, v in claim.user_attrs.items() if k in INHERITED}
            assert {k: v for k, v in retry.user_attrs.items() if k in INHERITED} == inherited
            assert inherited.keys() >= {"seed", "budget", "lr_scale", "kind", "why"}
            lost.add(claim.number)
        else:
            trainer.train(queue, claim)
    assert len(lost) == 6
    field = race_field(study)
    assert not any(c.out or c.pending for c in field)
    ended = [r for r in study.confirm_trials() if r.state == TrialState.COMPLETE]
    assert sum(len(c.bpb) for c in field) == len(ended) == len({run_key(r) for r in ended}) <= 2 * len(field)


def test_many_workers_queue_nothing_twice_and_no_more_than_the_count(database: Database, database_url: str) -> None:
    study = open_study(database, plan("top = 3"))
    seed_runs = Trainer(study, rising, falling)
    while isinstance(claim := study.proxy_queue.claim("one", study.plan.proxy.trials), Claim):
        seed_runs.train(study.proxy_queue, claim)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        own = connect(database_url)
        try:
            opened = open_study(own, study.plan)
            for _ in range(10):  # fifty steps of all workers, more than there are runs
                promote(opened)
                Trainer(opened, rising, falling, name=f"worker {number}").step()
        except BaseException as error:
            failures.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    seed_runs.run()
    runs, field = study.confirm_trials(), race_field(study)
    assert max(Counter(run_key(r) for r in runs).values()) == 1
    assert {r.state for r in runs} == {TrialState.COMPLETE}
    assert len(runs) <= study.plan.confirm.seeds * len(field)
    assert due_runs(study).decision.over


def test_priming_by_an_earlier_study(database: Database) -> None:
    earlier = open_study(database, plan(name="earlier"))
    trainer = Trainer(earlier, rising, falling)
    while isinstance(claim := earlier.proxy_queue.claim("one", earlier.plan.proxy.trials), Claim):
        at = place(trainer.params(earlier.proxy_queue, claim))
        for percent in earlier.plan.report_points():
            Trial(earlier.proxies, claim.trial_id).report(rising(at) + (100 - percent) / 100, percent)
        earlier.proxy_queue.finish(claim.trial_id, TrialState.COMPLETE, rising(at))
    with pytest.raises(SearchError, match='`primed_by` is "missing", but no study here has that name'):
        open_study(database, plan(pruner='primed_by = "missing"'), prime=prime)
    with pytest.raises(SearchError, match=r"whose proxy.report_every is 5, but must be 10"):
        open_study(database, plan(pruner='primed_by = "earlier"', proxy="report_every = 10"), prime=prime)
    study = open_study(database, plan(pruner='primed_by = "earlier"'), prime=prime)
    assert set(make_pruner(study).earlier) == set(range(5, 100, 5))
    unprimed = open_study(database, plan(name="unprimed"))
    assert make_pruner(unprimed).earlier == {}
