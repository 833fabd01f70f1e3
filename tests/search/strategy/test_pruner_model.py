import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray
from scipy import integrate, stats

from search.common.stats import normal_scores, score_among
from search.strategy.pruner_model import Prediction, Prior, predict_best_runs, weighted_sums

NONE = np.zeros(0)


def predict(final: ndarray, score: ndarray, prior: Prior | None = None, pruned: ndarray = NONE) -> Prediction:
    return predict_best_runs(final, score, pruned, share=0.25, best=0.02, prior=prior or Prior(odds=1.0))


def student(final: ndarray, prior: Prior) -> tuple[ndarray, ndarray]:
    """Location and shape of the scores, a, b and the variance integrated out: a multivariate Student t."""
    t = np.asarray(final)
    shape = np.eye(len(t)) + (1 + np.outer(t, t)) / prior.weight
    return prior.slope * t, prior.deviation**2 * shape


def a_study(n: int, correlation: float, seed: int = 0) -> tuple[ndarray, ndarray]:
    """Final scores and scores at a report of n good runs out of 4n."""
    final, other = np.random.default_rng(seed).standard_normal((2, 4 * n))
    score = correlation * final + math.sqrt(1 - correlation**2) * other
    good = np.argsort(final)[:n]
    return final[good], score[good]


def test_normal_scores_by_hand() -> None:
    ppf = stats.norm.ppf
    assert normal_scores([3.0, 1.0, 2.0]) == pytest.approx(ppf([5 / 6, 1 / 6, 3 / 6]))
    assert normal_scores([1.0, 2.0, 2.0, 3.0]) == pytest.approx(ppf([1 / 8, 4 / 8, 4 / 8, 7 / 8]))
    assert normal_scores([math.nan, 1.0, math.inf, -math.inf]) == pytest.approx(ppf([6 / 8, 3 / 8, 6 / 8, 1 / 8]))
    assert normal_scores([7.0] * 5) == pytest.approx([0.0] * 5)
    assert len(normal_scores([])) == 0


def test_one_more_loss_is_placed_among_the_others_by_hand() -> None:
    ppf = stats.norm.ppf
    assert score_among(2.0, [1.0, 3.0]) == pytest.approx(0.0)  # the middle of three
    assert score_among(0.0, [1.0, 3.0]) == pytest.approx(ppf(1 / 6))
    assert score_among(math.nan, [1.0, 3.0]) == pytest.approx(ppf(5 / 6))
    assert score_among(1.0, [1.0, math.nan]) == pytest.approx(ppf(1 / 3))  # a tie, and a diverged run
    assert score_among(math.inf, [1.0, math.inf]) == pytest.approx(ppf(4 / 6))
    assert score_among(5.0, []) == pytest.approx(0.0)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.integers(0, 29))
def test_a_loss_has_among_the_others_the_score_it_has_in_all(losses: list[float], index: int) -> None:
    i = index % len(losses)
    assert score_among(losses[i], losses[:i] + losses[i + 1 :]) == pytest.approx(normal_scores(losses)[i], abs=1e-9)


@settings(max_examples=50)
@given(st.integers(1, 12), st.floats(-1, 1), st.integers(0, 1000))
def test_evidence_is_the_ratio_of_scipys_marginal_densities(n: int, correlation: float, seed: int) -> None:
    final, score = a_study(n, correlation, seed)
    prior = Prior(odds=3.0, slope=0.4, weight=1.5, deviation=0.8, degrees=5.0)
    location, shape = student(final, prior)
    related = stats.multivariate_t.logpdf(score, loc=location, shape=shape, df=prior.degrees)
    doubt = stats.norm.logpdf(score).sum()
    assert predict(final, score, prior).log_odds == pytest.approx(math.log(3) + related - doubt, abs=1e-8)


def test_evidence_and_prediction_are_those_of_runs_sampled_from_the_prior() -> None:
    """Brute force: lines and variances drawn from the prior, each weighed by its likelihood."""
    rng, prior = np.random.default_rng(1), Prior(odds=1.0)
    final, score = np.array([-2.0, -1.3, -1.0]), np.array([-1.1, -0.2, -0.9])
    draws = 400_000
    variance = prior.degrees * prior.deviation**2 / rng.chisquare(prior.degrees, draws)
    a, b = rng.standard_normal((2, draws)) * np.sqrt(variance / prior.weight)
    b += prior.slope
    deviation = np.sqrt(variance)
    likelihood = np.prod([stats.norm.pdf(z, a + b * t, deviation) for t, z in zip(final, score, strict=True)], axis=0)
    prediction = predict(final, score, prior)
    doubt = np.prod(stats.norm.pdf(score))
    assert math.exp(prediction.log_odds) == pytest.approx(likelihood.mean() / doubt, rel=0.02)
    best = stats.norm.ppf(0.02)
    for z in (-1.5, -0.5, 0.5, 1.5):
        tail = np.average(stats.norm.sf(z, a + b * best, deviation), weights=likelihood)
        assert prediction.share_if_related(z) == pytest.approx(tail, abs=0.005)


