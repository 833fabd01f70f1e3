"""The report's sentences, worked by hand: Student's t of one degree of freedom at 97.5% is 12.7062."""

from dataclasses import replace

from optuna.trial import TrialState

from search.analysis.snapshot import Snapshot
from search.export.export import better_than_baseline
from search.show.dashboard.study_note import study_note
from search.show.dashboard.trial_notes import against_baseline
from search.show.report.answers import cost, important_settings, proxy_prediction, unfinished, winner
from search.show.report.next_steps import next_steps
from search.show.report.tables import confirmed_table
from search.show.status.study_overview import study_overview
from search.study.cost import Bill
from search.study.plan import Plan
from search.study.scores import PairScores
from search.study.trials import SCORES
from tests.search.show.given import having
from tests.search.show.studied import entry, made, params, plan, searched, snapshot_of

PLAN = plan()
BY_HAND = PLAN.baselines["by-hand"]


def confirmed(leader: tuple[float, ...], baseline: tuple[float, ...], *, baseline_proxy: float = 1.9) -> Snapshot:
    """Trial 1 and the baseline, each with a run for each of these BPB."""
    proxies = [
        made(PLAN, 0, baseline_proxy, BY_HAND, baseline="by-hand"),
        made(PLAN, 1, 1.8, params(1)),
    ]
    runs = [made(PLAN, i, v, params(1), confirms=1, seed=100 + i) for i, v in enumerate(leader)]
    runs += [made(PLAN, 9 + i, v, BY_HAND, baseline="by-hand", seed=100 + i) for i, v in enumerate(baseline)]
    return snapshot_of(PLAN, proxies, runs)


def test_minimal_pairs_stand_in_the_table_where_a_run_was_scored() -> None:
    """60 of 100 right; Wilson's interval by scipy. The baseline's run was not scored."""
    snapshot = confirmed((1.50,), (1.60,))
    assert "minimal pairs" not in confirmed_table(snapshot).columns  # type: ignore[union-attr]
    run = next(r for c in snapshot.confirmed for r in c.runs if c.baseline is None)
    run.user_attrs = {**run.user_attrs, SCORES: PairScores("0", {"x": (60, 100)}, 0.6).table()}
    table = confirmed_table(snapshot)
    assert table is not None
    place = table.columns.index("minimal pairs")
    assert [row[place] for row in table.rows] == ["60.0% (50.2% … 69.1%)", "–"]
    assert [len(row) for row in table.rows] == [len(table.columns)] * 2


def test_a_lead_within_the_noise_is_not_called_a_win() -> None:
    # s = 0.02/√2 = 0.01414; ± t·s/√2 = 0.1271; least gap of 2 and 1 runs t·s·√1.5 = 0.2201
    sentences = winner(confirmed((1.50, 1.52), (1.60,)))
    assert (
        sentences[0]
        == "Trial 1 is best: 1.5100 ± 0.1271 (95% interval) BPB after 30m of training, the mean of 2 seeds."
    )
    assert (
        "0.0900 BPB ahead of the hand-made baseline by-hand (1.6000), which seed noise may explain (up to 0.2201"
        in sentences[1]
    )


def test_a_lead_beyond_the_noise_is() -> None:
    # s = 0.002/√2; least gap of 2 and 1 runs 12.7062 · 0.001414 · √1.5 = 0.0220
    assert "more than seed noise explains (0.0220 at 95%)" in winner(confirmed((1.500, 1.502), (1.60,)))[1]


def test_a_baseline_that_wins_is_said_plainly() -> None:
    sentences = winner(confirmed((1.7,), (1.6,)))
    assert sentences[0].startswith("The hand-made baseline by-hand is best: 1.6000 BPB after 30m of training, one run.")
    assert sentences[1] == "The search found nothing better than the hand-made baseline."
    assert sentences[2].startswith(
        "By the mean of its runs it is 0.1000 BPB ahead of trial 1 (1.7000); how much of that is"
    )


def test_without_confirmations_the_best_proxy_is_a_hint() -> None:
    snapshot = snapshot_of(PLAN, [made(PLAN, i, v, params(i)) for i, v in enumerate((1.9, 1.7))])
    assert winner(snapshot) == [
        "Nothing is confirmed yet. The best of 2 finished proxies is trial 1 with 1.7000 BPB after 6m, "
        "which is a hint, not a result."
    ]
    assert winner(snapshot_of(PLAN)) == ["Nothing has trained to the end yet: 0 proxies begun."]


def pairs(long: list[float]) -> Snapshot:
    """Seven configurations whose proxies had 1.1, 1.2 … BPB, with these long runs."""
    proxies = [made(PLAN, i, 1.1 + i / 10, params(i)) for i in range(len(long))]
    runs = [made(PLAN, i, v, params(i), confirms=i, seed=100) for i, v in enumerate(long)]
    return snapshot_of(PLAN, proxies, runs)


def test_the_proxy_predicts_or_does_not() -> None:
    ordered = proxy_prediction(pairs([1.0 + i / 10 for i in range(7)]))
    assert ordered[0] == "Yes: the order of 6m runs predicts that of 30m runs."
    assert "τ = 1.00" in ordered[1]
    assert ordered[2] == "The winner, trial 0, was the best of 7 finished proxies."
    turned = proxy_prediction(pairs([1.0 - i / 10 for i in range(7)]))
    assert turned[0].startswith("Not shown")
    assert turned[1].endswith("reversed.")
    assert turned[2] == "The winner, trial 6, was the 7th best of 7 finished proxies."
    assert (
        proxy_prediction(pairs([1.0, 1.1]))[0]
        == "Not known yet: 2 configurations with a proxy and a long run; 5 are needed."
    )


