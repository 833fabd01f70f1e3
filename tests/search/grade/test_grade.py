"""The command as a user types it: a study's models and a file's, with a judge on a real socket and without one."""

import json
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.data.corpus import Corpus, training_documents
from model.formats import checkpoint
from model.formats.checkpoint import Checkpoint
from model.formats.load import load
from model.sample import sample
from search.common import paths
from search.common.exit_codes import AWAY, MISUSED, REFUSED
from search.grade.authors import fingerprint
from search.grade.counts import words_of
from search.grade.prompts import read_prompts
from search.grade.writing import sample_seed
from search.study.plan import Plan
from search.study.study import LinkedStudy, open_study
from storage.server.database import Database
from tests.model.test_sample import lively
from tests.search.conftest import Typed
from tests.search.grade.server import Handler, JudgeServer, graded, in_turn, refused, serving
from tests.search.shown import add

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

KEY = "sk-test-0123456789abcdefghij"
PROMPTS = ("the file ", "a list of", "it is")
TEXT = """
[data]
source = "builtin"
holdout_period = 16
holdout_rows = 1
[space]
max_lr = { low = 1e-4, high = 3e-2, log = true }
[proxy]
budget = "6m"
trials = 3
startup = 2
[confirm]
budget = "30m"
"""


@pytest.fixture
def study(stored: Database, corpus: Corpus) -> LinkedStudy:
    """Three confirmed configurations: the weights of 0 (second seed alone) and 1 are stored, those of 2 are not."""
    opened = open_study(stored, Plan.parse(TEXT, name="made", origin="a test"))
    for number, bpb in enumerate((1.5, 1.6, 1.7)):
        add(opened.proxies, opened.plan, number, bpb)
    for number, seed, bpb in ((0, 100, 1.20), (0, 101, 1.21), (1, 100, 1.30), (2, 100, 1.40)):
        add(opened.confirmations, opened.plan, number, bpb, kind="top", seed=seed, confirms=number)
    folder = paths.checkpoints(opened.runs_folder)
    folder.mkdir(parents=True)
    for run, bpb in ((1, 1.21), (2, 1.30)):
        model = lively(corpus, seed=run)
        checkpoint.save(folder / f"confirm-{run}.pt", model.network, model.tokenizer, {"val_bpb": bpb})
    return opened


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of prompts, in a folder that output goes to."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "prompts.txt"
    file.write_text("".join(f"{prompt}\n" for prompt in PROMPTS) + "\n", encoding="utf-8")
    return str(file)


@pytest.fixture
def saved(home: Path, corpus: Corpus, tmp_path: Path) -> list[str]:
    """Two models in files, as options."""
    options = []
    for name, seed in (("one", 3), ("two", 4)):
        model = lively(corpus, seed=seed)
        info = {"data": Plan.parse(TEXT, name="made", origin="a test").data.table()}
        checkpoint.save(tmp_path / f"{name}.pt", model.network, model.tokenizer, info)
        options += ["--checkpoint", str(tmp_path / f"{name}.pt")]
    return options


BRIEF = ("--samples", "2", "--tokens", "6", "--device", "cpu")


def by_length(handler: Handler) -> None:
    """Grades that depend on the text alone; no plot where it has an e, and no grades at all where it has a z."""
    text = json.loads(handler.body["messages"][1]["content"])["completion"]
    plot = 1 if "e" in text else 9
    graded("nothing" if "z" in text else grades_of(len(text), plot))(handler)


def grades_of(length: int, plot: int) -> dict[str, int]:
    return {"grammar": 1 + length % 10, "creativity": 1 + length % 7, "consistency": 5, "plot": plot}


def judged(server: JudgeServer) -> tuple[str, ...]:
    return ("--judge", server.url, "--judge-model", server.model)


