"""What a study file's space may be: conditions that can hold, draws that can be trained, numbers of their type."""

import json
from dataclasses import fields
from typing import Any

import numpy as np
import optuna
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from search.common.errors import StudyChangedError, StudyFileError
from search.strategy.quasi_random import PointSuggester
from search.strategy.sampler import Sampler
from search.study.plan import Plan
from search.study.space import RECORDS, SECTION_OF, TYPES
from search.study.study import open_study, stored_plan
from storage.server.database import Database

HEAD = """
[data]
source = "builtin"
[proxy]
budget = "6m"
trials = 2
[confirm]
budget = "30m"
"""


def text_of(space: str, more: str = "", head: str = HEAD) -> str:
    return f"{head}{more}\n[space]\n{space}\n"


def parse(space: str, more: str = "", *, stored: bool = False) -> Plan:
    return Plan.parse(text_of(space, more), name="mine", origin="mine.toml", stored=stored)


def refused(space: str, more: str = "") -> str:
    with pytest.raises(StudyFileError) as caught:
        parse(space, more)
    return str(caught.value)


ATTENTION = 'attention = { choices = ["full", "grouped"] }\n'


# Conditions


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (ATTENTION + 'n_kv_head = { low = 1, high = 4, when = { attention = "group" } }', "'group', but it is one of"),
        (ATTENTION + 'n_kv_head = { low = 1, high = 4, when = { attention = ["grouped", "latent"] } }', "'latent'"),
        (ATTENTION + "n_kv_head = { low = 1, high = 4, when = { attention = [] } }", "name at least one"),
        (ATTENTION + "n_kv_head = { low = 1, high = 4, when = { attention = 1 } }", "asks for `attention` = 1"),
        ('n_kv_head = { low = 1, high = 4, when = { attention = "grouped" } }', "it is 'full' in this study"),
        ('n_kv_head = { low = 1, high = 4, when = { attention = ["full", "fulll"] } }', "`attention` is 'fulll'"),
        ("n_layer = { low = 1, high = 8 }\nwindow = { choices = [8, 9], when = { n_layer = 9 } }", "it is 1 … 8"),
        (
            "n_layer = { low = 2, high = 8, step = 2 }\nwindow = { choices = [8, 9], when = { n_layer = 3 } }",
            "it is 2 … 8 in steps of 2",
        ),
        ("n_layer = { low = 1, high = 8 }\nwindow = { choices = [8, 9], when = { n_layer = 2.0 } }", "2.0"),
        (
            "qk_norm = { choices = [true, false] }\nwindow = { choices = [8, 9], when = { qk_norm = 1 } }",
            "`qk_norm` = 1, but it is one of true, false",
        ),
        (
            "mlp_ratio = { low = 1.0, high = 4.0 }\nwindow = { choices = [8, 9], when = { mlp_ratio = 2 } }",
            "a range of real numbers never hits",
        ),
        (
            ATTENTION + 'n_kv_head = { low = 1, high = 4, when = { attention = "grouped" } }\n'
            'window = { choices = [8, 9], when = { n_kv_head = 2, attention = "full" } }',
            "can never hold: what it names is searched only where `attention` has other values",
        ),
        (
            'attention = { choices = ["full", "grouped"], when = { n_kv_head = 1 } }\n'
            'n_kv_head = { low = 1, high = 4, when = { attention = "grouped" } }',
            "one of the two must be searched without a condition",
        ),
        (
            "n_layer = { low = 1, high = 2, when = { window = 8 } }\nn_head = { low = 1, high = 2, when = { n_layer = 1"
            " } }\nwindow = { choices = [8, 9], when = { n_head = 1 } }",
            "whose own condition depends on `n_layer`",
        ),
        ("n_layer = { low = 1, high = 8, when = { n_lair = 2 } }", "`n_lair`, which is not a setting"),
        ("n_layer = { low = 1, high = 8, when = [] }", "`when` is [], but must be a table"),
        ("n_layer = { low = 1, high = 8, when = { n_head = { n_head = 2 } } }", "`when` is {'n_head': {'n_head': 2}}"),
    ],
)
def test_conditions_that_can_never_hold_are_refused(space: str, message: str) -> None:
    assert message in refused(space)
    assert "mine.toml: [space." in refused(space)