def test_a_failed_proxy_asks_for_longer_ones_and_narrows_nothing() -> None:
    steps = next_steps(pairs([1.0 - i / 10 for i in range(7)]))
    assert any("Proxies of 12m would be nearer, and cost 2 times as much." in s for s in steps)
    assert not any(s.startswith(("Narrow", "Search on")) for s in steps)


def test_what_is_still_to_come_is_said() -> None:
    snapshot = snapshot_of(PLAN, [made(PLAN, 0, None, params(0), state=TrialState.RUNNING)], slots=1, race_over=False)
    assert "24 proxies and about 14 long runs still to come" in unfinished(snapshot)  # floor((1 + 8 + 1) · 1.4)
    assert next_steps(snapshot)[0] == "Let it end: `lilm-search start --study made` goes on with it."
    assert unfinished(snapshot_of(PLAN)) == ""


def test_a_race_that_has_yet_to_begin_or_widen_is_still_to_come() -> None:
    ended = [made(PLAN, i, 1.5 + i / 100, params(i)) for i in range(24)]
    assert "about 14 long runs still to come" in unfinished(snapshot_of(PLAN, ended, race_over=False))
    one = plan_of_one()
    run = made(one, 0, 1.2, BY_HAND, baseline="by-hand", seed=100)
    waiting = snapshot_of(one, [made(one, 0, 1.5, BY_HAND, baseline="by-hand")], [run], race_over=False)
    assert unfinished(waiting) == "This study is not finished: its race isn't over. What follows may change."
    assert study_overview(waiting).state == "stopped"


def plan_of_one() -> Plan:
    """A race of the baseline alone, with one run, which may widen."""
    confirm = replace(PLAN.confirm, top=0, random=0, seeds=1.0, widen=2)
    return replace(PLAN, confirm=confirm, proxy=replace(PLAN.proxy, trials=1))


def test_where_the_cap_is_reached_starting_again_is_no_advice() -> None:
    snapshot = snapshot_of(PLAN, [made(PLAN, 0, 1.5, params(0))], slots=1, race_over=False)
    (step, *_) = next_steps(having(snapshot, bill=Bill(spent=1.0, bound=0.0, cap=1.0)))
    assert step.startswith("Raise its cap, or take what it has found: cost cap: $1.00 spent")


def test_with_nothing_confirmed_there_is_no_winner_to_try() -> None:
    failed = snapshot_of(PLAN, [made(PLAN, i, None, params(i), state=TrialState.FAIL) for i in range(24)])
    assert next_steps(failed) == ["See why nothing is confirmed: `lilm-search status --study made`."]
    assert winner(failed) == ["Nothing has trained to the end yet: 24 proxies begun, 24 failed."]


def test_a_baseline_alone_has_beaten_nobody() -> None:
    alone = confirmed((), (1.6,))
    assert "The search found nothing better" not in " ".join(winner(alone))
    assert winner(alone)[-1] == "Nothing else has been confirmed to compare it with."
    note = study_note(alone)
    assert "nothing else is confirmed to compare it with" in note
    assert "beats it" not in note


def test_the_second_seed_goes_to_whom_it_names() -> None:
    (step,) = [s for s in next_steps(confirmed((1.7,), (1.6,))) if "other seeds" in s]
    assert step.startswith("Run trial 1 again")  # the baseline, which can't be promoted, is best
    assert "--trial 1 --seeds 2" in step


def test_who_failed_in_a_long_run_is_behind_in_every_word() -> None:
    given = confirmed((1.7,), (1.6,))
    failed = made(PLAN, 20, None, BY_HAND, state=TrialState.FAIL, baseline="by-hand", seed=101, failure="diverged")
    snapshot = snapshot_of(PLAN, given.proxies, [*given.runs, failed])
    best, baseline = snapshot.confirmed
    assert (best.label, baseline.label) == ("trial 1", "baseline by-hand")
    assert "ranks behind it because it failed" in winner(snapshot)[1]
    assert against_baseline(snapshot, best) == "baseline by-hand ranks behind since it failed in some of its long runs"
    assert better_than_baseline(best, snapshot.confirmed, snapshot.noise).startswith("yes: baseline by-hand failed")


def test_two_of_one_bpb_are_not_told_apart() -> None:
    tied = confirmed((1.5, 1.5), (1.5,))  # without any noise
    assert "which seed noise may explain" in winner(tied)[-1]


def test_that_too_many_were_pruned_is_not_called_too_few_trials() -> None:
    pruned = [made(PLAN, i, None, params(i), state=TrialState.PRUNED, reports={10: 2.0}) for i in range(19)]
    snapshot = snapshot_of(PLAN, [*pruned, made(PLAN, 19, 1.5, params(19))])
    assert important_settings(snapshot) == ["It can't be told: 1 of 20 trials finished, too few or too much alike."]


def test_what_it_cost() -> None:
    # One worker for an hour at $0.60; one proxy of 6 minutes, of which it trained 330 s: 9.2%.
    snapshot = snapshot_of(PLAN, [made(PLAN, 0, 1.5, params(0), train_seconds=330.0)], workers=[entry(minutes=60)])
    assert cost(snapshot) == [
        "60 min of workers' time, $0.60: 1 worker over 60 min.",
        "9% of that time was spent on training.",
    ]


def test_which_settings_mattered() -> None:
    of = plan(trials=48)
    proxies, runs = searched(of, 48)
    sentences = important_settings(snapshot_of(of, proxies, runs))[0]
    assert "max_lr" in sentences  # BPB is made of it
    assert all(name not in sentences for name in ("n_layer", "batch_size", "attention"))
    few = important_settings(snapshot_of(PLAN, proxies[:5]))[0]
    assert few == "Too few trials: 4 of the search's finished or were pruned; 16 are needed."
