"""What importance can't tell of a setting that is searched only under a condition."""

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from search.analysis.importance import importance
from search.show.figures.gallery import PICTURES
from tests.places import ROOT

GUIDE = ROOT / "docs/howto/report.md"


def drawn(number: int) -> FrozenTrial:
    """A proxy of a space where `width` is searched when `kind` is "b"; it decides there, and "b" always loses."""
    kind, width = "ab"[number % 2], 1 + number % 32
    loss = (number % 7) / 100 + (3 + abs(width - 16) / 16 if kind == "b" else 0)
    params = {"kind": kind, "rate": (number % 11) / 11, **({"width": width} if kind == "b" else {})}
    ranges = {"kind": CategoricalDistribution("ab"), "rate": FloatDistribution(0, 1), "width": IntDistribution(1, 32)}
    return create_trial(params=params, distributions={n: ranges[n] for n in params}, value=loss)


def test_a_conditional_setting_that_decides_among_its_trials_has_importance_0_and_the_figure_says_what_that_means() -> (
    None
):
    result = importance([drawn(n) for n in range(64)])
    assert result is not None
    assert result.divergences["width"] == 0
    for text in (PICTURES["importance"].how_to_read, GUIDE.read_text(encoding="utf-8").replace("\n", " ")):
        assert (
            "0 for a setting that is searched only `when` another has some value doesn't mean that it doesn't matter"
            in text
        )