def test_a_prediction_is_the_next_runs_share_of_the_joint_density() -> None:
    final, score = a_study(6, 0.7)
    prior, best = Prior(), stats.norm.ppf(0.02)
    location, shape = student(np.append(final, best), prior)

    def joint(z: float) -> float:
        at = np.append(score, z)
        return float(stats.multivariate_t.pdf(at, loc=location, shape=shape, df=prior.degrees))

    whole = integrate.quad(joint, -40, 40, points=[-2, 0, 2], limit=200)[0]
    above = integrate.quad(joint, 0.3, 40, points=[2], limit=200)[0]
    assert predict(final, score, prior).share_if_related(0.3) == pytest.approx(above / whole, rel=1e-4)


def test_doubt_is_weighed_with_the_share_of_all_runs_that_look_as_bad() -> None:
    even = Prediction(runs=8, centre=-1.0, scale=0.5, degrees=9, log_odds=0.0)
    assert even.proof == 0.5
    related = stats.t.sf((1.0 + 1.0) / 0.5, df=9)
    assert even.share_as_bad(1.0) == pytest.approx((related + stats.norm.sf(1.0)) / 2)


def test_overwhelming_odds_are_certainty_either_way() -> None:
    assert Prediction(8, 0, 1, 9, math.inf).proof == pytest.approx(1.0)
    assert Prediction(8, 0, 1, 9, -math.inf).proof == pytest.approx(0.0, abs=1e-300)


def test_without_a_relation_strong_evidence_is_as_rare_as_ville_says() -> None:
    """Looking after each of 40 runs, odds of k to 1 come up in 1/k of all studies at most, ever."""
    rng, studies = np.random.default_rng(2), 400
    highest = np.zeros(studies)
    for i in range(studies):
        final, score = -np.abs(rng.standard_normal(40)), rng.standard_normal(40)
        highest[i] = max(predict(final[:n], score[:n]).log_odds for n in range(1, 41))
    for k in (3, 10, 30):
        ever, bound = float((highest >= math.log(k)).mean()), 1 / k
        assert ever <= bound + 3 * math.sqrt(bound * (1 - bound) / studies)


@pytest.mark.parametrize(("correlation", "low", "high"), [(0.95, 0.999, 1.0), (0.0, 0.0, 0.5)])
def test_thirty_good_runs_tell_a_relation_from_none(correlation: float, low: float, high: float) -> None:
    proofs = [predict(*a_study(30, correlation, seed)).proof for seed in range(20)]
    assert low <= np.median(proofs) <= high


def test_what_was_pruned_is_made_up_for() -> None:
    """Of 800 runs those behind the middle of a report are pruned: good ones look closer together than they are."""
    centres, scales = [], []
    for seed in range(20):
        final, other = np.random.default_rng(seed).standard_normal((2, 800))
        score = 0.5 * final + math.sqrt(0.75) * other
        good, unpruned = final < stats.norm.ppf(0.25), score < 0.0
        both = good & unpruned
        truth, naive = predict(final[good], score[good]), predict(final[both], score[both])
        prediction = predict(final[both], score[both], pruned=score[~unpruned])
        centres.append([truth.centre, naive.centre, prediction.centre])
        scales.append([truth.scale, naive.scale, prediction.scale])
        assert prediction.runs > naive.runs
    for true, naive_, found_ in (np.mean(centres, axis=0), np.mean(scales, axis=0)):
        assert abs(found_ - true) < 0.5 * abs(naive_ - true)


def test_earlier_runs_count_as_if_they_were_these() -> None:
    final, score = a_study(12, 0.8)
    primed = predict(final[:5], score[:5], Prior(earlier=weighted_sums(final[5:], score[5:])))
    whole = predict(final, score, Prior())
    assert (primed.centre, primed.scale, primed.degrees) == pytest.approx((whole.centre, whole.scale, whole.degrees))
    assert primed.log_odds == pytest.approx(whole.log_odds)


def test_sums_by_hand() -> None:
    sums = weighted_sums(np.array([1.0, 2.0]), np.array([3.0, -1.0]), np.array([1.0, 0.5]))
    assert sums.tolist() == [1.5, 2.0, 3.0, 2.5, 2.0, 9.5]


@given(st.integers(1, 40), st.integers(0, 30), st.sampled_from([0.0, -1.0, 2.5]))
def test_scores_that_are_all_alike_are_no_accident(n: int, cuts: int, z: float) -> None:
    prediction = predict(np.linspace(-2, -1, n), np.full(n, z), pruned=np.full(cuts, 2.0))
    figures = (prediction.centre, prediction.scale, prediction.log_odds, prediction.share_as_bad(0.0))
    assert all(math.isfinite(f) for f in figures)
    assert prediction.scale > 0


@given(st.integers(1, 20), st.integers(0, 100), st.floats(-3, 3), st.floats(0, 2))
def test_a_worse_score_is_never_likelier_among_the_best(n: int, seed: int, z: float, more: float) -> None:
    prediction = predict(*a_study(n, 0.5, seed))
    rounding = 1e-12
    assert 0 <= prediction.share_as_bad(z + more) <= prediction.share_as_bad(z) + rounding <= 1 + rounding
