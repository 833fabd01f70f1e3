"""Baselines with settings of their own: checked, trained, shown and exported as they were made by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch

from model.config import ModelConfig, TrainConfig
from model.data.corpus import Corpus
from model.training.train import train
from search.analysis.snapshot import read
from search.common.errors import StudyFileError
from search.common.signals import StopRequest
from search.export.export import best_export, render
from search.export.reader import read_export
from search.export.runs import confirmation_export, trial_export
from search.machine.preparation import tokenizers
from search.retrain.recipe import starting_point
from search.show.dashboard.trial_notes import trial_notes
from search.show.status.study_overview import study_overview
from search.strategy.entrants import proxies_to_confirm
from search.study import study_file
from search.study.plan import Plan
from search.study.requested import requested_plan
from search.study.study import changes, open_study, stored_plan
from search.study.trials import trial_params
from search.worker.worker import Worker
from storage.server.database import Database
from tests.search import raced
from tests.search.made import MIDDLE, PLAN, proxy
from tests.search.processor import ONCE
from tests.search.strategy.test_race_study import falling, rising
from tests.search.tiny import BRIEF

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SEARCHED = {"max_lr": 0.1, "batch_size": 8}
OWN = {"weight_decay": 0.02, "div_factor": 6.0, "mlp": "swiglu", "tied": False, "kind": "bpe"}
OWN_TOML = '\nweight_decay = 0.02\ndiv_factor = 6\nmlp = "swiglu"\ntied = false\nkind = "bpe"\n'
SAME_TOML = '\ncontext = 512\noptimizer = "adamw"\nkind = "unigram"\n'


def made(more: str = "", space: str = "") -> Plan:
    """A study whose last section is its baseline's."""
    text = raced.TEXT.format(confirm="", baseline=0.1, proxy="", pruner="") + more
    return Plan.parse(text.replace("[proxy]", f"{space}\n[proxy]"), name="made", origin="made.toml")


def test_a_baseline_sets_what_is_not_searched() -> None:
    plan = made(OWN_TOML)
    assert plan.baselines == {"by-hand": SEARCHED | OWN}
    configuration = plan.configuration(plan.baselines["by-hand"])
    assert (configuration.train.weight_decay, configuration.model.mlp, configuration.tokenizer.kind) == (
        0.02,
        "swiglu",
        "bpe",
    )
    assert Plan.parse(plan.toml(), name="made", origin="settled") == plan
    assert Plan.parse(plan.toml(), name="made", origin="stored", stored=True) == plan
    assert starting_point(plan).train.div_factor == 6.0


def test_what_it_shares_with_all_trials_is_not_its_own() -> None:
    """So that a trial drawn with its values is the same configuration."""
    assert made(SAME_TOML).baselines == {"by-hand": SEARCHED}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("weight_decai = 0.1", "`weight_decai` is not a setting of [tokenizer], [model] or [train]; did you mean"),
        ("weight_decay = -1", "`weight_decay` is -1.0, but must be >= 0"),
        ("weight_decay = 'x'", "`weight_decay` is 'x', but must be a number"),
        ("trials = 3", "`trials` is not a setting of [tokenizer]"),
        ("head_dim = 33", "`head_dim` is 33, but must be even"),
    ],
)
def test_baselines_that_are_refused(more: str, message: str) -> None:
    with pytest.raises(StudyFileError) as caught:
        made(more)
    assert "made.toml: [baselines.by-hand] " in str(caught.value)
    assert message in str(caught.value)


def test_conditions_go_by_its_own_settings() -> None:
    """Of a study with AdamW a baseline with Muon: its weight decay isn't searched then, and may lie outside."""
    space = 'weight_decay = { low = 0.01, high = 0.5, log = true, when = { optimizer = "adamw" } }\n'
    plan = made('optimizer = "muon"\nweight_decay = 0.0\n', space)
    assert plan.baselines["by-hand"] == SEARCHED | {"optimizer": "muon", "weight_decay": 0.0}
    with pytest.raises(StudyFileError, match="`weight_decay` is missing: it is searched under these values"):
        made("", space)
    with pytest.raises(StudyFileError, match=r"`weight_decay` is 0\.0, but must be 0\.01 … 0\.5"):
        made("weight_decay = 0", space)


def test_a_study_with_one_by_formula(database: Database) -> None:
    """Trials drawn with its searched values are other configurations; all that is said of it has its own settings."""
    space = 'weight_decay = { low = 0.01, high = 0.5, log = true, when = { optimizer = "adamw" } }\n'
    study = open_study(database, made('optimizer = "muon"\nweight_decay = 0.0\n', space))
    raced.Trainer(study, rising, falling).run()
    facts, own = read(study), {"optimizer": "muon", "weight_decay": 0.0}
    (short,) = [t for t in facts.proxies if "baseline" in t.user_attrs]
    assert short.params == SEARCHED
    assert trial_params(short) == SEARCHED | own
    confirmed = next(c for c in facts.confirmed if c.baseline)
    assert (confirmed.params, confirmed.searched) == (SEARCHED | own, SEARCHED)
    overview = study_overview(facts)
    assert overview.baseline_proxy is not None
    assert overview.baseline_confirmed is not None
    assert overview.baseline_proxy.parameters == overview.baseline_confirmed.parameters == SEARCHED | own
    assert "Set beside what is searched: optimizer muon weight" in trial_notes(facts)[short._trial_id].replace("\\", "")
    others = [t for t in facts.proxies if t is not short]
    assert all(t.params.keys() == trial_params(t).keys() == {*SEARCHED, "weight_decay"} for t in others)


