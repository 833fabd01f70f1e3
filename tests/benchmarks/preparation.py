"""Seconds and memory per 100 MB of text: ours with SentencePiece beside Hugging Face `tokenizers` on the same work.

`python -m tests.benchmarks.preparation TEXT [--copies 2]`; `pip install tokenizers` first, or that part is left out.
Each job runs in a process of its own, whose peak memory is read at its end.
"""

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from model.config import DataConfig, TokenizerConfig
from model.data.corpus import CHUNK_BYTES, _chunks, _sample, prepare, text_sha256
from model.data.tokenizer import Tokenizer, train_tokenizer

VOCAB = 6144


def read(source: str, cache: Path) -> None:
    """Read, split and store the text."""
    text_sha256(DataConfig(source=source, rows_per_document=50), cache, lambda *stage: None)


def whole(source: str, cache: Path) -> None:
    """All of it: read, train a tokenizer, encode, check."""
    prepare(DataConfig(source=source, rows_per_document=50), TokenizerConfig(vocab_size=VOCAB), cache)


def _text(cache: Path) -> Path:
    return next((cache / "text").iterdir())


def train_ours(kind: str, cache: Path) -> None:
    """Train a SentencePiece tokenizer on the sample."""
    config = TokenizerConfig(kind=kind, vocab_size=VOCAB)
    (cache / f"{kind}.model").write_bytes(train_tokenizer(_sample(_text(cache), config.sample_bytes), config))


def encode_ours(kind: str, cache: Path) -> None:
    """Encode the training text with it."""
    tokenizer = Tokenizer((cache / f"{kind}.model").read_bytes())
    with (cache / "ours.u16").open("wb") as file:
        for chunk in _chunks(_text(cache), "train"):
            file.write(np.concatenate(tokenizer.encode(chunk)).tobytes())


def train_theirs(kind: str, cache: Path) -> None:
    """Train a Hugging Face tokenizer, byte-level, on the same sample."""
    from tokenizers import Tokenizer as Theirs
    from tokenizers import decoders, models, pre_tokenizers, trainers

    pieces = Theirs(models.BPE() if kind == "bpe" else models.Unigram())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made = trainers.BpeTrainer if kind == "bpe" else trainers.UnigramTrainer
    trainer = made(vocab_size=VOCAB, initial_alphabet=alphabet, show_progress=False)
    pieces.train_from_iterator(_sample(_text(cache), TokenizerConfig().sample_bytes), trainer)
    pieces.save(str(cache / f"{kind}.json"))


def encode_theirs(kind: str, cache: Path) -> None:
    """Encode the training text with it, in batches, on all cores."""
    from tokenizers import Tokenizer as Theirs

    pieces = Theirs.from_file(str(cache / f"{kind}.json"))
    with (cache / "theirs.u16").open("wb") as file:
        for chunk in _chunks(_text(cache), "train"):
            rows = pieces.encode_batch_fast(chunk, add_special_tokens=False)
            file.write(np.concatenate([np.array(r.ids, dtype=np.uint16) for r in rows]).tobytes())


JOBS = {f.__name__: f for f in (read, whole, train_ours, encode_ours, train_theirs, encode_theirs)}


def run(job: str, argument: str, cache: Path) -> tuple[float, float]:
    """Return a job's seconds and its process's peak megabytes."""
    command = [sys.executable, "-m", "tests.benchmarks.preparation", "--job", job, argument, "--cache", str(cache)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds, megabytes = json.loads(done.stdout)
    return seconds, megabytes


def _jobs() -> Iterator[tuple[str, str, str]]:
    yield "read, split, store", "read", ""
    for kind in ("unigram", "bpe"):
        yield f"SentencePiece {kind}: train on 10 MB", "train_ours", kind
        yield f"SentencePiece {kind}: encode", "encode_ours", kind
        if importlib.util.find_spec("tokenizers"):
            yield f"tokenizers {kind}: train on 10 MB", "train_theirs", kind
            yield f"tokenizers {kind}: encode", "encode_theirs", kind


def main() -> None:
    """Print a table, or run one job of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.preparation", description=__doc__)
    parser.add_argument("text", help=".parquet, .jsonl or .txt, one line of text a row")
    parser.add_argument("--copies", type=int, default=2, help="read the text so many times, as one")
    parser.add_argument("--job", choices=sorted(JOBS), help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        start = time.perf_counter()
        JOBS[options.job](options.text, options.cache)
        print(json.dumps([time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3]))
        return
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(options.text).resolve(), options.copies, Path(folder))


def _measure(text: Path, copies: int, folder: Path) -> None:
    for i in range(copies):
        (folder / f"copy-{i}{text.suffix}").symlink_to(text)
    source, cache = str(folder / f"copy-*{text.suffix}"), folder / "cache"
    seconds, peak = run("whole", source, folder / "all")
    size = sum(int(np.load(f).sum()) for f in (folder / "all" / "text").glob("*/*.lengths.npy")) / 1e6
    print(f"{size:.0f} MB of text, a few megabytes ({CHUNK_BYTES / 1e6:.0f}) at a time, {VOCAB} tokens\n")
    print("| job | seconds | MB/s | peak memory, MB |\n|---|---:|---:|---:|")
    print(f"| all, SentencePiece unigram | {seconds:.1f} | {size / seconds:.1f} | {peak:.0f} |", flush=True)
    for title, job, kind in _jobs():
        seconds, peak = run(job, kind or source, cache)
        rate = "" if "train on" in title else f"{size / seconds:.1f}"
        print(f"| {title} | {seconds:.1f} | {rate} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