def test_a_list_means_any_of_its_values() -> None:
    attention = 'attention = { choices = ["full", "grouped", "latent"] }\n'
    plan = parse(attention + 'window = { choices = [8, 9], when = { attention = ["grouped", "latent"] } }')
    expected: list[dict[str, Any]] = [{"attention": "full"}]
    expected += [{"attention": a, "window": w} for a in ("grouped", "latent") for w in (8, 9)]
    assert sorted(map(str, plan.space.configurations(plan.fixed(), 9) or [])) == sorted(map(str, expected))
    again = Plan.parse(plan.toml(), name="mine", origin="settled")
    assert again == plan
    sampler = Sampler(space=plan.space, fixed=plan.fixed(), kind="random", seed=0, startup=1)
    drawn = [sampler.draw([], number, {}).params for number in range(60)]
    assert {(p["attention"], "window" in p) for p in drawn} == {("full", False), ("grouped", True), ("latent", True)}


def test_a_condition_on_what_is_not_searched_holds_by_its_fixed_value() -> None:
    plan = parse('n_kv_head = { low = 1, high = 4, when = { attention = ["grouped", "latent"] } }', MODEL_GROUPED)
    assert plan.space.names(plan.fixed()) == {"n_kv_head"}


MODEL_GROUPED = '[model]\nattention = "grouped"\n'


def test_a_condition_on_a_condition_holds_where_both_do() -> None:
    plan = parse(
        ATTENTION + 'n_kv_head = { low = 1, high = 2, when = { attention = "grouped" } }\n'
        "window = { choices = [8, 9], when = { n_kv_head = 2 } }"
    )
    points = plan.space.configurations(plan.fixed(), 9) or []
    assert sorted(tuple(p.values()) for p in points) == [
        ("full",),
        ("grouped", 1),
        ("grouped", 2, 8),
        ("grouped", 2, 9),
    ]


# What can be drawn


@pytest.mark.parametrize(
    ("space", "more", "parts"),
    [
        (
            "head_dim = { low = 16, high = 144 }",
            "",
            ["[space.head_dim] can draw 17", "must be even", "write { low = 16, high = 144, step = 2 }"],
        ),
        ("head_dim = { low = 15, high = 500, log = true }", "", ["[space.head_dim] can draw 15", "low = 16, high = 5"]),
        ("batch_size = { low = 0, high = 128 }", "", ["can draw 0", ">= 1", "write { low = 1, high = 128 }"]),
        ("batch_size = { choices = [0, 8] }", "", ["can draw 0", "write choices = [8]"]),
        ("pct_start = { low = 0.0, high = 0.5 }", "", ["[space.pct_start] can draw 0.0", "> 0"]),
        ("beta1 = { low = 0.5, high = 1 }", "", ["[space.beta1] can draw 1.0", "< 1"]),
        (
            'schedule = { choices = ["cosine", "warmup_stable_decay"] }',
            "[train]\npct_start = 0.9",
            ["[space.schedule] can draw 'warmup_stable_decay'", "1 - pct_start", 'write choices = ["cosine"]'],
        ),
        (
            'schedule = { choices = ["cosine", "warmup_stable_decay"] }\npct_start = { low = 0.05, high = 0.6 }\n'
            "decay_fraction = { low = 0.05, high = 0.6 }\nn_layer = { low = 1, high = 8 }\n"
            "max_lr = { low = 1e-4, high = 1e-2, log = true }",
            "",
            ["[space] can draw", "`pct_start` = ", "`decay_fraction` = ", "`schedule` = 'warmup_stable_decay'"],
        ),
        (
            'schedule = { choices = ["cosine", "warmup_stable_decay"] }\npct_start = { low = 0.05, high = 0.6 }\n'
            "decay_fraction = { low = 0.05, high = 0.6, when = { schedule = 'warmup_stable_decay' } }",
            "",
            ["[space] can draw", "`pct_start` = ", "`decay_fraction` = "],
        ),
    ],
)
def test_a_space_that_can_draw_what_cannot_be_trained_is_refused(space: str, more: str, parts: list[str]) -> None:
    message = refused(space, more)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("space", "more", "parts"),
    [
        (
            'mixer = { choices = ["attention", "mamba2"] }\nqk_clip = { choices = [0.0, 30.0] }',
            "",
            ["[space] can draw `mixer` = 'mamba2' and `qk_clip` = 30.0 together", "no block has attention"],
        ),
        (
            'mixer = { choices = ["attention", "mamba2"] }',
            "[train]\nqk_clip = 30.0",
            ["[space.mixer] can draw 'mamba2': `qk_clip` is 30.0, but must be 0", 'write choices = ["attention"]'],
        ),
        (
            "max_lr = { choices = [1e-3, 2e-3] }",
            '[model]\nmixer = "megalodon"\n[train]\nqk_clip = 30.0',
            ['[model] and [train]: `qk_clip` is 30.0, but must be 0 where mixer = "megalodon"'],
        ),
        (
            "qk_norm = { choices = [false, true] }",
            "[train]\nqk_clip = 30.0",
            ["[space.qk_norm] can draw True", "`qk_clip` is 30.0, but must be 0 where qk_norm = true"],
        ),
    ],
)
def test_a_space_that_can_draw_what_does_nothing_is_refused(space: str, more: str, parts: list[str]) -> None:
    message = refused(space, more)
    for part in parts:
        assert part in message


