"""Two checkouts by turns on one CPU thread, in processor seconds: a step, and what a trial costs beside its budget.

python -m tests.benchmarks.builds --tree ../other --rounds 7
python -m tests.benchmarks.builds --tree ../other --trials 2
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tests.nullgpu import tree
from tests.places import ROOT

SHAPES = {
    "5L d288 3h 8K, 4 × 512": ({"n_layer": 5, "n_head": 3, "head_dim": 96, "context": 512}, 8192, 4),
    "4L d128 2h 2K, 8 × 256": ({"n_layer": 4, "n_head": 2, "head_dim": 64, "context": 256}, 2048, 8),
    "3L d96 3h 2K, 16 × 128": ({"n_layer": 3, "n_head": 3, "head_dim": 32, "context": 128}, 2048, 16),
}
"""Networks by name: options, vocabulary, sequences of a step. Those of the benchmark of steps on a CPU."""
TURN_SECONDS = 2.0
"""Processor seconds of a turn, about."""
TRIAL_SECONDS = 10.0
"""Budget of a trial. What it costs beside it doesn't depend on its length: 20 evaluations, whatever lies between."""
PROXY_SECONDS = 360.0


def processor_seconds() -> float:
    """Return processor seconds of this process and of those that it waited for, the C++ compiler among them."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(r.ru_utime + r.ru_stime for r in both)


class Build:
    """A process in which a checkout's `model/` is at work."""

    def __init__(self, checkout: Path, folder: Path, work: str) -> None:
        place = folder / checkout.resolve().name
        place.mkdir(exist_ok=True)
        if not (place / "model").exists():
            (place / "model").symlink_to(checkout.resolve() / "model")  # before ours, whose tests run on it
        environment = {
            **os.environ,
            "PYTHONPATH": f"{place}:{ROOT}",
            "OMP_NUM_THREADS": "1",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
            "TORCHINDUCTOR_CACHE_DIR": str(place / "compiled"),
        }
        command = [sys.executable, "-P", "-m", "tests.benchmarks.builds", "--serve", work]
        self._process = subprocess.Popen(
            command, cwd=place, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, question: int) -> Any:
        """Return the answer; the process works only while it is asked."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):  # then there is no answer
            print(question, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a build's process ended with {self._process.wait()}: see above")
        return json.loads(line)

    def close(self) -> None:
        """Let the process end: it has no more questions to come."""
        self._process.communicate()


@contextmanager
def builds(checkouts: list[Path], folder: Path, work: str) -> Iterator[list[Build]]:
    """Start a process for each checkout, and end them."""
    processes = [Build(checkout, folder, work) for checkout in checkouts]
    try:
        yield processes
    finally:
        for process in processes:
            process.close()


def serve_steps(name: str) -> None:
    """Answer a number of steps with the processor seconds of each."""
    options, vocab_size, batch_size = SHAPES[name]
    cpu = torch.device("cpu")
    with tree.on_device(cpu):
        network = tree.network(cpu, vocab_size, **options)
        step = tree.step(network, batch_size=batch_size, micro_batch=batch_size, compile="on")
        step.prepare()
        shape = (batch_size, options["context"] + 1)
        rows = torch.randint(0, vocab_size, shape, generator=torch.Generator().manual_seed(0))
        step(rows, tree.RATE)
        for line in sys.stdin:
            start = processor_seconds()
            for _ in range(int(line)):
                step(rows, tree.RATE)
            print(json.dumps((processor_seconds() - start) / int(line)), flush=True)


def serve_trial(name: str) -> None:
    """Answer each question with the account of a trial on the built-in text, on a clock of processor seconds."""
    options, vocab_size, batch_size = SHAPES[name]
    data = tree.part("DataConfig")(source="builtin", holdout_period=50, holdout_rows=1)
    config, cache = tree.part("ModelConfig")(**options), Path(tempfile.gettempdir()) / "lilm-benchmarks"
    corpus = tree.part("prepare")(data, tree.part("TokenizerConfig")(vocab_size=vocab_size), cache)
    training = tree.part("TrainConfig")(batch_size=batch_size, micro_batch=batch_size, compile="on")
    chosen = _report_bytes(config, vocab_size, corpus)
    for _ in sys.stdin:
        result = tree.part("train")(
            config, training, corpus, budget_seconds=TRIAL_SECONDS, seed=0, clock=processor_seconds, **chosen
        )
        account = {
            part: getattr(result, f"{part}_seconds") for part in ("startup", "compile", "evaluate", "train", "total")
        }
        report = {"report bytes": int(corpus.validation.subset(chosen.get("report_bytes", 262_144)).text_bytes.sum())}
        print(json.dumps({**account, **report, "steps": result.steps}), flush=True)


def _report_bytes(config: Any, vocab_size: int, corpus: Any) -> dict[str, int]:
    """Return the size of a report as a study's first worker chooses it, where this commit chooses one."""
    try:
        choose, speed_of = tree.part("report_bytes"), tree.part("evaluation_tokens_per_second")
    except LookupError:
        return {}
    shape = (config, vocab_size)
    size = choose(
        shape,
        shape,
        tokens_per_second=speed_of(shape, torch.device("cpu"), processor_seconds),
        bytes_per_token=corpus.validation.bytes_per_token,
        budget_seconds=PROXY_SECONDS,
    )
    return {"report_bytes": size}


