import dataclasses
import math
import re

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import SettingsError
from search.common.durations import format_duration, parse_duration
from search.common.errors import StudyFileError
from search.study import study_file as studyfile
from search.study.plan import Plan
from search.study.settings import Fidelity
from search.study.shipped import shipped
from search.study.study import changes

TEXT = shipped()["quickstart"].read_text(encoding="utf-8")


def parse(text: str) -> Plan:
    return Plan.parse(text, name="mine", origin="mine.toml")


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_studies_settle_and_read_back_the_same(name: str) -> None:
    plan = studyfile.read(name)
    again = Plan.parse(plan.toml(), name=name, origin="settled")
    assert again == plan
    assert again.sha256() == plan.sha256()
    assert plan.description
    assert plan.baselines or plan.is_grid


@pytest.mark.parametrize("name", ["babylm", "simplestories", "tinystories"])
def test_the_originals_spaces_are_covered(name: str) -> None:
    space = studyfile.read(name).space.parameters
    assert (space["max_lr"].low, space["max_lr"].high, space["max_lr"].log) == (1e-4, 3e-2, True)
    assert (space["vocab_size"].low, space["vocab_size"].high) == (2048, 12288)
    assert (space["n_layer"].low, space["n_layer"].high) == (4, 32)
    assert (space["n_head"].low, space["n_head"].high) == (2, 8)
    assert (space["head_dim"].low, space["head_dim"].high) == (16, 128)
    assert {16, 32, 64, 128, 256} <= set(space["batch_size"].choices or ())


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("trials = 20", "trails = 18", ["[proxy]", "`trails`", "did you mean `trials`?"]),
        ("trials = 20", "trials = 0", ["[proxy]", "`trials` is 0", ">= 1"]),
        ("trials = 20", 'trials = "many"', ["`trials` is 'many'", "an integer"]),
        ("trials = 20", "trials = true", ["`trials` is True", "an integer"]),
        ("trials = 20", 'trials = 20\nsampler = "tpee"', ["[proxy]", "`sampler` is 'tpee'", "tpe", "gp", "qmc"]),
        ("low = 1e-4", "low = 4", ["[space.max_lr]", "`low` is 4", "low must be < high"]),
        ("low = 1e-4", "low = 0", ["`low` is 0", "> 0 where log"]),
        ("max_lr = { low", "max_lrr = { low", ["`max_lrr`", "did you mean `max_lr`?"]),
        ("high = 32, step = 16", "high = 32, step = 7", ["`step` is 7", "divide"]),
        ("low = 16, high = 32, step = 16", "low = 15, high = 31, step = 16", ["[space.head_dim]", "must be even"]),
        ("choices = [512, 1024, 2048]", "choices = [12, 1024]", ["[space.vocab_size]", "12", ">= 320"]),
        ("high = 3e-2", "high = 3", ["[space.max_lr]", "`max_lr` is 3", "<= 1"]),
        ("n_head = 2\n", "n_head = 20\n", ["[baselines.by-hand]", "`n_head` is 20", "1 … 4"]),
        ("n_layer = 2\n", "", ["[baselines.by-hand]", "`n_layer` is missing"]),
        ('budget = "8s"', 'budget = "6 parsecs"', ["[proxy]", "6 parsecs", "90s, 6m or 1.5h"]),
        ("seeds = 2", "rungs = [1.5]", ["[confirm]", "`rungs` is [1.5]", '["12m"]']),
        ("seeds = 2", 'lr_scales = "0.7"', ["[confirm]", "`lr_scales` is '0.7'", "[1.0, 0.7]"]),
        ("seeds = 2", "seeds = 0.5", ["[confirm]", "`seeds` is 0.5", ">= 1"]),
        ("report_every = 10", "report_every = 7", ["`report_every` is 7", "divide 100"]),
        ("[pruner]", "[prune]", ["`prune` is not a section", "did you mean `pruner`?"]),
        ("[confirm]", "[confirm", ["not valid TOML"]),
        ('source = "builtin"', "", ["[data]", "`source` is missing"]),
    ],
)
def test_errors_name_file_key_value_and_what_is_allowed(old: str, new: str, parts: list[str]) -> None:
    assert old in TEXT
    with pytest.raises(StudyFileError) as caught:
        parse(TEXT.replace(old, new, 1))
    for part in ["mine.toml", *parts]:
        assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_conditions_decide_what_is_searched() -> None:
    text = TEXT.replace(
        "[proxy]", "[space.weight_decay]\nlow = 0.0\nhigh = 0.5\nwhen = { n_layer = 2 }\n[proxy]", 1
    ).replace("batch_size = 4", "batch_size = 4\nweight_decay = 0.2", 1)
    space = parse(text).space

    def suggest(n_layer: int) -> dict[str, object]:
        params = {**parse(text).baselines["by-hand"], "n_layer": n_layer}
        return space.suggest(optuna.trial.FixedTrial(params), {})

    assert suggest(2)["weight_decay"] == 0.2
    assert "weight_decay" not in suggest(3)
    with pytest.raises(StudyFileError, match="`weight_decay` is missing"):
        parse(text.replace("weight_decay = 0.2", ""))
    with pytest.raises(StudyFileError, match="`n_layr`, which is not a setting"):
        parse(text.replace("{ n_layer = 2 }", "{ n_layr = 2 }"))


