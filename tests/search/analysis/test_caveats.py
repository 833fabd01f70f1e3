"""Each caveat where it is due, and silence elsewhere; on studies without anything to say it is rare."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial

from search.analysis.caveats import (
    caveats,
    failures,
    falls_over_time,
    falls_with_progress,
    ranked,
    rate_drift,
    unproven_leader,
)
from search.study.results import Confirmed
from search.study.space import Params
from tests.search.made import PLAN, START, confirmed_of, proxy

POINTS = PLAN.report_points()


def drawn(rng: np.random.Generator) -> Params:
    return {
        "max_lr": float(np.exp(rng.uniform(np.log(1e-4), np.log(3e-2)))),
        "vocab_size": 2048 + 1024 * int(rng.integers(11)),
        "n_layer": int(rng.integers(4, 33)),
        "n_head": int(rng.integers(2, 9)),
        "batch_size": int(2 ** rng.integers(3, 8)),
    }


def names(*parts: Any) -> list[str]:
    return [c.name for c in caveats(PLAN, *parts)]


def test_a_study_that_has_hardly_begun_is_left_in_peace() -> None:
    assert names([], []) == []
    few = [proxy(i, 1.4 + i / 100, {"max_lr": 1e-4}) for i in range(5)] + [proxy(5, failure="diverged")]
    assert names(few, [confirmed_of(few[0], [1.3])]) == []


# learning rate


def drifting(rates: list[float], short: list[float], long: list[float]) -> list[str]:
    trials = [proxy(i, bpb, {"max_lr": rate}) for i, (rate, bpb) in enumerate(zip(rates, short, strict=True))]
    configurations = sorted(
        (confirmed_of(t, [bpb]) for t, bpb in zip(trials, long, strict=True)), key=lambda c: c.mean_bpb
    )
    return rate_drift(PLAN, configurations)


RATES = [8e-3, 4e-3, 2e-3, 1e-3, 5e-4, 2.5e-4]
RISING = [1.40, 1.41, 1.42, 1.43, 1.44, 1.45]


def test_long_runs_that_want_a_lower_rate() -> None:
    """Geometric means by hand: of the last three rates 5e-4, of the first three 4e-3."""
    assert drifting(RATES, RISING, RISING[::-1]) == [
        "the best max_lr falls with the budget: 0.004 (mean of 3 of 6) at 6m, 0.0005 at 30m; "
        "try `confirm.lr_scales = [1.0, 0.7]`."
    ]
    (higher,) = drifting(RATES[::-1], RISING, RISING[::-1])
    assert higher.startswith("the best max_lr rises with the budget: 0.0005")
    assert higher.endswith("[1.0, 1.4]`.")


def test_no_drift_where_the_order_stays_or_pairs_are_few_or_rates_alike() -> None:
    assert drifting(RATES, RISING, RISING) == []
    assert drifting(RATES[:5], RISING[:5], RISING[:5][::-1]) == []
    alike = [2e-3 * 1.01**i for i in range(6)]
    assert drifting(alike, RISING, RISING[::-1]) == []


def test_a_copy_at_a_scaled_rate_is_no_pair() -> None:
    """Its proxy ran at another rate."""
    trials = [proxy(i, bpb, {"max_lr": rate}) for i, (rate, bpb) in enumerate(zip(RATES, RISING, strict=True))]
    configurations = [confirmed_of(t, [bpb]) for t, bpb in zip(trials, RISING[::-1], strict=True)]
    c = configurations[0]
    params = {**c.params, "max_lr": 0.7 * RATES[0]}
    configurations[0] = Confirmed(c.baseline, c.proxy_number, params, None, c.bpb_by_seed, c.runs, lr_scale=0.7)
    assert rate_drift(PLAN, configurations) == []


# noise


def board(*bpb: list[float]) -> list[Confirmed]:
    """Confirmed configurations, the third a baseline."""
    attrs: list[dict[str, Any]] = [{"baseline": "by-hand"} if i == 2 else {} for i in range(len(bpb))]
    return [confirmed_of(proxy(i, 1.4, **attrs[i]), values) for i, values in enumerate(bpb)]


def test_a_leader_within_the_noise() -> None:
    """Seeds differ by 0.02, so σ = 0.02 / √2; a gap of 0.01 needs 2 · 7.849 · σ² / 0.01² = 31.4 seeds."""
    assert unproven_leader(board([1.30, 1.32], [1.31, 1.33], [1.33, 1.35])) == [
        "trial 0 is not proven best: ahead of trial 1 by 0.0100 (about 32 seeds each would tell), "
        "of baseline by-hand by 0.0300 (about 4 seeds each would tell); seed noise 0.0141."
    ]


def test_a_leader_beyond_the_noise_and_no_repeats() -> None:
    assert unproven_leader(board([1.300, 1.301], [1.350, 1.351], [1.360, 1.361])) == []
    assert unproven_leader(board([1.30], [1.31], [1.32])) == []


def test_one_that_failed_in_a_long_run_is_no_rival() -> None:
    leader, rival, _ = board([1.32, 1.34], [1.30, 1.32], [1.7, 1.72])
    assert unproven_leader([leader, replace(rival, failed=1)]) == []


def test_no_gap_has_no_number_of_seeds() -> None:
    (text,) = unproven_leader(board([1.30, 1.32], [1.30, 1.32], [1.7, 1.72]))
    assert "trial 1 by 0.0000 (over 100 seeds each would tell);" in text


@pytest.mark.parametrize(("gap", "low", "high"), [(0.0, 0.95, 1.0), (0.1, 0.0, 0.05)])
def test_equal_configurations_are_told_apart_as_rarely_as_asked(gap: float, low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    warned = 0
    for _ in range(200):
        configurations = [
            confirmed_of(proxy(i, 1.4), (gap * i + 0.01 * rng.standard_normal(2)).tolist()) for i in range(6)
        ]
        warned += bool(unproven_leader(sorted(configurations, key=lambda c: c.mean_bpb)))
    assert low <= warned / 200 <= high


# correlation


def reported(rng: np.random.Generator, n: int, unrelated: range = range(0)) -> list[FrozenTrial]:
    """Trials whose losses so far predict the final one, better with time; those in `unrelated` predict nothing."""
    trials = []
    for i in range(n):
        final = float(1.4 + 0.1 * rng.standard_normal())
        predicted = final if i not in unrelated else float(1.4 + 0.1 * rng.standard_normal())
        reports = {p: predicted + (1 - p / 100) * float(1 + 0.1 * rng.standard_normal()) for p in POINTS}
        trials.append(proxy(i, final, reports=reports))
    return trials


def test_a_correlation_that_is_lost_over_time() -> None:
    trials = reported(np.random.default_rng(0), 40, unrelated=range(20, 40))
    (text,) = falls_over_time(PLAN, trials, [])
    assert text.startswith("ρ of the loss at 75% with the final one fell from 0.9")
    assert falls_over_time(PLAN, reported(np.random.default_rng(0), 40), []) == []
    assert falls_over_time(PLAN, trials[10:28], []) == []
    alike = [proxy(i, 1.4, reports=dict.fromkeys(POINTS, 1.5)) for i in range(40)]
    assert falls_over_time(PLAN, alike, []) == falls_with_progress(PLAN, alike) == []


@pytest.mark.parametrize(("last", "warned"), [(0, 1), (1, 0)])
def test_the_order_is_that_of_finishing_not_of_starting(last: int, warned: int) -> None:
    """Every other trial predicts nothing; whether those finish last decides whether the relation was lost."""
    trials = reported(np.random.default_rng(0), 40, unrelated=range(0, 40, 2))
    assert falls_over_time(PLAN, trials, []) == []
    for trial in trials:
        trial.datetime_complete = START + timedelta(hours=trial.number % 2 == last, minutes=-trial.number)
    assert len(falls_over_time(PLAN, trials, [])) == warned


def test_proxies_that_no_longer_predict_the_confirmed() -> None:
    rng = np.random.default_rng(1)
    configurations = []
    for i in range(30):
        bpb = float(1.4 + 0.1 * rng.standard_normal())
        long = bpb - 0.1 if i < 15 else float(1.3 + 0.1 * rng.standard_normal())
        configurations.append(confirmed_of(proxy(i, bpb), [long]))
    (text,) = falls_over_time(PLAN, [], sorted(configurations, key=lambda c: c.mean_bpb))
    assert text.startswith("ρ of proxy with confirmed BPB fell from 1.00")


def test_a_later_loss_that_predicts_less() -> None:
    """Losses at 75% of another kind than those at 25% and 50%."""
    rng = np.random.default_rng(2)
    trials = reported(rng, 30)
    assert falls_with_progress(PLAN, trials) == []
    for trial in trials:
        trial.intermediate_values[75] = float(rng.standard_normal())
    (text,) = falls_with_progress(PLAN, trials)
    assert "predicts the final one better than that at 75%" in text


def test_losses_that_are_not_finite_are_left_out() -> None:
    trials = reported(np.random.default_rng(3), 40)
    for trial in trials[::4]:
        trial.intermediate_values.update({25: float("nan"), 50: float("inf")})
    assert falls_over_time(PLAN, trials, []) == falls_with_progress(PLAN, trials) == []


# failures


def failing(n: int, failed: int, rate: float = 2e-2, cause: str = "diverged") -> list[FrozenTrial]:
    trials = [proxy(i, failure=cause, params={"max_lr": rate * (1 + i / 100)}) for i in range(failed)]
    return trials + [proxy(i, 1.4, {"max_lr": 1e-3 * (1 + i / 100)}) for i in range(failed, n)]


def test_many_failures_and_where() -> None:
    assert failures(failing(20, 8)) == ["8 of 20 proxies (40%) diverged; median max_lr 0.021 there, 0.0011 elsewhere."]
    assert failures([*failing(20, 8, 1.08e-3), *failing(4, 4, cause="error")]) == [
        "12 of 24 proxies (50%) failed: 8 diverged, 4 ended in errors."  # as likely at any rate
    ]


def test_a_quarter_or_what_was_lost_with_its_worker_is_not_much() -> None:
    assert failures(failing(20, 5)) == []
    assert failures(failing(6, 3)) == []
    assert failures(failing(20, 15, cause="lost")) == []


# all of them


def test_repeats_of_a_configuration_are_one() -> None:
    trials = [proxy(i, 1.4 + (i % 2) / 10, {"n_layer": 4 + i // 2}) for i in range(24)]
    (group,) = ranked(trials, [])
    assert (len(group.params), group.best) == (12, 5)


def nothing_to_say(seed: int) -> tuple[list[FrozenTrial], list[Confirmed]]:
    """40 proxies at random whose settings don't matter, 5% diverged, three like workers; the best are confirmed."""
    rng = np.random.default_rng(seed)
    trials = reported(rng, 40)
    for i, trial in enumerate(trials):
        where = {"device": "a GPU", "torch": "2.11", "precision": "bfloat16", "host": "a"}
        speed = {"tokens_per_second": float(np.exp(10 + 0.3 * rng.standard_normal())), "worker": f"a/{rng.integers(3)}"}
        bpb = None if rng.random() < 0.05 else trial.value
        attrs: dict[str, Any] = {"failure": "diverged"} if bpb is None else {"provenance": where, **speed}
        trials[i] = proxy(i, bpb, drawn(rng), trial.intermediate_values, **attrs)
    best = sorted((t for t in trials if t.value is not None), key=lambda t: t.value or 0.0)[:8]
    configurations = [confirmed_of(t, (1.3 + 0.01 * rng.standard_normal(2)).tolist()) for t in best]
    return trials, sorted(configurations, key=lambda c: c.mean_bpb)


def test_where_there_is_nothing_to_say_each_caveat_is_rare() -> None:
    """All but that of noise, which is right there."""
    counts = Counter(name for seed in range(100) for name in set(names(*nothing_to_say(seed))))
    assert counts.pop("noise") / 100 > 0.95
    assert max(counts.values(), default=0) / 100 <= 0.09, counts  # 5% and two standard errors