def test_a_proxy_equals_a_baseline_only_with_all_its_settings() -> None:
    alike = [proxy(0, 1.5, baseline="by-hand"), proxy(1, 1.4)]
    assert alike[0].params == alike[1].params == MIDDLE
    assert proxies_to_confirm(alike, top=2, drawn=0, seed=0) == []
    alike[0].system_attrs = {"fixed_params": {**MIDDLE, "weight_decay": 0.02}}
    assert proxies_to_confirm(alike, top=2, drawn=0, seed=0) == [alike[1]]
    assert PLAN.searched(MIDDLE) == MIDDLE.keys()


def test_its_tokenizer_is_prepared_too() -> None:
    found = {(t.kind, t.vocab_size) for t in tokenizers(made('kind = "bpe"\nvocab_size = 2000\n'))}
    assert found == {("bpe", 2000), ("unigram", 6144)}


def test_it_is_trained_exported_and_retried_as_it_was_made(database: Database, home: Path, tmp_path: Path) -> None:
    """Real training: both budgets get all its settings, and so does who trains its export again."""
    prose = tmp_path / "prose.txt"
    prose.write_text("".join(f"Number {i} of many, {i * i} squared.\n" for i in range(20_000)), encoding="utf-8")
    text = BRIEF.replace('"builtin"', f'"{prose}"').replace("trials = 7", "trials = 2").replace("top = 1", "top = 0")
    text += 'weight_decay = 0.02\nmlp = "relu2"\n'
    study = open_study(database, Plan.parse(text + "vocab_size = 600\n", name="tiny", origin="test"))
    seen: list[tuple[float, str, int, float]] = []

    def noted(model: ModelConfig, training: TrainConfig, corpus: Corpus, **options: Any) -> Any:
        seen.append((training.weight_decay, model.mlp, corpus.tokenizer.vocab_size, options["budget_seconds"]))
        return train(model, training, corpus, **options)

    first = study.proxy_queue.claim("lost", 2)
    assert study.proxy_queue.fail(first.trial_id, "lost")  # type: ignore[union-attr]
    Worker(study, "one", torch.device("cpu"), StopRequest(), lambda line: None, noted, **ONCE).run()
    assert seen.count((0.02, "relu2", 600, 0.5)) == 1
    assert (0.1, "gelu", 512, 0.5) in seen
    assert seen.count((0.02, "relu2", 600, 1.0)) == 2
    facts = read(study)
    (number,) = [t.number for t in facts.finished if "baseline" in t.user_attrs]
    for name, table in {
        "best": best_export(facts),
        "trial": trial_export(facts, number),
        "confirmation": confirmation_export(facts, 0),
    }.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(render(table, "toml"), encoding="utf-8")
        again = read_export(path).training.configuration
        assert (again.train.weight_decay, again.model.mlp, again.tokenizer.vocab_size) == (0.02, "relu2", 600)
        assert table["parameters"]["weight_decay"] == 0.02


def test_babylms_is_what_the_write_up_trained() -> None:
    plan = study_file.read("babylm")
    hand = plan.configuration(plan.baselines["by-hand"])
    model, training = hand.model, hand.train
    assert (model.n_layer, model.n_head, model.head_dim, model.d_model, model.context) == (12, 4, 64, 256, 512)
    assert (hand.tokenizer.kind, hand.tokenizer.vocab_size, training.batch_size) == ("unigram", 6144, 64)
    shape = (training.schedule, training.pct_start, training.div_factor, training.final_div_factor, training.max_lr)
    assert shape == ("one_cycle", 0.1, 6.0, 20.0, 7.2e-3)
    assert (training.weight_decay, training.beta1, training.beta2, training.grad_clip) == (0.02, 0.9, 0.95, 1.0)


def test_a_study_that_is_open_goes_on_as_it_was_opened(database: Database) -> None:
    """Even if a later version ships another file under its name; a file's path says that it is meant to change."""
    shipped = study_file.read("babylm")
    earlier = Plan.parse(
        shipped.toml().replace("weight_decay = 0.02\n", "").replace("max_hours = 10.0", "max_hours = 0.0"),
        name="babylm",
        origin="an earlier version",
    )
    assert changes(earlier, shipped)
    open_study(database, earlier)
    again = requested_plan(database, "babylm", None, None, None, None)
    assert again == earlier == stored_plan(database, "babylm")
    open_study(database, again)
    assert requested_plan(database, "babylm", None, None, "mine", None).baselines == shipped.baselines