def test_every_sample_is_a_valid_configuration() -> None:
    plan = studyfile.read("babylm")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(200):
        params = plan.space.suggest(study.ask(), plan.fixed())
        configuration = plan.configuration(params)
        assert configuration.model.d_model == params["n_head"] * params["head_dim"]
        assert all(plan.space.parameters[k].holds(v) for k, v in params.items())


def test_a_prefix_needs_something_longer_to_be_a_prefix_of() -> None:
    text = TEXT.replace("trials = 20", 'trials = 20\nschedule = "prefix"')
    assert parse(TEXT).proxy.schedule == "whole"
    assert parse(text).proxy.schedule == "prefix"
    assert parse(parse(text).toml()) == parse(text)
    message = re.escape('[confirm] `budget` is 8s, but must be > 8s, [proxy]\'s, where schedule = "prefix"')
    with pytest.raises(StudyFileError, match=message):
        parse(text.replace('budget = "24s"', 'budget = "8s"'))
    with pytest.raises(StudyFileError, match="must be > 6m"):  # a sweep without confirmations
        parse(GRID.replace("repeats = 2", 'repeats = 2\nschedule = "prefix"'))
    with pytest.raises(StudyFileError, match='`schedule` is \'half\', but must be one of "whole", "prefix"'):
        parse(TEXT.replace("trials = 20", 'trials = 20\nschedule = "half"'))


def test_changes_are_named_by_key() -> None:
    plan = studyfile.read("quickstart")
    other = dataclasses.replace(plan, proxy=dataclasses.replace(plan.proxy, trials=99, budget="7s"))
    assert changes(plan, other) == {"proxy.trials": (20, 99), "proxy.budget": ("8s", "7s")}
    assert changes(plan, plan) == {}


@pytest.mark.parametrize("name", ["Big", "a b", "x-confirm", "", "-x"])
def test_names_that_no_study_can_have(name: str) -> None:
    with pytest.raises(StudyFileError):
        studyfile.study_name(name)


@given(st.integers(1, 10_000), st.sampled_from("smh"))
def test_durations_read_as_written(number: int, unit: str) -> None:
    assert parse_duration(f"{number}{unit}") == number * {"s": 1, "m": 60, "h": 3600}[unit]


def test_a_budget_that_is_no_duration_reads_as_a_sentence() -> None:
    with pytest.raises(SettingsError, match=r'^`budget`: "4 parsecs" is no duration; write a number'):
        Fidelity(budget="4 parsecs")


@pytest.mark.parametrize("text", ["", "6", "m", "-6m", "0s", "6 minutes", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


def test_durations_for_people() -> None:
    assert [format_duration(s) for s in (0.4, 8, 42.4, 390, 7200)] == ["0.4 s", "8 s", "42 s", "6.5 min", "2 h"]


GRID = """
[data]
source = "builtin"
[space]
attention = { choices = ["full", "grouped", "latent"] }
projection_dim = { choices = [16, 32, 64], when = { attention = "latent" } }
n_layer = { low = 2, high = 4, step = 2 }
[proxy]
budget = "6m"
sampler = "grid"
repeats = 2
"""


def test_a_grid_is_every_combination_that_its_conditions_allow() -> None:
    plan = parse(GRID)
    expected = [{"attention": a, "n_layer": n} for a in ("full", "grouped") for n in (2, 4)]
    expected += [{"attention": "latent", "projection_dim": p, "n_layer": n} for p in (16, 32, 64) for n in (2, 4)]
    assert sorted(map(str, map(sorted, map(dict.items, plan.grid())))) == sorted(
        map(str, map(sorted, map(dict.items, expected)))
    )
    assert plan.proxy.trials == 2 * len(expected)
    assert (plan.confirm.top, plan.confirm.random) == (0, 0)
    assert parse(plan.toml()) == plan


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("repeats = 2", "repeats = 2\ntrials = 7", "`trials` is 7, but the grid has 20 runs; leave it out"),
        ("n_layer = { low = 2, high = 4, step = 2 }", "max_lr = { low = 1e-4, high = 1e-2 }", "a grid needs `choices`"),
        ('sampler = "grid"', "", "[confirm] is missing"),
        ("repeats = 2", "repeats = 2\n[baselines.mine]\nn_layer = 2\nattention = 'full'", "can't stand beside"),
    ],
)
def test_grids_that_are_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(StudyFileError, match=re.escape(message)):
        parse(GRID.replace(old, new))


