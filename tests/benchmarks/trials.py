"""(b) What a trial costs beside its training: budget used, and overhead with a cold and with a warm compiler cache."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from model.config import DataConfig, TokenizerConfig, TrainConfig
from model.data.corpus import Corpus, prepare
from model.training.report_size import evaluation_tokens_per_second, report_bytes
from model.training.train import train
from tests.benchmarks.plain import Shape
from tests.benchmarks.steps import shapes

PROXY_SECONDS = 360.0


def corpus(text: str, vocab_size: int, sample_bytes: int = TokenizerConfig.sample_bytes) -> Corpus:
    """Return the text prepared for a vocabulary, kept from one run of the benchmark to the next."""
    data = DataConfig(source=text, rows_per_document=50)
    if text == "builtin":
        data = DataConfig(source=text, holdout_period=50, holdout_rows=1)
    tokenizer = TokenizerConfig(vocab_size=vocab_size, sample_bytes=sample_bytes)
    return prepare(data, tokenizer, Path(tempfile.gettempdir()) / "lilm-benchmarks")


def one(shape: Shape, device: torch.device, budget_seconds: float, text: str) -> dict[str, Any]:
    """Train one trial and return its account."""
    training = TrainConfig(batch_size=shape.batch_size, micro_batch=shape.batch_size, compile="on")
    data = corpus(text, shape.vocab_size)
    # As a study's first worker chooses it, once; not a part of the trial.
    size = report_bytes(
        (shape.config, shape.vocab_size),
        (shape.config, shape.vocab_size),
        tokens_per_second=evaluation_tokens_per_second((shape.config, shape.vocab_size), device),
        bytes_per_token=data.validation.bytes_per_token,
        budget_seconds=PROXY_SECONDS,
    )
    result = train(
        shape.config, training, data, budget_seconds=budget_seconds, seed=0, device=device, report_bytes=size
    )
    overhead = result.total_seconds - result.train_seconds
    step = result.train_seconds / result.steps
    return {
        "budget_used": result.train_seconds / budget_seconds,
        "over_by_steps": (result.train_seconds - budget_seconds) / step,
        "startup_seconds": result.startup_seconds,
        "compile_seconds": result.compile_seconds,
        "evaluate_seconds": result.evaluate_seconds,
        "overhead_of_6_minutes": overhead / PROXY_SECONDS,
        "report_bytes": size,
        "mode": result.mode,
        "mfu": result.mfu,
        "val_bpb": result.val_bpb,
    }


def measure(device: torch.device, budget_seconds: float, text: str) -> dict[str, dict[str, Any]]:
    """Return the accounts of each shape's trial, in processes of their own: cold, then warm."""
    found = {}
    for index, shape in enumerate(shapes(device)):
        corpus(text, shape.vocab_size)
        with tempfile.TemporaryDirectory() as cache:
            env = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
            arguments = [str(index), str(device), str(budget_seconds), text, str(torch.get_num_threads())]
            command = [sys.executable, "-m", "tests.benchmarks.trials", *arguments]
            for state in ("cold", "warm"):
                done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
                found[f"{shape.name}, {state}"] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    lines = [
        "| trial | budget used | over by, steps | start, s | compile, s | evaluate, s | overhead of 6 min | mode |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, r in results.items():
        seconds = " | ".join(f"{r[f'{part}_seconds']:.1f}" for part in ("startup", "compile", "evaluate"))
        lines.append(
            f"| {name} | {r['budget_used']:.2%} | {r['over_by_steps']:.2f} | {seconds} "
            f"| {r['overhead_of_6_minutes']:.1%} | {r['mode']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    chosen = torch.device(sys.argv[2])
    torch.set_num_threads(int(sys.argv[5]))
    print(json.dumps(one(shapes(chosen)[int(sys.argv[1])], chosen, float(sys.argv[3]), sys.argv[4])))
