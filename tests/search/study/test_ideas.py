"""Study files of ideas: what runs, what is refused, what the shipped one has."""

import dataclasses
import re

import pytest

from model.config import ModelConfig
from model.options.plain import PlainConfig
from search.common.errors import StudyFileError
from search.study import study_file as studyfile
from search.study.plan import Plan
from search.study.shipped import shipped


def parse(text: str) -> Plan:
    return Plan.parse(text, name="mine", origin="mine.toml")


def test_the_ideas_head_says_what_each_costs() -> None:
    """Whatever their number: lines are added."""
    head, plan = shipped()["sweep-ideas"].read_text(encoding="utf-8").split("[data]")[0], studyfile.read("sweep-ideas")
    hours = plan.proxy.repeats * plan.proxy.budget_seconds / 3600
    stated = re.search(r"an idea takes ([\d.]+) GPU hours, ([\d.]+) dollars", head)
    assert stated is not None
    assert float(stated[1]) == hours
    assert float(stated[2]) == pytest.approx(hours * plan.cost.usd_per_gpu_hour, abs=0.0051)


IDEAS_FILE = """
[data]
source = "builtin"
[model]
window = 16
[proxy]
sampler = "grid"
repeats = 2
budget = "1m"
[ideas]
a = { kv_blocks = 2 }
b = { global_every = 4, max_lr = 1 }
c = { tied = false }
d = { zero_init = true }
"""


def test_each_idea_runs_alone_and_the_plain_configuration_more_often() -> None:
    """Four ideas: √4 = 2 plain runs for each of an idea's, none twice with the same seed."""
    plan = parse(IDEAS_FILE)
    assert plan.grid() == [
        {},
        {"kv_blocks": 2},
        {"global_every": 4, "max_lr": 1.0},
        {"tied": False},
        {"zero_init": True},
    ]
    assert plan.grid_runs() == [
        *[(0, 0), (0, 1), (1, 0), (2, 0), (3, 0), (4, 0)],
        *[(0, 2), (0, 3), (1, 1), (2, 1), (3, 1), (4, 1)],
    ]
    assert plan.proxy.trials == 12
    assert set(parse(IDEAS_FILE.replace("repeats = 2", "repeats = 3")).grid_runs()) > set(plan.grid_runs())
    assert Plan.parse(plan.toml(), name="mine", origin="stored", stored=True) == plan


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kv_blocks = 2", "kv_block = 2", "[ideas.a] `kv_block` is not a setting"),
        ("kv_blocks = 2", "kv_blocks = 1", "[ideas.a] changes nothing"),
        ("kv_blocks = 2", "kv_blocks = 0", "[ideas.a] `kv_blocks` is 0, but must be >= 1"),
        ("kv_blocks = 2", "global_every = 4, window = 0", "[ideas.a] `global_every` is 4, but must be 0 where window"),
        ("a = {", "plain = {", 'an idea must have a name, other than "plain"'),
        ('sampler = "grid"\nrepeats = 2', "trials = 1", "[ideas] is for sweeps"),
        ("[ideas]", "[space]\nn_layer = { low = 1, high = 2 }\n[ideas]", "[space] can't stand beside [ideas]"),
        ("[ideas]", "[baselines.x]\nn_layer = 2\n[ideas]", "[baselines] can't stand beside"),
    ],
)
def test_ideas_that_are_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(StudyFileError) as raised:
        parse(IDEAS_FILE.replace(old, new, 1) + '[confirm]\nbudget = "1m"\ntop = 0\nrandom = 0\n')
    assert message in str(raised.value)


def test_long_runs_of_the_best_are_refused() -> None:
    with pytest.raises(StudyFileError, match=r"`top` is 8 and `random` 1, but beside \[ideas\] both must be 0"):
        parse(IDEAS_FILE + '[confirm]\nbudget = "1h"\n')


def test_the_shipped_sweep_has_every_option_of_the_network() -> None:
    """A setting of each file of model/options that adds to the plain transformer is in a line of its own."""
    swept, plain = studyfile.read("sweep-ideas").own_settings(), {f.name for f in dataclasses.fields(PlainConfig)}
    for option in ModelConfig.__bases__:
        assert swept & ({f.name for f in dataclasses.fields(option)} - plain), option.__name__