def test_a_stored_space_that_can_draw_what_does_nothing_goes_on() -> None:
    plan = parse('mixer = { choices = ["attention", "mamba2"] }', "[train]\nqk_clip = 30.0", stored=True)
    assert plan.configuration({"mixer": "mamba2"}).train.qk_clip == 30


@pytest.mark.parametrize(
    ("space", "more"),
    [
        ("head_dim = { low = 16, high = 144, step = 2 }", ""),
        ("pct_start = { low = 0.05, high = 0.6 }\ndecay_fraction = { low = 0.05, high = 0.6 }", ""),
        # decay_fraction's default would be refused beside these, but nothing draws it
        (
            "pct_start = { low = 0.5, high = 0.85 }\ndecay_fraction = { low = 0.05, high = 0.1 }",
            '[train]\nschedule = "warmup_stable_decay"\npct_start = 0.5',
        ),
        # pct_start is high only where the schedule takes it
        (
            'schedule = { choices = ["cosine", "warmup_stable_decay"] }\n'
            "pct_start = { choices = [0.1, 0.9], when = { schedule = 'cosine' } }",
            "",
        ),
    ],
)
def test_a_space_whose_every_draw_can_be_trained_is_taken(space: str, more: str) -> None:
    assert parse(space, more).space.parameters


def test_what_a_refusal_says_to_write_is_taken() -> None:
    for space in ("head_dim = { low = 15, high = 145 }", "head_dim = { low = 16, high = 30, log = true }"):
        cure = refused(space).partition("write ")[2]
        assert parse(f"head_dim = {cure}").space.parameters


