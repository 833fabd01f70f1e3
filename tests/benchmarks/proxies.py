"""Which proxy foretells the long run: whole short runs or prefixes of the long one, of 20% or 10% of its length?

Random configurations of a study's space are trained for the long budget, with seeds of their own, and as each proxy,
with another. On `--device cpu` seconds are counted, not measured: a step costs its operations ÷ `--flops-rate`, and
`--launch-seconds`. So a run comes out the same beside any other work, and several can run at once. On `--device cuda`
seconds are real: one process, on a GPU that does nothing else. A configuration takes 2.5 × `--long` with two seeds:
`--device cuda --long 20 --configurations 24` is 20 minutes of training. Finished runs are kept in `--keep`; the same
command goes on where it was cut off.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import torch

from model.config import DataConfig
from model.data.corpus import prepare
from model.errors import DeviceMemoryError, DivergedError
from model.network.flops import flops_per_token
from model.training.clock import SYSTEM_CLOCK, Clock
from model.training.compiling import shall_compile
from model.training.train import train
from search.study.plan import Configuration, Plan
from tests.benchmarks.proxies_table import table

HERE = Path(__file__).parent
CACHE = Path(tempfile.gettempdir()) / "lilm-benchmarks"
LONG, WHOLE, PREFIX = "long", "whole", "prefix"
SHARES = (20, 10)
"""Percent of the long budget that proxies have; the prefix of 10% is the first half of that of 20%."""
LONG_POINTS = (5, 10, 20, 40, 100)
PROXY_SEED, FIRST_LONG_SEED = 0, 100
VALIDATION = {"rows_per_document": 50, "holdout_period": 40_000, "holdout_rows": 50}
"""About 60 KB of 50 MB: measured in full at every report point, so that all figures have one noise in common."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all runs of a measurement have in common; kept with them."""

    study: str
    text: str
    long_seconds: float
    device: str
    flops_rate: float
    launch_seconds: float
    draw: int
    """Seed of the configurations."""

    def plan(self) -> Plan:
        """Return the study, on this text."""
        path = Path(self.study)
        plan = Plan.parse(path.read_text(), name=path.stem, origin=self.study)
        return replace(plan, data=self.data(plan))

    def data(self, plan: Plan) -> DataConfig:
        if self.text == "builtin":
            return replace(plan.data, source="builtin", holdout_period=50, holdout_rows=1)
        return replace(plan.data, source=self.text, **VALIDATION)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Job:
    """One run: `percent` of the long budget, whole or as a prefix of it."""

    number: int
    kind: str
    percent: int
    seed: int

    @property
    def points(self) -> tuple[int, ...]:
        """Percents of its own budget at which it reports."""
        if self.kind == PREFIX:
            return tuple(100 * s // self.percent for s in SHARES if s <= self.percent)
        return LONG_POINTS if self.kind == LONG else (100,)


class CountedClock:
    """Seconds that go on by one step's cost each time `tick` is called: `train` asks before each step whether to stop.

    It asks while it evaluates too, but then its budget's watch stands still.
    """

    def __init__(self, step_seconds: float) -> None:
        self.step_seconds, self.now = step_seconds, 0.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> bool:
        """Go on by a step."""
        self.now += self.step_seconds
        return False


def draw(plan: Plan, count: int, seed: int) -> list[Configuration]:
    """Return random configurations of a study's space."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [plan.configuration(plan.space.suggest(study.ask(), plan.fixed())) for _ in range(count)]


def jobs(count: int, seeds: int) -> Iterator[Job]:
    """Yield all runs; each configuration's first long run and proxies before anybody's second long run."""
    for number in range(count):
        yield Job(number, LONG, 100, FIRST_LONG_SEED)
        yield Job(number, PREFIX, max(SHARES), PROXY_SEED)
        for share in SHARES:
            yield Job(number, WHOLE, share, PROXY_SEED)
    for more in range(1, seeds):
        for number in range(count):
            yield Job(number, LONG, 100, FIRST_LONG_SEED + more)


def step_seconds(setup: Setup, configuration: Configuration) -> float:
    """Return what a step costs on the counted clock."""
    network, vocab = configuration.model, configuration.tokenizer.vocab_size
    tokens = configuration.train.batch_size * network.context
    return setup.launch_seconds + tokens * flops_per_token(network, vocab) / setup.flops_rate


def run(setup: Setup, job: Job, configuration: Configuration) -> dict[str, Any]:
    """Train once; returns the job with its BPB by percent of the long budget, or why there is none."""
    plan, device = setup.plan(), torch.device(setup.device)
    counted = CountedClock(step_seconds(setup, configuration))
    real = device.type == "cuda"
    clock: Clock = SYSTEM_CLOCK if real else counted
    corpus = prepare(plan.data, configuration.tokenizer, CACHE)
    compiled = real and shall_compile("auto", device, setup.long_seconds)  # one speed for short and long
    began = time.perf_counter()
    found: dict[str, Any] = asdict(job)
    try:
        result = train(
            configuration.model,
            replace(configuration.train, compile="on" if compiled else "off"),
            corpus,
            budget_seconds=setup.long_seconds * job.percent / 100,
            horizon_seconds=setup.long_seconds if job.kind == PREFIX else None,
            seed=job.seed,
            report_points=job.points,
            report_bytes=int(corpus.validation.text_bytes.sum()),
            device=device,
            clock=clock,
            should_stop=(lambda: False) if real else counted.tick,
        )
        found["bpb"] = {r.percent * job.percent / 100: r.val_bpb for r in result.reports}
        found |= {"steps": result.steps, "tokens": result.tokens, "n_params": result.n_params}
    except (DivergedError, DeviceMemoryError) as error:
        found |= {"failed": type(error).__name__, "why": str(error)}
    return found | {"real_seconds": round(time.perf_counter() - began, 1)}


class Kept:
    """Finished runs in a file of JSON lines, the setup in the first."""

    def __init__(self, path: Path, setup: Setup) -> None:
        self.path = path
        if not path.exists():
            path.write_text(json.dumps({"setup": asdict(setup)}) + "\n")
        first, *rest = [json.loads(line) for line in path.read_text().splitlines()]
        if first["setup"] != asdict(setup):
            raise SystemExit(f"--keep is {path}, but that holds runs of another setup: {first['setup']}")
        self.runs: list[dict[str, Any]] = rest

    def add(self, found: dict[str, Any]) -> None:
        """Keep one more run."""
        self.runs.append(found)
        with self.path.open("a") as file:
            file.write(json.dumps(found) + "\n")

    def has(self, job: Job) -> bool:
        """Return whether it is there already."""
        wanted = asdict(job)
        return any(all(r[k] == v for k, v in wanted.items()) for r in self.runs)


def _one_thread() -> None:
    torch.set_num_threads(1)


def measure(setup: Setup, kept: Kept, count: int, seeds: int, processes: int) -> None:
    """Do the runs that are missing, several at once, each on one thread."""
    plan = setup.plan()
    configurations = draw(plan, count, setup.draw)
    for tokenizer in {c.tokenizer for c in configurations}:
        prepare(plan.data, tokenizer, CACHE)
    missing = [job for job in jobs(count, seeds) if not kept.has(job)]
    began, total = time.monotonic(), len(missing)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, context, _one_thread) as pool:
        waiting = [pool.submit(run, setup, job, configurations[job.number]) for job in missing]
        for done, future in enumerate(concurrent.futures.as_completed(waiting), 1):
            found = future.result()
            kept.add(found)
            said = found.get("failed") or f"{list(found['bpb'].values())[-1]:.4f} BPB, {found['steps']} steps"
            what = f"{found['number']:>3} {found['kind']} {found['percent']}% seed {found['seed']}"
            minutes = (time.monotonic() - began) / 60
            print(f"{done}/{total} {minutes:.1f} min: {what}: {said}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks proxies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--study", default=str(HERE / "proxies.toml"), help="study file whose space is drawn from")
    parser.add_argument("--text", default="builtin", help=".txt, .jsonl or .parquet of lines; the default is builtin")
    parser.add_argument("--configurations", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2, help="long runs of each configuration")
    parser.add_argument("--long", type=float, default=20.0, help="seconds of a long run")
    parser.add_argument("--device", default="cpu", help="cpu: counted seconds; cuda: real ones")
    parser.add_argument("--processes", type=int, default=1, help="runs at once; 1 where seconds are real")
    parser.add_argument("--flops-rate", type=float, default=5e10, help="operations in a counted second")
    parser.add_argument("--launch-seconds", type=float, default=2e-3, help="counted cost of a step beside them")
    parser.add_argument("--draw", type=int, default=0, help="seed of the configurations")
    parser.add_argument("--keep", type=Path, default=Path("proxies.jsonl"), help="finished runs, as JSON lines")
    parser.add_argument("--table", action="store_true", help="train nothing, show what is kept")
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    setup = Setup(
        study=options.study,
        text=options.text,
        long_seconds=options.long,
        device=options.device,
        flops_rate=options.flops_rate,
        launch_seconds=options.launch_seconds,
        draw=options.draw,
    )
    kept = Kept(options.keep, setup)
    if not options.table:
        measure(setup, kept, options.configurations, options.seeds, options.processes)
    print(table(kept.runs))