def compare_steps(checkouts: list[Path], rounds: int, folder: Path) -> None:
    """Print the seconds of a step in each build, and the ratio of each round by itself."""
    print("| shape | " + " | ".join(f"{c.resolve().name}, s" for c in checkouts) + " | ratio | of each round |")
    print("|---|" + "---:|" * len(checkouts) + "---:|---|")
    for name in SHAPES:
        with builds(checkouts, folder, f"steps:{name}") as processes:
            first = [process.ask(1) for process in processes]
            number = max(1, round(TURN_SECONDS / max(first)))
            seconds = turns(processes, number, rounds)
        medians = " | ".join(f"{statistics.median(one):.4f}" for one in zip(*seconds, strict=True))
        ratios = [ours / theirs for theirs, ours in seconds]
        each = ", ".join(f"{r:.3f}" for r in sorted(ratios))
        print(f"| {name} | {medians} | {statistics.median(ratios):.3f} | {each} |", flush=True)


def turns(processes: Sequence[Build], number: int, rounds: int) -> list[list[float]]:
    """Return what each process answers in each round; the one that comes last in a round comes first in the next."""
    answers = []
    for i in range(rounds):
        order = processes if i % 2 == 0 else processes[::-1]
        answered = [process.ask(number) for process in order]
        answers.append(answered if i % 2 == 0 else answered[::-1])
    return answers


def compare_trials(checkouts: list[Path], number: int, folder: Path) -> None:
    """Print what trials of the first shape cost beside their budget: one with the compiler's cache empty, then warm."""
    name = next(iter(SHAPES))
    for i in range(number + 1):
        for checkout in checkouts:
            with builds([checkout], folder, f"trial:{name}") as (process,):  # a process of its own: start-up is in it
                account = process.ask(1)
            beside = account["total"] - account["train"]
            state = "warm" if i else "cold"
            figures = ", ".join(f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in account.items())
            print(f"{checkout.resolve().name}, {state}: {beside:.1f} s beside the budget, ", end="")
            print(f"{beside / PROXY_SECONDS:.1%} of 6 minutes; {figures}", flush=True)


def main() -> None:
    """Compare what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.builds", description=__doc__)
    parser.add_argument("--tree", type=Path, help="the other checkout; figures are ours ÷ its")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each build")
    parser.add_argument("--trials", type=int, help="compare so many warm trials instead of steps")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        work, _, name = options.serve.partition(":")
        (serve_steps if work == "steps" else serve_trial)(name)
        return
    with tempfile.TemporaryDirectory() as folder:
        checkouts = [options.tree, ROOT]
        if options.trials:
            compare_trials(checkouts, options.trials, Path(folder))
        else:
            compare_steps(checkouts, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
