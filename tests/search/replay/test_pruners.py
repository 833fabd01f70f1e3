from pathlib import Path

import optuna
import pytest
from optuna.pruners import HyperbandPruner, MedianPruner, SuccessiveHalvingPruner

from search.common.errors import SearchError
from search.replay.pruners import OURS, brackets, default_pruners, parse_pruners, select_pruners
from search.strategy.pruner import CorrelationPruner


def test_defaults_are_made_for_the_set_s_own_steps() -> None:
    made = {name: spec.make() for name, spec in default_pruners(100).items()}
    assert isinstance(made[OURS], CorrelationPruner)
    halving, hyperband, median = (made[n] for n in ("ASHA (eta 3, min 15%)", "hyperband (eta 3)", "median, warmup 30%"))
    assert isinstance(halving, SuccessiveHalvingPruner)
    assert halving._min_resource == 15
    assert isinstance(hyperband, HyperbandPruner)
    assert hyperband._max_resource == 100
    assert isinstance(median, MedianPruner)
    assert median._n_warmup_steps == 30


def test_every_default_works_for_runs_of_two_reports() -> None:
    for spec in default_pruners(2).values():
        spec.make()


def test_a_call_is_read_with_its_literals() -> None:
    text = "my own = optuna.pruners:PercentilePruner(12.5, n_startup_trials=8)"
    (name, spec), *rest = parse_pruners([text]).items()
    assert rest == []
    assert (name, spec.module, spec.call) == ("my own", "optuna.pruners", "PercentilePruner")
    assert (spec.arguments, dict(spec.options)) == ((12.5,), {"n_startup_trials": 8})
    assert isinstance(spec.make(), optuna.pruners.PercentilePruner)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optuna.pruners:NopPruner()", "but must be NAME=MODULE:CALL, such as"),
        ("search.strategy.pruner:CorrelationPruner(promote=5)", "but must be NAME=MODULE:CALL, such as"),
        ("mine=optuna.pruners.NopPruner()", "but must be NAME=MODULE:CALL, such as"),
        ("mine=optuna.pruners:NopPruner", "must be a call with literals as arguments"),
        ("mine=optuna.pruners:NopPruner(", "must be a call with literals as arguments"),
        ("mine=optuna.pruners:MedianPruner(int('5'))", "must be a call with literals as arguments"),
        ("mine=os:system(__import__('os').name)", "must be a call with literals as arguments"),
        ("mine=optuna.pruners:MedianPruner(**{'n_startup_trials': 5})", "must be a call with literals as arguments"),
        ("mine=optuna.pruners:MedianPruner(*[5])", "must be a call with literals as arguments"),
        ("mine=optuna:pruners.NopPruner()", "must be a call with literals as arguments"),
        ("mine=no.such:Pruner()", "fails: ModuleNotFoundError: No module named"),
        ("mine=optuna.pruners:NoPruner()", "fails: AttributeError: .*NoPruner"),
        ("mine=optuna.pruners:MedianPruner(n_startup_trials=-1)", "fails: ValueError: .*-1"),
        ("mine=optuna.pruners:MedianPruner(startup=1)", "fails: TypeError: .*startup"),
        ("mine=fractions:Fraction(1)", "fails: TypeError: Fraction is no class of pruners, but must be an optuna"),
        ("mine=os:system('exit 3')", "fails: TypeError: system is no class of pruners"),
        ("none=optuna.pruners:NopPruner()", "another pruner has that name"),
    ],
)
def test_a_bad_pruner_is_answered_in_a_line(text: str, message: str) -> None:
    with pytest.raises(SearchError, match=message) as caught:
        parse_pruners([text])
    assert "\n" not in str(caught.value)


def test_names_are_given_once() -> None:
    with pytest.raises(SearchError, match='names "a", but another pruner has that name'):
        parse_pruners(["a=optuna.pruners:NopPruner()"] * 2)


def test_nothing_is_evaluated(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(SearchError):
        parse_pruners([f"a=optuna.pruners:MedianPruner(open({str(mark)!r}, 'w').write('x'))"])
    assert not mark.exists()


def test_only_selects_by_a_part_of_the_name() -> None:
    given = parse_pruners(["mine=optuna.pruners:NopPruner()"])
    assert list(select_pruners(20, given, ["MEDIAN", "mine"])) == ["median (defaults)", "median, warmup 30%", "mine"]
    assert list(select_pruners(20, given, [])) == [*default_pruners(20), "mine"]
    with pytest.raises(SearchError, match='--only is "bandit", but must be part of one of these names: none, median'):
        select_pruners(20, given, ["median", "bandit"])


@pytest.mark.parametrize(("last_step", "count"), [(20, 3), (81, 5), (242, 5), (243, 5), (244, 6)])
def test_hyperband_s_brackets_are_counted_as_optuna_makes_them(last_step: int, count: int) -> None:
    """3⁵ = 243 asks for 6 brackets; Optuna's floating floor makes 5 of them, which is what a replay has to say."""
    assert brackets(default_pruners(last_step)["hyperband (eta 3)"]) == count


def test_others_have_no_brackets_and_an_open_maximum_tells_none_yet() -> None:
    given = parse_pruners(["open=optuna.pruners:HyperbandPruner()", "ten=optuna.pruners:HyperbandPruner(1, 1000, 10)"])
    assert (brackets(given["open"]), brackets(given["ten"])) == (None, 3)
    assert [n for n, spec in default_pruners(20).items() if brackets(spec)] == ["hyperband (eta 3)"]