@given(
    st.lists(st.sampled_from(sorted(SECTION_OF)), min_size=1, max_size=4, unique=True),
    st.integers(0, 2**32 - 1),
    st.data(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_of_an_accepted_space_every_draw_builds(names: list[str], seed: int, data: st.DataObject) -> None:
    """The property itself, by draws that the check never made."""
    space = {name: data.draw(_entries(name)) for name in names}
    try:
        plan = Plan.parse(HEAD + tomli_w.dumps({"space": space}), name="mine", origin="mine.toml")
    except StudyFileError:
        return
    rng = np.random.default_rng(seed)
    for _ in range(100):
        point = dict(zip(names, map(float, rng.random(len(names))), strict=True))
        plan.configuration(plan.space.suggest(PointSuggester(point, {}), plan.fixed()))


def _entries(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return ranges and choices about as a person writes them, some of them wrong."""
    allowed = next(f.metadata.get("choices") for f in fields(RECORDS[SECTION_OF[name]]) if f.name == name)
    if TYPES[name] is bool or allowed:
        some = st.lists(st.sampled_from(allowed or [True, False]), min_size=1, unique=True)
        return some.map(lambda choices: {"choices": choices})
    if TYPES[name] is int:
        ends = st.tuples(st.integers(0, 700), st.integers(1, 700))
        return ends.map(lambda pair: {"low": pair[0], "high": pair[0] + pair[1]})
    low = st.sampled_from([0.0, 0.001, 0.1, 0.5, 0.9, 1.0, 3.0])
    return st.tuples(low, low).map(lambda pair: {"low": pair[0], "high": pair[0] + pair[1]})


def test_every_baseline_is_built() -> None:
    more = "[baselines.mine]\npct_start = 0.6\n"
    fine = '[train]\nschedule = "cosine"\ndecay_fraction = 0.5\n'
    assert parse("pct_start = { low = 0.1, high = 0.9 }", fine + more).baselines["mine"] == {"pct_start": 0.6}
    with_zero = "[baselines.mine]\nbatch_size = 0\n"
    assert "batch_size" in refused("batch_size = { low = 0, high = 128 }", with_zero)
    assert "[baselines] has ' '" in refused("n_layer = { low = 1, high = 8 }", '[baselines." "]\nn_layer = 2\n')


def test_a_real_settings_highest_rate_is_named_once() -> None:
    assert "[space.max_lr] can draw 3.0" in refused("max_lr = { low = 1e-3, high = 3, log = true }")
    assert "`lr_scales` has 10" in refused("max_lr = { low = 1e-3, high = 0.3 }", "lr_scales = [1, 10]\n")


# The setting's own type decides


def test_integer_ends_of_a_real_setting_make_a_real_range() -> None:
    parameter = parse("weight_decay = { low = 0, high = 1 }").space.parameters["weight_decay"]
    assert parameter.distribution() == FloatDistribution(0.0, 1.0)
    drawn = [parameter.suggest(PointSuggester({"weight_decay": i / 7}, {}), "weight_decay") for i in range(7)]
    assert drawn == pytest.approx([i / 7 for i in range(7)])
    assert parse("rope_base = { low = 1000, high = 100000, log = true }").space.parameters["rope_base"].size is None


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ("{ low = 0, high = 1, step = 1 }", [0, 1]),
        ("{ low = 0, high = 1, step = 0.25 }", [0, 0.25, 0.5, 0.75, 1]),
        ("{ low = 0.1, high = 0.4, step = 0.1 }", [0.1, 0.2, 0.3, 0.4]),
        ("{ low = 0.0, high = 10.0, step = 5 }", [0, 5, 10]),
        ("{ low = 1, high = 4, step = 1, log = true }", [1, 2, 3, 4]),
    ],
)
def test_steps_of_a_real_setting(entry: str, values: list[float]) -> None:
    parameter = parse(f"weight_decay = {entry}").space.parameters["weight_decay"]
    assert parameter.values() == tuple(values)
    assert parameter.size == len(values)
    placed = [parameter.suggest(PointSuggester({"x": (i + 0.5) / 50}, {}), "x") for i in range(50)]
    assert set(placed) == set(values)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = {parameter.suggest(study.ask(), "x") for _ in range(60)}
    assert asked == set(values)  # no 0.30000000000000004 beside the 0.3 of a baseline
    assert all(parameter.holds(v) and parameter.distribution()._contains(v) for v in values)
    assert not parameter.holds(values[0] + 0.01)
    plan = parse(f"weight_decay = {entry}")
    assert Plan.parse(plan.toml(), name="mine", origin="settled") == plan
    assert stored_again(plan) == plan


def stored_again(plan: Plan) -> Plan:
    return Plan.parse(plan.toml(), name="mine", origin="stored", stored=True)


def test_how_a_number_is_written_decides_nothing_else() -> None:
    plan = parse(
        "weight_decay = { choices = [0, 0.1, 1] }\nwindow = { choices = [8, 9], when = { weight_decay = 1 } }",
        "[baselines.mine]\nweight_decay = 0\n",
    )
    assert plan.space.parameters["weight_decay"].choices == (0.0, 0.1, 1.0)
    assert {type(v) for v in plan.space.parameters["weight_decay"].values() or ()} == {float}
    assert json.dumps(plan.baselines) == '{"mine": {"weight_decay": 0.0}}'
    assert parse("weight_decay = { choices = [0, 0.1, 1] }") == parse("weight_decay = { choices = [0.0, 0.1, 1.0] }")
    assert "each once" in refused("weight_decay = { choices = [0, 0.0] }")
    assert "must be an integer" in refused("n_layer = { low = 1.0, high = 4.0 }")
    assert "must be an integer" in refused("n_layer = { low = 1, high = 4, step = 0.5 }")
    assert "must be an integer" in refused("n_layer = { choices = [1, 2.0] }")
    assert "2.0, but must be 1 … 4" in refused("n_layer = { low = 1, high = 4 }", "[baselines.mine]\nn_layer = 2.0\n")
    assert "`qk_norm` must be true or false" in refused("qk_norm = { choices = [true, 0] }")
    assert parse("n_layer = { low = 1, high = 4 }", "lr_scales = [1, 2]\n").confirm.lr_scales == (1.0, 2.0)


@pytest.mark.parametrize(
    ("entry", "distribution"),
    [
        ("{ low = 0, high = 1 }", IntDistribution(0, 1)),
        ("{ low = 1, high = 9, log = true }", IntDistribution(1, 9, log=True)),
        ("{ low = 0, high = 9, step = 3 }", IntDistribution(0, 9, step=3)),
        ("{ low = 0.0, high = 1.0, step = 1 }", FloatDistribution(0.0, 1.0)),  # where the step counted for nothing
        ("{ low = 0, high = 0.5 }", FloatDistribution(0.0, 0.5)),
    ],
)
def test_a_stored_plan_goes_on_with_what_it_has_drawn(entry: str, distribution: object) -> None:
    """Optuna refuses another kind of distribution in a study that has trials of one."""
    plan = parse(f"weight_decay = {entry}", stored=True)
    assert plan.space.parameters["weight_decay"].distribution() == distribution
    assert stored_again(plan).space.parameters["weight_decay"].distribution() == distribution


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_study_opened_while_ends_decided(database: Database) -> None:
    asked = parse("weight_decay = { low = 0, high = 1, step = 1 }")
    study = open_study(database, asked)
    old = text_of("weight_decay = { low = 0, high = 1 }")
    study.proxies.set_user_attr("plan", old)
    stored = stored_plan(database, "mine")
    trial = study.proxies.ask()
    assert stored.space.suggest(trial, stored.fixed())["weight_decay"] in (0, 1)
    with pytest.raises(StudyChangedError, match=r"\[space.weight_decay\] has drawn whole numbers .* write step = 1"):
        open_study(database, Plan.parse(old, name="mine", origin="mine.toml"))
    assert open_study(database, asked).plan == asked  # its cure
    again = open_study(database, stored_plan(database, "mine"))
    assert again.plan.space.suggest(again.proxies.ask(), {})["weight_decay"] in (0, 1)


def test_a_stored_plan_opens_whatever_is_refused_by_now() -> None:
    space = (
        "head_dim = { low = 16, high = 144 }\nbatch_size = { low = 0, high = 128 }\n"
        'n_kv_head = { low = 1, high = 4, when = { attention = "group" } }'
    )
    more = "[train]\ngrad_clip = inf\n[baselines.mine]\nhead_dim = 17\nbatch_size = 0\n"
    assert refused(space, more)
    plan = parse(space, more, stored=True)
    assert plan.baselines == {"mine": {"head_dim": 17, "batch_size": 0}}
    assert stored_again(plan) == plan
