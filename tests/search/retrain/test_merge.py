"""Merges of a real study's runs, on a clock that counts steps: chosen, measured, written, known by other commands."""

import itertools
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optuna.trial import TrialState, create_trial

from model.config import ModelConfig
from model.data.corpus import Corpus, validation
from model.data.tokens import Tokens
from model.evaluate import val_bpb
from model.formats import checkpoint
from model.formats.checkpoint import Checkpoint
from model.formats.load import load
from model.network.part import Compact
from model.network.transformer import Transformer
from model.sample import sample
from model.training.train import train
from search.analysis.snapshot import read
from search.cli import merge as command
from search.common import paths
from search.common.errors import SearchError
from search.common.exit_codes import REFUSED
from search.common.signals import StopRequest
from search.export.bundle import Places, release, write_release
from search.export.merged import MERGE, merge_of
from search.retrain import ingredients as ingredients_module
from search.retrain import merge as module
from search.retrain.evaluate import measure
from search.retrain.held_out import divide
from search.retrain.ingredients import Ingredient
from search.retrain.merge import Choice, MergeOptions, average_sets, merge
from search.retrain.mixing import Mix, can_evolve, equal_weights
from search.study.artifacts import artifact_files
from search.study.plan import Plan
from search.study.study import LinkedStudy, open_study
from search.worker.worker import Worker
from storage.server.database import connect
from tests.conftest import database_with_tables
from tests.model.training.test_train import World
from tests.search.conftest import Typed
from tests.search.processor import ONCE
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
CPU = torch.device("cpu")
TEXT = PLAN.replace("trials = 7", "trials = 1").replace("top = 1\n", "top = 0\nlast_states = 2\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Path]:
    """A home for the study and for what is done with it, with what other tests have prepared."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        (home / "cache").symlink_to(cache)
        patch.setenv("LILM_SEARCH_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def study(home: Path, embedded_url: str) -> Iterator[LinkedStudy]:
    """The baseline's two confirmation runs of 40 steps, each with its states at 60% and 80%."""
    with pytest.MonkeyPatch.context() as patch:
        url = database_with_tables(embedded_url)
        patch.setenv("LILM_SEARCH_STORAGE", url)
        world = World(patch, itertools.repeat(0.05))
        database = connect(url)
        opened = open_study(database, Plan.parse(TEXT, name="tiny", origin="test"))
        Worker(opened, "one", CPU, StopRequest(), print, partial(train, clock=world), **ONCE).run()
        yield opened
        database.close()


def merged_to(out: Path, study: LinkedStudy, **options: Any) -> tuple[bool, str]:
    lines: list[str] = []
    asked = MergeOptions(**{"trials": 3, **options})
    written = merge(read(study), asked, out, CPU, lambda *stage: None, lines.append)
    return written, "\n".join(lines)


@pytest.fixture(scope="module")
def merged(study: LinkedStudy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file of an average with equal weights, and what was said."""
    out = tmp_path_factory.mktemp("merged") / "merged.pt"
    written, said = merged_to(out, study, method="average", confirmations=(0, 1))
    assert written
    return out, said


def test_last_states_are_stored_with_each_run(study: LinkedStudy) -> None:
    """All weights move on between them and the end; proxies have none."""
    files = {file.filename for file in artifact_files(study.confirmations) if file.filename.endswith(".pt")}
    assert files == {f"confirm-{n}{at}.pt" for n in (0, 1) for at in ("", "-at-60", "-at-80")}
    folder = paths.checkpoints(study.runs_folder)
    states = [checkpoint.load(folder / f"confirm-1{at}.pt", CPU) for at in ("-at-60", "-at-80", "")]
    assert [s.info.get("at_percent") for s in states] == [60, 80, None]
    assert [(s.info["confirmation"], s.info["seed"], "val_bpb" in s.info) for s in states] == [
        (1, 101, False),
        (1, 101, False),
        (1, 101, True),
    ]
    for one, two in itertools.combinations(states, 2):
        for name, tensor in one.network.state_dict().items():
            assert not torch.equal(tensor, two.network.state_dict()[name])


def by_numpy(study: LinkedStudy, table: dict[str, Any]) -> Transformer:
    """The average that a merge's file describes, from the runs' own files."""
    folder, network = paths.checkpoints(study.runs_folder), None
    sums: dict[str, np.ndarray] = {}
    for each in table["ingredients"]:
        at = f"-at-{each['at_percent']}" if "at_percent" in each else ""
        network = checkpoint.load(folder / f"confirm-{each['confirmation']}{at}.pt", CPU).network
        for name, tensor in network.state_dict().items():
            sums[name] = sums.get(name, 0) + each["weights"][0] * tensor.double().numpy()
    assert network is not None
    network.load_state_dict({name: torch.from_numpy(array).float() for name, array in sums.items()})
    return network


def test_merges_state_the_bpb_of_the_untouched_documents_and_what_they_are_made_of(
    study: LinkedStudy, merged: tuple[Path, str]
) -> None:
    """Averaged by numpy, measured on those documents alone."""
    out, said = merged
    saved = checkpoint.load(out, CPU)
    table = saved.info[MERGE]
    assert table["method"].startswith("average of ")
    assert sum(each["weights"][0] for each in table["ingredients"]) == pytest.approx(1)
    assert all(each["weights"][0] for each in table["ingredients"])
    tokens, _ = validation(study.plan.data, saved.tokenizer, paths.cache())
    untouched = divide(tokens, saved.tokenizer)[1]
    again = by_numpy(study, table)
    for name, tensor in again.state_dict().items():
        torch.testing.assert_close(saved.network.state_dict()[name], tensor)
    bpb = val_bpb(again, untouched, saved.tokenizer.separator)
    assert saved.info["val_bpb"] == pytest.approx(bpb, abs=1e-5)
    assert table["before_bpb"] + table["difference"] == pytest.approx(bpb, abs=1e-5)
    assert (table["documents"], table["bytes"]) == (len(untouched.text_bytes), int(untouched.text_bytes.sum()))
    assert f"{bpb:.4f}" in said
    assert saved.info["study"] == "tiny"
    assert "confirmation" not in saved.info
    assert sample(saved, "the ", max_tokens=3)


def test_merges_compare_all_averages_with_the_best_run_alone(merged: tuple[Path, str]) -> None:
    said = merged[1]
    rows = [line for line in said.splitlines() if ("  " in line and " ± " in line) or "the best alone" in line]
    for name in ("confirmation 0, seed 100, at 60%", "confirmation 1, seed 101", "average of 2 runs", "greedy soup of"):
        assert any(row.startswith(name) for row in rows), name
    assert any(row.startswith("evolved in 3 trials") for row in rows) == can_evolve()
    assert any(row.endswith("the best alone") for row in rows)
    verdict = next(line for line in said.splitlines() if line.startswith("verdict: "))
    assert verdict.split()[1].rstrip(":") in ("helps", "hurts", "can't")
    assert "BPB on the untouched text" in verdict


def documents(tokens: Tokens) -> set[bytes]:
    bounds = zip(tokens.starts[:-1], tokens.starts[1:], strict=True)
    return {np.asarray(tokens.ids[first:last]).tobytes() for first, last in bounds}


def test_merges_do_not_read_untouched_text_while_they_choose(
    study: LinkedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spied upon: what was measured until the choice was made, and after it."""
    seen: dict[str, set[bytes]] = {"choosing": set(), "over": set()}
    phase = ["choosing"]

    def spied(function: Callable[..., Any]) -> Callable[..., Any]:
        def spy(network: Transformer, tokens: Tokens, *args: Any, **options: Any) -> Any:
            seen[phase[0]] |= documents(tokens)
            return function(network, tokens, *args, **options)

        return spy

    def choose(*args: Any) -> Choice:
        choice = real(*args)
        phase[0] = "over"
        return choice

    real = module.choose
    monkeypatch.setattr(module, "choose", choose)
    for name in ("val_bpb", "document_nats"):
        monkeypatch.setattr(module, name, spied(getattr(module, name)))
    merged_to(tmp_path / "merged.pt", study, groups=1, trials=2)
    assert seen["choosing"]
    assert seen["over"]
    assert not seen["choosing"] & seen["over"]


def test_merges_leave_the_study_as_it_was(study: LinkedStudy, merged: tuple[Path, str]) -> None:
    """No run, no attribute, no file is added, and the export stays the best run's."""
    files, _ = release(read(study), None, print)
    info = json.loads(files["provenance.json"])
    assert merge_of(info) is None
    assert info["val_bpb"] == min(run.value or math.inf for run in study.confirm_trials())
    assert len(study.confirm_trials()) == 2
    assert not any("merge" in file.filename for file in artifact_files(study.confirmations))


def evaluated(path: Path) -> tuple[str, str]:
    lines: list[str] = []
    around: dict[str, Any] = {"progress": lambda *stage: None, "say": lines.append, "device": CPU}
    verification = measure(path, config=None, rank=None, data=None, tolerance=None, **around)
    return verification.answer, "\n".join(lines)


def test_merges_are_measured_again_on_the_part_that_no_choice_has_seen(
    merged: tuple[Path, str], tmp_path: Path
) -> None:
    answer, output = evaluated(merged[0])
    assert answer == "yes", output
    assert "the part that no choice has seen" in output
    saved, altered = checkpoint.load(merged[0], CPU), tmp_path / "altered.pt"
    checkpoint.save(altered, saved.network, saved.tokenizer, {**saved.info, "val_bpb": saved.info["val_bpb"] - 0.01})
    assert evaluated(altered)[0] == "no"
    checkpoint.save(altered, saved.network, saved.tokenizer, {**saved.info, MERGE: {"method": "magic"}})
    with pytest.raises(SearchError, match="its file is damaged"):
        evaluated(altered)


def test_merges_are_released_as_what_they_are(study: LinkedStudy, merged: tuple[Path, str], tmp_path: Path) -> None:
    places = Places(tmp_path / "merged.zip", tmp_path / "folder")
    write_release(read(study), merged[0], places, print)
    for path in (tmp_path / "merged.zip", tmp_path / "folder"):
        assert load(path, CPU).info[MERGE] == checkpoint.load(merged[0], CPU).info[MERGE]
        assert evaluated(path)[0] == "yes"
    card = (tmp_path / "folder" / "README.md").read_text(encoding="utf-8")
    labels = [each["label"] for each in checkpoint.load(merged[0], CPU).info[MERGE]["ingredients"]]
    for part in ("# tiny, merged:", "no result of the study", *labels, "`verify` refuses them"):
        assert part in card
    assert "train --config" not in card
    assert not (tmp_path / "folder" / "export.toml").exists()


def test_merges_of_another_study_are_not_released(study: LinkedStudy, merged: tuple[Path, str], tmp_path: Path) -> None:
    saved, other = checkpoint.load(merged[0], CPU), tmp_path / "other.pt"
    checkpoint.save(other, saved.network, saved.tokenizer, {**saved.info, "study": "another"})
    with pytest.raises(SearchError, match="that is a merge of another: name that study with --study"):
        write_release(read(study), other, Places(None, tmp_path / "folder"), print)


def test_merges_cannot_be_verified(merged: tuple[Path, str], typed: Typed) -> None:
    code, out, err = typed("verify", "--config", str(merged[0]), "--device", "cpu")
    assert (code, out) == (REFUSED, "")
    labels = [each["label"] for each in checkpoint.load(merged[0], CPU).info[MERGE]["ingredients"]]
    assert f"is a merge of {'; '.join(labels)}, which" in err
    assert "which no single training makes again" in err
    assert err.count("\n") == 1


def test_merge_by_command_writes_a_file_if_and_only_if_an_average_is_better(
    study: LinkedStudy, tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LILM_SEARCH_STORAGE", study.database.engine.url.render_as_string(hide_password=False))
    out = tmp_path / "merged.pt"
    options = ("--study", "tiny", "--trials", "2", "--device", "cpu", "--out", str(out))
    code, said, _ = typed("merge", *options, "--configuration", "baseline by-hand")
    assert out.exists() == (code == 0) == ("verdict: doesn't help" not in said)
    assert tuple(command.METHODS) == tuple(module.METHODS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"configuration": "trial 99"}, '"trial 99", but must be one of the confirmed: baseline by-hand'),
        ({"confirmations": (0, 7)}, "--confirmation is 7, but there are 0 to 1"),
        ({"configuration": "baseline by-hand", "confirmations": (0, 1)}, "leave one of them out"),
        ({"method": "magic"}, '--method is "magic", but must be one of best, average, greedy, evolved'),
        ({"groups": 2}, "--groups is 2, but the network has 1 blocks"),
    ],
)
def test_merge_refuses_what_it_cannot_do(
    study: LinkedStudy, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SearchError) as refused:
        merged_to(tmp_path / "merged.pt", study, **options)
    assert message in str(refused.value)


