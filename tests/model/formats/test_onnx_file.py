"""Networks as ONNX graphs, run by ONNX Runtime: token by token they give the network's own logits.

Skipped where onnx, onnxscript or onnxruntime isn't installed; `make test-exports` installs them beside the project.
What is refused is tested everywhere.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from model.config import ModelConfig
from model.errors import CheckpointError
from model.formats import onnx_file
from model.formats.onnx_file import OnnxStep, check, onnx_step, refusal
from model.options.documents import SEPARATOR
from tests.model.formats.graphs import exporter_or_skip, graph_of
from tests.model.network.case import CONTEXT, VOCAB, Case
from tests.model.network.menu import MENU, every_case
from tests.places import ROOT

NAMES = (
    *("plain", "all at once", "alibi in a window, grouped", "global every third, alibi, a further head"),
    *("keys of three, latent, normalised, in a window", "within documents and a window, grouped"),
    *("all short paths, grouped, a further head", "rings in MLPs", "ternary in MLPs, latent"),
    *("two bits, grouped, swiglu", "one expert of three, shared ones, swiglu, balanced by a loss, a further head"),
    *("every third takes a quarter, in a window, grouped, a further head",),
    "mamba2 and attention in turn, grouped, untied, a further head",
    "four tracks, grouped, in turn local and global, swiglu, normalised, a further head",
)
"""One network of each option, with as much beside it as there is: to trace one takes seconds."""
WRITTEN = {name: MENU[name] for name in NAMES}


@pytest.mark.parametrize(("option", "value", "said"), [("segment", 4, "4"), ("mixer", "megalodon", '"megalodon"')])
def test_a_memory_by_pieces_is_refused_with_the_setting(option: str, value: Any, said: str) -> None:
    reason = refusal(ModelConfig(context=CONTEXT, **{option: value}))
    assert reason is not None
    assert reason.startswith(f"{option} = {said}")


@every_case
def test_all_others_are_written(case: Case) -> None:
    by_pieces = case.config().segment or case.config().mixer == "megalodon"
    assert (refusal(case.config()) is None) == (not by_pieces)


def test_a_refusal_names_the_option_and_what_to_do() -> None:
    with pytest.raises(CheckpointError, match=r"--web page: .*segment = 4.*--huggingface"):
        check(ModelConfig(context=CONTEXT, segment=4), "--web page")


@pytest.mark.parametrize("package", onnx_file.PACKAGES)
def test_without_a_package_it_says_how_to_get_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", type(sys)("onnx"))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CheckpointError, match=rf"--web needs the package {package}: pip install 'lilm-search\[web\]'"):
        check(ModelConfig(context=CONTEXT), "--web")


def test_a_network_that_no_page_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MOST_PARAMETERS", 1000)
    with pytest.raises(CheckpointError, match=r"parameters are more than a page can hold; at most 1,000"):
        onnx_step(MENU["plain"].network())


@pytest.fixture(scope="session")
def onnxruntime() -> Any:
    exporter_or_skip()
    return pytest.importorskip("onnxruntime", reason="onnxruntime isn't installed; `make test-exports` does it")


def logits_by_steps(onnxruntime: Any, step: OnnxStep, vocab_size: int, tokens: Sequence[int]) -> np.ndarray:
    """Return the logits (T + 1, V) after the separator and after each token, as a page computes them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(step.graph, options, providers=["CPUExecutionProvider"])
    first, rows, memory = np.split(np.frombuffer(step.first, "<f4"), [vocab_size, vocab_size + step.row_width])
    logits, rows = [first], rows[None]
    for token in tokens:
        inputs = {"token": np.array([token]), "rows": rows, "memory": memory}
        after, row, memory = session.run(list(onnx_file.OUTPUTS), inputs)
        logits.append(after)
        rows = np.concatenate([rows, row])
    return np.stack(logits)


@pytest.mark.slow
def test_a_graph_says_nothing_of_the_machine_it_was_made_on(onnxruntime: Any) -> None:
    graph = graph_of(MENU["plain"].network()).graph
    assert [name for name in (b".py", b"site-packages", str(ROOT).encode()) if name in graph] == []


@pytest.mark.slow
@pytest.mark.parametrize("case", WRITTEN.values(), ids=WRITTEN)
def test_a_text_read_token_by_token_has_the_logits_of_the_network(onnxruntime: Any, case: Case) -> None:
    """Up to a whole context; the text has no separator, as no prompt and no answer has."""
    network = case.far_from_linear()
    draw = torch.Generator().manual_seed(3)
    tokens = torch.randint(SEPARATOR + 1, VOCAB, (CONTEXT - 1,), generator=draw).tolist()
    with torch.no_grad():
        own = network(torch.tensor([[SEPARATOR, *tokens]]))[0].numpy()
    steps = logits_by_steps(onnxruntime, graph_of(network), VOCAB, tokens)
    np.testing.assert_allclose(steps, own, atol=1e-4, rtol=1e-4)
