"""The model card: its lines for transformers run as they are written, with the folder and nothing of this project.

Those that need transformers are skipped where it isn't installed; `make test-exports` installs it.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.corpus import Corpus
from model.formats.checkpoint import Checkpoint
from model.formats.load import write_folder
from model.formats.safetensors_folder import files_of
from model.formats.transformers_layout import model_type
from model.sample import sample
from search.export.model_card import model_card
from tests.model.formats.lively import lively

TABLE: dict[str, Any] = {
    "study": "tiny",
    "configuration": "trial 1",
    "result": {"val_bpb": 2.5, "seeds": [0], "bpb_by_seed": [2.5], "better_than_baseline": "unknown: no baseline"},
    "baselines": [],
    "transfer": "too few",
    "warnings": [],
    "tokenizer": {"kind": "unigram"},
    "train": {"optimizer": "adamw", "max_lr": 1e-3, "schedule": "one_cycle", "batch_size": 4},
}
CLAIM: dict[str, Any] = {
    "val_bpb": 2.5,
    "budget_seconds": 60.0,
    "data": {"source": "builtin", "holdout_rows": 1, "holdout_period": 16},
    "provenance": {},
}
NETWORKS: dict[str, dict[str, Any]] = {
    "llama": {"mlp": "swiglu"},
    "arcee": {"mlp": "relu2", "mtp_heads": 1},
    "lilm": {"attention": "latent", "projection_dim": 12, "positions": "alibi"},
    "lilm, ideas": {"mlp": "swiglu", "kv_blocks": 2, "linear": "ternary"},
}


def card(model: Checkpoint, table: dict[str, Any] = TABLE) -> str:
    return model_card(table, CLAIM, model.network, "> the\nthe end")


def python_lines(text: str) -> str | None:
    block = re.search(r"```\n(from transformers.*?)```", text, re.DOTALL)
    return block and block[1]


@pytest.mark.parametrize(("kind", "options"), NETWORKS.items(), ids=NETWORKS)
def test_the_cards_lines_run_with_transformers_and_the_folder_alone(
    corpus: Corpus, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    """As written but for the folder's name; nothing of this project is imported, and the text is ours."""
    pytest.importorskip("transformers", reason="transformers isn't installed; `make test-exports` does it")
    model = lively(corpus, options, context=64)  # the prompt and all that is written: beyond it, programs differ
    with torch.no_grad():  # nor do they agree on bytes that are no UTF-8, which random weights like to write
        model.network.output_weight[[piece.kind == "byte" for piece in corpus.tokenizer.pieces()]] = 0
    assert model_type(model.network.config) == kind.split(",")[0]
    write_folder(tmp_path / "THIS", {**files_of(model), "README.md": card(model).encode()})
    lines = python_lines((tmp_path / "THIS" / "README.md").read_text())
    assert lines is not None
    assert len(lines.strip().splitlines()) == 6
    alone = "import sys; assert not {'model', 'search', 'sentencepiece'} & sys.modules.keys()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", lines + alone],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=250,
        check=False,
    )
    assert "run the custom code" not in done.stdout + done.stderr
    assert done.stdout == "the " + sample(model, "the ", max_tokens=50, temperature=0) + "\n", done.stderr


def test_a_card_says_whose_code_runs(corpus: Corpus) -> None:
    texts = {kind: card(lively(corpus, options)) for kind, options in NETWORKS.items()}
    assert "LlamaForCausalLM of transformers to the last operation" in texts["llama"]
    assert {kind: text.count('"THIS", trust_remote_code=True)') for kind, text in texts.items()} == {
        "llama": 0,
        "arcee": 0,
        "lilm": 2,  # without it AutoTokenizer asks, too
        "lilm, ideas": 2,
    }


def test_a_card_without_scores_says_nothing_of_minimal_pairs(corpus: Corpus) -> None:
    model = lively(corpus, {"mlp": "swiglu"})
    assert "inimal pairs" not in card(model)
    scored = {"accuracy": 0.5, "interval_95": [0.25, 0.75], "pairs": 4, "phenomena": {}}
    of_a_baseline = {"name": "by hand", "val_bpb": 3.0, "seeds": [0], "bpb_by_seed": [3.0], "minimal_pairs": scored}
    text = card(model, TABLE | {"baselines": [of_a_baseline]})
    assert "| these weights | **2.5000** | – |" in text
    assert "| baseline by hand, made by hand, one seed | 3.0000 (noise not known) | 50.0% (25.0% … 75.0%) |" in text
