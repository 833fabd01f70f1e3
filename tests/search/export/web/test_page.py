"""The page in a real Chromium, from a plain file server: it writes what our own sampling writes, and asks nobody else.

Most of it is skipped where the exporter's packages aren't installed or npm can't bring the runtime: `make test-exports`
installs the packages, and npm keeps what it has fetched once.
"""

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from model.config import TokenizerConfig
from model.data.corpus import Corpus, prepare
from model.errors import CheckpointError
from model.formats.checkpoint import Checkpoint
from model.formats.load import write_folder
from model.formats.tokenizer_json import tokenizer_json
from model.sample import sample
from search.common.errors import SearchError
from search.export.web import page as web
from search.export.web.page import STATIC, facts, page_files, write_page
from search.export.web.runtime import runtime_files
from tests.browser import WIDTHS, Watched, open_page
from tests.conftest import BUILTIN
from tests.model.formats.graphs import exporter_or_skip, unchecked
from tests.model.formats.lively import lively
from tests.search.export.web.pages import (
    BEGINNING,
    LIMITS,
    PATIENCE,
    TABLE,
    opened,
    release_of,
    served,
    settled,
    written,
)

CONTEXT = 96
PROMPTS = ("the ", "A list of", "x = [1, 2]\n", "", "naïve 漢字 </s>")
ODD = ("</s> <s> <unk> <0x41>", "▁ ▅  two  spaces", "", "\n\n\ttab", "naïve 😀 漢字 e\u0301 \u0000", " lead", "trail ")
NAMED = re.compile("[A-Z]")
GREEDY = {"temperature": "0", "tokens": "64"}


@pytest.fixture(scope="session")
def model(corpus: Corpus) -> Checkpoint:
    made = lively(corpus, {}, CONTEXT)
    return Checkpoint(made.network, made.tokenizer, {"val_bpb": 2.274, "budget_seconds": 1800.0})


@pytest.fixture(scope="session")
def files(model: Checkpoint) -> dict[str, bytes]:
    exporter_or_skip()
    try:
        runtime = runtime_files(None)
    except SearchError as error:
        pytest.skip(str(error))
    with unchecked():
        return page_files(release_of(model), model, runtime)