def ingredient(corpus: Corpus, number: int, percent: int = 100, packed: bool = False, **options: Any) -> Ingredient:
    run = create_trial(state=TrialState.COMPLETE, value=2.0, user_attrs={"seed": 100 + number, "confirms": 3})
    run.number = number
    config = ModelConfig(n_layer=1, n_head=1, head_dim=8, context=16, **options)
    network = Transformer(config, corpus.tokenizer.vocab_size)
    for module_ in network.modules():
        if packed and isinstance(module_, Compact):
            module_.expect_packed()
    return Ingredient(run, percent, "trial 3", Checkpoint(network, corpus.tokenizer, {}))


def test_average_sets_are_the_ends_of_all_runs_and_the_last_states_of_each(corpus: Corpus) -> None:
    given = [ingredient(corpus, 4, 90), ingredient(corpus, 4), ingredient(corpus, 6), ingredient(corpus, 7)]
    assert average_sets(given) == {"average of 3 runs": [1, 2, 3], "average of confirmation 4's last 2 states": [0, 1]}
    assert average_sets(given[:2]) == {"average of confirmation 4's last 2 states": [0, 1]}


def test_ingredients_that_have_no_average_are_refused(corpus: Corpus) -> None:
    check = ingredients_module._check_alike
    check([ingredient(corpus, 0), ingredient(corpus, 1)])
    with pytest.raises(SearchError, match="can't be merged: mlp is swiglu and gelu"):
        check([ingredient(corpus, 0, mlp="swiglu"), ingredient(corpus, 1, mlp="gelu")])
    with pytest.raises(SearchError, match="an average of levels is none of them"):
        check([ingredient(corpus, n, packed=True, linear="ternary") for n in (0, 1)])


def test_wanted_averages_must_beat_the_best_run_unless_a_method_is_named() -> None:
    singles = [Mix("one", equal_weights([0], 2, 1), 2.0), Mix("two", equal_weights([1], 2, 1), 2.1)]
    both, soup = Mix("both", equal_weights([0, 1], 2, 1), 2.05), Mix("soup", equal_weights([0], 2, 1), 2.0)
    choice = Choice(singles, [("average", both), ("greedy", soup)])
    assert choice.before is singles[0]
    assert choice.wanted("best") is None
    assert choice.wanted("average") is both
    assert choice.wanted("greedy") is None
    better = Mix("evolved", np.array([[0.9, 0.1]]), 1.9)
    assert Choice(singles, [*choice.averages, ("evolved", better)]).wanted("best") is better