def test_no_more_trials_than_the_space_has_configurations() -> None:
    searched = GRID.replace('sampler = "grid"\nrepeats = 2', "trials = 10") + '[confirm]\nbudget = "30m"\n'
    assert parse(searched).proxy.trials == 10
    with pytest.raises(StudyFileError, match=re.escape("`trials` is 11, but must be <= 10, as many as [space] has")):
        parse(searched.replace("trials = 10", "trials = 11"))


def test_configurations_are_counted_as_far_as_asked() -> None:
    space, fixed = parse(GRID).space, parse(GRID).fixed()
    assert space.configurations(fixed, 10) == space.grid(fixed)
    assert space.configurations(fixed, 9) is None
    continuous = parse(TEXT)
    assert continuous.space.configurations(continuous.fixed(), 10**9) is None


def test_only_a_grid_repeats() -> None:
    with pytest.raises(StudyFileError, match='only sampler = "grid" repeats'):
        parse(TEXT.replace("trials = 20", "trials = 20\nrepeats = 2"))


@pytest.mark.parametrize("name", ["babylm", "babylm-ideas", "simplestories", "tinystories"])
def test_a_searchs_head_says_what_it_costs(name: str) -> None:
    """Hours of proxies, and of long runs: (baseline + top + random) × seeds, without and with those that widen."""
    head = shipped()[name].read_text(encoding="utf-8").split("description")[0].replace("\n# ", " ")
    plan = studyfile.read(name)
    proxies, long = plan.proxy.max_hours, plan.confirm.budget_seconds / 3600
    field = len(plan.baselines) + plan.confirm.top + plan.confirm.random
    runs = [math.floor(n * plan.confirm.seeds) for n in (field, field + plan.confirm.widen)]
    hours = [proxies + n * long for n in runs]
    assert (
        f"{proxies:g} hours of proxy trials of 6 minutes, about {proxies * 3600 / plan.proxy.budget_seconds:g} " in head
    )
    assert f"about {runs[0]} confirmation runs of 30" in head
    assert f"{hours[0]:g}{f' to {hours[1]:g}' if 'to predict' in head else ''} GPU hours" in head
    assert f"{hours[0] * plan.cost.usd_per_gpu_hour:.0f}" in head.split("GPU hours")[1]
    assert plan.proxy.trials > 3 * proxies * 3600 / plan.proxy.budget_seconds


@pytest.mark.parametrize("name", sorted({n for n in shipped() if n.startswith("sweep-")} - {"sweep-ideas"}))
def test_a_sweeps_head_says_what_it_costs(name: str) -> None:
    head = shipped()[name].read_text(encoding="utf-8").split("[data]")[0]
    stated = re.search(r"(\d+) runs of 30 minutes on an RTX 4090: ([\d.]+) GPU hours, about (\d+) dollars", head)
    assert stated is not None
    plan = studyfile.read(name)
    hours = plan.proxy.trials * plan.proxy.budget_seconds / 3600
    assert plan.proxy.budget == "30m"
    assert (int(stated[1]), float(stated[2])) == (plan.proxy.trials, hours)
    assert int(stated[3]) == round(hours * plan.cost.usd_per_gpu_hour)


def test_the_write_ups_figures_have_their_sweeps() -> None:
    def swept(name: str) -> dict[str, list[object]]:
        grid = studyfile.read(f"sweep-{name}").grid()
        return {k: list(dict.fromkeys(p[k] for p in grid if k in p)) for k in grid[-1]}

    assert swept("lr")["schedule"] == [f"one_cycle_{shape}" for shape in ("standard", "aggressive", "medium")]
    rates = swept("lr")["max_lr"]
    assert rates == pytest.approx(np.geomspace(1e-4, 3e-2, 20).tolist(), rel=0.05)
    assert swept("vocab")["vocab_size"] == [1024 * k for k in (1, 2, 3, 4, 6, 8, 10, 12, 15, 20)]
    assert swept("vocab")["kind"] == ["unigram", "bpe"]
    assert "n_layer" in swept("depth")
    assert "batch_size" in swept("batch")
    assert swept("latent")["projection_dim"] == [16, 32, 48, 64, 80, 96, 112, 128, 192, 256]
    assert studyfile.read("sweep-latent").proxy.repeats == 2