@pytest.fixture(scope="session")
def site(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page in a folder of it, whose name no page knows."""
    place = tmp_path_factory.mktemp("site")
    write_folder(place / "some where", files)
    return place


@pytest.fixture(scope="session")
def url(site: Path) -> Iterator[str]:
    with served(site) as address:
        yield f"{address}/some%20where/"


@pytest.fixture(scope="module")
def chromium(browser: Path) -> Iterator[Watched]:
    """One browser for all of this file: to start one takes longer than most of what is asked of it."""
    with open_page(WIDTHS[1]) as opening:
        yield opening


@pytest.fixture
def empty(chromium: Watched) -> Iterator[Watched]:
    """A page of its own in that browser."""
    opening = Watched(chromium.page.context.new_page())
    yield opening
    opening.page.close()


@pytest.fixture(scope="module")
def loaded(chromium: Watched, url: str) -> Watched:
    """The page with its model, once for all tests that only let it write."""
    opened(chromium.page, url)
    return chromium


@pytest.fixture
def watched(loaded: Watched) -> Iterator[Watched]:
    yield loaded
    loaded.assert_quiet()


@pytest.mark.slow
def test_a_page_writes_what_our_own_sampling_writes(watched: Watched, model: Checkpoint) -> None:
    """64 tokens after five prompts, at temperature 0."""
    settled(watched.page, GREEDY)
    for prompt in PROMPTS:
        assert written(watched.page, prompt) == sample(model, prompt, max_tokens=64, temperature=0)
    assert "tokens/s" in (watched.page.locator("#speed").text_content() or "")


@pytest.mark.slow
def test_a_workers_ids_are_those_of_our_own_sampling(watched: Watched, model: Checkpoint) -> None:
    """And a worker that is told to stop before it begins writes nothing."""
    asked = [{"type": "write", "prompt": p, "temperature": 0, "topP": 1, "maxTokens": 64} for p in PROMPTS]
    *ended, stopped = watched.page.evaluate(
        """(asked) => new Promise((resolve, reject) => {
          const worker = new Worker("worker.js", { type: "module" });
          const ended = [];
          const next = () => {
            if (ended.length > asked.length) return worker.terminate(), resolve(ended);
            worker.postMessage(asked[ended.length % asked.length]);
            if (ended.length === asked.length) worker.postMessage({ type: "stop" });
          };
          worker.onmessage = ({ data }) => {
            if (data.type === "failed") reject(new Error(data.message));
            if (data.type === "end") ended.push(data);
            if (data.type === "ready" || data.type === "end") next();
          };
          worker.postMessage({ type: "load" });
        })""",
        asked,
    )
    assert [end["ids"] for end in ended] == [greedy_ids(model, prompt, 64) for prompt in PROMPTS]
    assert (stopped["reason"], stopped["ids"]) == ("stopped", [])


@torch.no_grad()
def greedy_ids(model: Checkpoint, prompt: str, count: int) -> list[int]:
    """Return the likeliest tokens by whole forward passes, in float32, up to the end of a document."""
    ids = [model.tokenizer.separator, *model.tokenizer.encode([prompt])[0].tolist()]
    start = len(ids)
    while len(ids) < start + count:
        ids.append(int(model.network(torch.tensor([ids]))[0, -1].argmax()))
        if ids[-1] == model.tokenizer.separator:
            return ids[start:-1]
    return ids[start:]


@pytest.mark.slow
def test_a_small_top_p_takes_the_likeliest_where_that_is_likely(watched: Watched, model: Checkpoint) -> None:
    """At a temperature that leaves the others their chances: without top-p it would hardly be the likeliest 8 times."""
    settled(watched.page, {"temperature": "0.25", "top-p": "0.05", "tokens": "8"})
    assert written(watched.page, "the ") == sample(model, "the ", max_tokens=8, temperature=0)


@pytest.mark.slow
def test_a_prompt_longer_than_the_context_is_read_from_its_end_and_said_so(watched: Watched, model: Checkpoint) -> None:
    settled(watched.page, {"temperature": "0", "tokens": "8"})
    prompt = "a list of numbers and names " * 40
    count = len(model.tokenizer.encode([prompt])[0])
    written(watched.page, prompt)
    read = CONTEXT - 8 - 1
    expect(watched.page.locator("#note")).to_have_text(
        f"The prompt has {count} tokens, and the model looks back on {CONTEXT}: it has read the last {read}."
    )


@pytest.mark.slow
def test_a_text_that_fills_the_context_stops_there_and_says_so(watched: Watched, model: Checkpoint) -> None:
    settled(watched.page, {"temperature": "0", "tokens": str(CONTEXT)})
    prompt = "a list of numbers"
    text = written(watched.page, prompt)
    room = CONTEXT - len(model.tokenizer.encode([prompt])[0])
    assert text == sample(model, prompt, max_tokens=room, temperature=0)
    expect(watched.page.locator("#note")).to_contain_text(f"stopped at token {CONTEXT}")


@pytest.mark.slow
def test_the_keyboard_is_enough(watched: Watched) -> None:
    """Every control has a name and its place in the order; Ctrl+Enter writes, so does Enter on the button."""
    page = watched.page
    prompt = page.get_by_label("Prompt")
    prompt.focus()
    for control in ("#temperature", "#top-p", "#tokens", "#go"):
        page.keyboard.press("Tab")
        expect(page.locator(control)).to_be_focused()
        expect(page.locator(control)).to_have_accessible_name(NAMED)
    settled(page, {"tokens": "3", "temperature": "0"})
    for text, place, key in (("once", prompt, "Control+Enter"), ("again", page.locator("#go"), "Enter")):
        prompt.fill(text)
        place.press(key)
        expect(page.locator("#given")).to_have_text(text)
        expect(page.locator("#status")).to_contain_text("token", timeout=PATIENCE)


@pytest.mark.slow
def test_escape_stops_a_text(watched: Watched) -> None:
    settled(watched.page, {"tokens": "90", "temperature": "0"})
    watched.page.evaluate(
        """() => ["Enter", "Escape"].forEach((key) =>
          document.dispatchEvent(new KeyboardEvent("keydown", { key, ctrlKey: key === "Enter", bubbles: true })))"""
    )
    expect(watched.page.locator("#status")).to_have_text(re.compile(r"Stopped: \d+ tokens?\."), timeout=PATIENCE)


@pytest.mark.slow
def test_a_screen_reader_is_told_the_state_and_not_every_token(watched: Watched) -> None:
    page = watched.page
    settled(page, {"tokens": "5", "temperature": "0"})
    written(page, "the ")
    live = page.locator("[aria-live], [role=status], [role=alert], [role=log], output")
    assert page.locator("#status").get_attribute("role") == "status"
    held = [node.locator("#written").count() for node in live.all()]
    assert held == [0] * len(held)
    outside = "el => el.closest('[aria-live], [role=status], [role=log], [role=alert], output') === null"
    assert page.locator("#written").evaluate(outside)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_a_page_fits_its_screen(watched: Watched, scheme: Literal["dark", "light"]) -> None:
    page = watched.page
    page.emulate_media(color_scheme=scheme)
    settled(page, {"tokens": "20"})
    written(page, "x" * 300)
    page.locator("details").evaluate("details => details.open = true")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(13, 17, 23)") == (scheme == "dark")


@pytest.mark.slow
def test_a_page_shows_model_and_card_as_text(watched: Watched) -> None:
    page = watched.page
    assert page.get_by_role("heading", level=1).text_content() == TABLE["study"]
    assert page.locator("dd.bpb").text_content() == "2.2740"
    assert page.locator("pre").text_content() == BEGINNING + LIMITS


def cut(name: str, folder: Path) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def changed(name: str, folder: Path) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def missing(name: str, folder: Path) -> None:
    (folder / name).unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("model.onnx", cut, "is incomplete: "),
        ("model.onnx", changed, "differs from its checksum"),
        ("tokenizer.json", missing, "is missing on the server (404)"),
        ("model.json", cut, "is incomplete"),
        ("ort.wasm.bundle.min.js", missing, "is missing on the server"),
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_a_damaged_page_says_which_file(
    empty: Watched, site: Path, tmp_path: Path, name: str, damage: Any, said: str
) -> None:
    shutil.copytree(site / "some where", tmp_path / "page")
    damage(name, tmp_path / "page")
    with served(tmp_path / "page") as address:
        empty.page.goto(address)
        problem = empty.page.get_by_role("alert")
        expect(problem).to_contain_text(said, timeout=PATIENCE)
        expect(problem).to_contain_text(name)
        expect(empty.page.get_by_role("button", name="Write")).to_be_disabled()
    assert empty.elsewhere == []


def test_a_page_opened_as_a_file_says_how_to_serve_it(empty: Watched, model: Checkpoint, tmp_path: Path) -> None:
    release = release_of(model)
    (tmp_path / "index.html").write_text(web._html(release, model, ""))
    for name in STATIC:
        shutil.copy(Path(web.__file__).parent / name, tmp_path)
    empty.page.goto((tmp_path / "index.html").as_uri())
    expect(empty.page.get_by_role("alert")).to_contain_text("python -m http.server")
    expect(empty.page.get_by_role("button", name="Write")).to_be_disabled()
    empty.assert_quiet()


@pytest.fixture(scope="session", params=["unigram", "bpe"])
def tokenized(request: pytest.FixtureRequest, corpus: Corpus, cache: Path) -> Corpus:
    bpe = TokenizerConfig(kind="bpe", vocab_size=512, sample_bytes=300_000)
    return corpus if request.param == "unigram" else prepare(BUILTIN, bpe, cache)


def test_ids_and_texts_are_those_of_sentencepiece(empty: Watched, tokenized: Corpus, tmp_path: Path) -> None:
    """Of every validation document and of odd texts, the order of exact ties included."""
    tokenizer, ids = tokenized.tokenizer, np.asarray(tokenized.validation.ids)
    parts = [p[p != tokenizer.separator].tolist() for p in np.split(ids, np.flatnonzero(ids == tokenizer.separator))]
    texts = [*(tokenizer.decode(part) for part in parts), *ODD]
    own = [row.tolist() for row in tokenizer.encode(texts)]
    broken = [
        [*row[:3], *(i for i, p in enumerate(tokenizer.pieces()) if p.text in ("<0xE2>", "<0x82>"))] for row in own
    ]
    shutil.copy(Path(web.__file__).parent / "tokenizer.js", tmp_path)
    (tmp_path / "index.html").write_text("<!doctype html><link rel=icon href='data:,'>")
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json(tokenizer)))
    with served(tmp_path) as address:
        empty.page.goto(address)
        theirs, back = empty.page.evaluate(
            """async ([texts, rows]) => {
              const { Tokenizer } = await import("./tokenizer.js");
              const tokenizer = new Tokenizer(await (await fetch("tokenizer.json")).json());
              return [texts.map((text) => tokenizer.encode(text)), rows.map((row) => tokenizer.decode(row))];
            }""",
            [texts, own + broken],
        )
    empty.assert_quiet()
    assert len(texts) > 100
    assert theirs == own
    assert back == [tokenizer.decode(row) for row in own + broken]


def test_facts_begin_with_the_bpb_of_the_weights(model: Checkpoint) -> None:
    terms = dict(facts(TABLE, model))
    assert next(iter(terms.items())) == ("BPB", "2.2740")
    assert terms["configuration"].startswith("2.2900 (2.2700 … 2.3100), estimated from 3 seeds")
    assert terms["looks back on"] == f"{CONTEXT} tokens"


def test_a_page_is_not_written_over_something_else(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(CheckpointError, match="not an empty folder"):
        web.check(tmp_path)
    with pytest.raises(SearchError, match="create it first"):
        web.check(tmp_path / "no" / "page")
    web.check(tmp_path / "page.zip")


@pytest.mark.slow
def test_a_zip_has_the_files_of_the_folder(files: dict[str, bytes], model: Checkpoint, tmp_path: Path) -> None:
    runtime = {name: files[name] for name in ("ort.wasm.bundle.min.js", "ort-wasm-simd-threaded.wasm")}
    with unchecked():
        size = write_page(tmp_path / "page.zip", release_of(model), model, runtime)
    with zipfile.ZipFile(tmp_path / "page.zip") as archive:
        assert {*archive.namelist()} == {*files, "SHA256SUMS"}
        assert archive.read("index.html") == files["index.html"]
        assert archive.read("LICENSE-onnxruntime-web.txt").startswith(b"onnxruntime-web 1.30.0")
    assert size == sum(map(len, files.values()))