def read(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def everything_under(*folders: Path) -> Iterator[bytes]:
    for folder in folders:
        yield from (file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_grade_shows_means_over_prompts_of_what_the_judge_says(
    study: LinkedStudy, corpus: Corpus, saved: list[str], prompts: str, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LILM_SEARCH_JUDGE_KEY", KEY)
    given = ("grade", "--study", "made", *saved[:2], "--prompts", prompts, *BRIEF)
    prices = ("--usd-per-million-tokens", "2", "5")
    with serving(by_length) as server:
        code, out, err = typed(*given, *judged(server), *prices, "--json", "--html", "page.html")
        assert code == 0, err
        again = typed(*given, *judged(server), *prices)
        asked = len(server.seen.bodies)
    table, rows = json.loads(out), read("made-samples.jsonl")
    names = ["trial 0", "trial 1", "one"]
    assert [row["model"] for row in rows] == [name for name in names for _ in range(6)]
    assert "note: the weights of confirmation 0, 1.2000 BPB, are not stored" in err
    assert "note: the weights of confirmation 3, 1.4000 BPB, are not stored" in err

    assert table["prompts"] == 3
    expected = {name: hand_graded([row for row in rows if row["model"] == name]) for name in names}
    for model in table["models"]:
        overall = expected[model["model"]]
        assert model["measures"]["all four"]["mean"] == pytest.approx(np.nanmean(overall))
        assert model["measures"]["all four"]["prompts"] == np.isfinite(overall).sum()
        assert model["nonsense"] == sum("z" in row["completion"] for row in rows if row["model"] == model["model"])
    order = [model["model"] for model in table["models"]]
    assert order == sorted(names, key=lambda name: -np.nanmean(expected[name]))
    gap = table["models"][2]["difference_to_first"]["all four"]
    assert gap["mean"] == pytest.approx(np.nanmean(expected[order[2]] - expected[order[0]]))
    assert gap["verdict"] in ("more than chance", "may be chance", "not known")

    different = {(row["prompt"], row["completion"]) for row in rows}
    judge = table["judge"]
    assert asked == judge["answers"] == judge["requests"] == len(different)
    assert (judge["input_tokens"], judge["output_tokens"]) == (300 * asked, 20 * asked)
    assert judge["usd"] == pytest.approx((600 + 100) * asked / 1e6)
    assert again[0] == 0
    flat = " ".join(again[1].split())
    assert f"0 answers to 0 requests and {asked} kept from before" in flat
    assert "cost: $0.0000" in flat
    assert set(server.seen.authorizations) == {f"Bearer {KEY}"}
    home = Path(os.environ["LILM_SEARCH_HOME"])
    kept = list(everything_under(Path.cwd(), home / "cache" / "grade"))
    assert len(kept) > 5
    assert not any(KEY.encode() in content for content in kept)
    assert KEY not in out + err + again[1] + again[2]
    assert "trial 0" not in json.dumps(server.seen.bodies)
    page = Path("page.html").read_text(encoding="utf-8")
    assert all(f">{name}<" in page or f'"{name}"' in page for name in (*names, "grammar", "words"))


def hand_graded(rows: list[dict[str, Any]]) -> np.ndarray:
    """The mean of all four criteria of each prompt's samples, those without grades left out."""
    means = []
    for prompt in PROMPTS:
        texts = [row["completion"] for row in rows if row["prompt"] == prompt and "z" not in row["completion"]]
        values = [np.mean(list(grades_of(len(t), 1 if "e" in t else 9).values())) for t in texts]
        means.append(np.mean(values) if values else np.nan)
    return np.array(means)


def bits_of(reader: Checkpoint, prompt: str, text: str) -> float:
    """-log₂ p(text | prompt), from the network's logits of the whole, which fits into the context."""
    separator, totals = reader.tokenizer.separator, list[float]()
    for whole in (prompt, prompt + text):
        ids = [separator, *reader.tokenizer.encode([whole])[0].tolist()]
        with torch.inference_mode():
            chances = torch.log_softmax(reader.network(torch.tensor([ids]))[0].double(), dim=-1)
        totals.append(sum(float(chances[i, token]) for i, token in enumerate(ids[1:])))
    return (totals[0] - totals[1]) / math.log(2)


def test_grade_counts_without_a_judge(
    saved: list[str], corpus: Corpus, cache: Path, prompts: str, typed: Typed
) -> None:
    code, out, err = typed("grade", *saved, "--prompts", prompts, *BRIEF, "--seed", "5", "--json", "--out", "s.jsonl")
    assert code == 0, err
    table, rows = json.loads(out), read("s.jsonl")
    assert table["judge"] is None
    models = {name: load(Path(f"{name}.pt"), torch.device("cpu")) for name in ("one", "two")}
    known = {word for text in training_documents(corpus.text_sha256, cache) for word in words_of(text)}
    for model in table["models"]:
        own = [row for row in rows if row["model"] == model["model"]]
        for row in own:
            seed = sample_seed(5, row["prompt"], row["sample"])
            trained = models[row["model"]]
            assert row["completion"] == sample(trained, row["prompt"], max_tokens=6, top_k=50, seed=seed)
        size = sum(len(row["completion"].encode()) for row in own)
        for reader, network in models.items():
            bits = sum(bits_of(network, row["prompt"], row["completion"]) for row in own)
            assert model["bpb_under"][reader] == pytest.approx(bits / size, rel=1e-5)
        measures = model["measures"]
        assert measures["ended"]["mean"] == pytest.approx(np.mean([row["ended"] for row in own]))
        shares = [known_share_by_hand(own, prompt, known) for prompt in PROMPTS]
        assert measures["known"]["mean"] == pytest.approx(np.mean([share for share in shares if share is not None]))
        assert 0 < measures["distinct-1"]["mean"] <= 1
    code, out, _ = typed("grade", *saved, "--prompts", prompts, *BRIEF)
    assert code == 0
    assert "Counted" in out
    assert "BPB of what each model wrote" in out
    assert "Graded" not in out
    assert "samples: prompts-samples.jsonl" in out


def known_share_by_hand(rows: list[dict[str, Any]], prompt: str, known: set[str]) -> float | None:
    """By spelling: words that begin in the prompt count where the completion goes on with them."""
    shares = list[bool]()
    for row in rows:
        if row["prompt"] == prompt:
            whole = words_of(prompt + row["completion"])
            before = words_of(prompt)
            started = 1 if row["completion"][:1].isalpha() and prompt[-1].isalpha() else 0
            words = whole[len(before) - started :]
            cut = not row["ended"] and row["completion"][-1:].isalpha()
            shares += [word in known for word in (words[:-1] if cut else words)]
    return float(np.mean(shares)) if shares else None


def test_grade_of_every_run_or_of_the_best_alone(
    study: LinkedStudy, corpus: Corpus, prompts: str, typed: Typed
) -> None:
    model, folder = lively(corpus, seed=9), paths.checkpoints(study.runs_folder)
    checkpoint.save(folder / "confirm-0.pt", model.network, model.tokenizer, {"val_bpb": 1.20})
    for options, names in (
        (("--top", "1"), ["trial 0"]),
        (("--every-run",), ["trial 0, run 0", "trial 0, run 1", "trial 1, run 2"]),
    ):
        code, out, err = typed("grade", "--study", "made", "--prompts", prompts, *BRIEF, *options, "--json")
        assert code == 0, err
        assert [model["model"] for model in json.loads(out)["models"]] == names


def test_grade_that_is_stopped_goes_on(saved: list[str], prompts: str, typed: Typed) -> None:
    given = ("grade", *saved, "--prompts", prompts, *BRIEF, "--parallel", "1", "--json")

    def interrupting(handler: Handler) -> None:
        if handler.number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        graded()(handler)

    with serving(interrupting) as server:
        code, out, err = typed(*given, *judged(server))
        assert (code, out) == (130, "")
        assert "the same command goes on" in err
        before = len(server.seen.bodies)
        assert 3 <= before < 12
        server.reply = graded()
        code, out, _ = typed(*given, *judged(server))
    assert code == 0
    assert json.loads(out)["judge"]["kept_answers"] == before
    assert json.loads(out)["judge"]["answers"] + before == len(server.seen.bodies)


def test_grade_with_a_cap_says_what_was_left_out(saved: list[str], prompts: str, typed: Typed) -> None:
    given = ("grade", *saved, "--prompts", prompts, *BRIEF)
    with serving(graded()) as server:
        code, out, _ = typed(*given, *judged(server), "--max-requests", "4")
        assert (code, len(server.seen.bodies)) == (0, 4)
    flat = " ".join(out.split())
    assert "4 answers to 4 requests." in flat
    assert "cost: unknown" in flat
    assert "Not all were judged: --max-requests 4 is reached." in flat


def test_grade_that_a_judge_refuses_ends_in_a_line_without_the_key(
    saved: list[str], prompts: str, tmp_path: Path, typed: Typed
) -> None:
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")
    given = ("grade", *saved, "--prompts", prompts, *BRIEF, "--judge-key-file", str(key))
    with serving(refused(401, f"Incorrect API key provided: {KEY}")) as server:
        key.chmod(0o644)
        code, _, err = typed(*given, *judged(server))
        assert (code, "others can read it" in err, server.seen.bodies) == (REFUSED, True, [])
        key.chmod(0o600)
        code, out, err = typed(*given, *judged(server))
        assert (code, out) == (REFUSED, "")
        assert "refuses the key (HTTP 401)" in err.splitlines()[-1]
        server.reply = in_turn(refused(429, f"{KEY} is slow", Retry_After="9999"))
        code, _, err = typed(*given, *judged(server))
        assert code == AWAY
        assert "doesn't answer: HTTP 429: *** is slow, and asks to wait 9,999 s" in err
    assert KEY not in err
    assert server.seen.authorizations[0] == f"Bearer {KEY}"


def test_what_cannot_be_graded_is_refused_in_a_sentence(
    stored: Database, saved: list[str], prompts: str, tmp_path: Path, typed: Typed
) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    judge = ("--judge", "http://127.0.0.1:9/v1")
    files = ("grade", *saved, "--prompts", prompts)
    for arguments, message in (
        (("grade", "--prompts", prompts), "nothing to grade: name a study with --study"),
        ((*files, "--top", "2"), "--top and --every-run choose among a study's models"),
        ((*files, "--judge-model", "m"), "options of a judge are given, but no judge"),
        ((*files, *judge), "needs --judge-model"),
        ((*files, *judge, "--judge-model", "m", "--max-usd", "1"), "--max-usd needs prices"),
        ((*files, *judge, "--judge-model", "m", "--judge-options", "5"), "must be a JSON object"),
        ((*files, "--judge", "localhost:9", "--judge-model", "m"), "but must be an address such as"),
        (("grade", *saved, "--prompts", "nowhere.txt"), "can't be read: No such file"),
        (("grade", *saved, "--prompts", "prompts.csv"), "must be a file of prompts"),
        (("grade", *saved, "--prompts", str(tmp_path / "empty.txt")), "there is no prompt in it"),
        ((*files, "--out", str(tmp_path / "no" / "x.jsonl")), "does not exist; create it first"),
        (("grade", "--study", "unknown", "--prompts", prompts), "unknown"),
    ):
        code, out, err = typed(*arguments)
        assert (code, out) == (REFUSED, ""), err
        assert message in err
        assert "Traceback" not in err
    code, _, err = typed(*files, *judge, "--judge-model", "m", "--usd-per-million-tokens", "1", "x")
    assert code == MISUSED
    code, _, err = typed(*files, *judge, "--judge-model", "m", "--usd-per-million-tokens", "1", "inf")
    assert code == REFUSED
    assert "must be two numbers >= 0" in err


def test_prompts_of_text_and_of_json_lines(tmp_path: Path) -> None:
    text, rows = tmp_path / "a.txt", tmp_path / "a.jsonl"
    text.write_text("Once upon a \r\n\nThe end\n")
    rows.write_text('{"prompt": "Two\\nlines "}\n\n{"prompt": "", "x": 1}\n')
    assert read_prompts(str(text)) == ["Once upon a ", "The end"]
    assert read_prompts(str(rows)) == ["Two\nlines ", ""]
    for line, message in (
        ('{"prompt": 5}', "`prompt` is 5, but must be text"),
        ('{"text": "a"}', "has no `prompt`; there are: text"),
        ('{"prompt": "\\ud800"}', "half a surrogate pair"),
        ('{"prompt": "a"}\n{"prompt": "a"}', "line 2: the prompt of .*line 1 again"),
        ("[]", "must be an object"),
    ):
        rows.write_text(line)
        with pytest.raises(Exception, match=message):
            read_prompts(str(rows))


def test_a_fingerprint_is_of_the_weights(corpus: Corpus) -> None:
    one, same, other = lively(corpus, seed=1), lively(corpus, seed=1), lively(corpus, seed=1)
    with torch.no_grad():
        other.network.embedding.weight[0, 0] += 1e-3
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
