"""What the database costs a worker, beside bare Optuna doing the same on the same server; see README.md here."""

import argparse
import contextlib
import datetime
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from model.data.corpus import prepare
from search.machine.preparation import tokenizers
from search.study.plan import Plan
from tests.benchmarks.load_clients import Post, work
from tests.benchmarks.load_server import Observer
from tests.benchmarks.load_study import BUDGET_SECONDS, REPORTS, Options, prepare_study
from tests.chaos.server import Server, server

AIM = 0.005
"""Of a worker's time."""


class ShortWindowError(RuntimeError):
    """The window saw too little: a longer one is needed."""


@contextlib.contextmanager
def clients(posts: Sequence[Post]) -> Iterator[list[BaseProcess]]:
    """Run these clients while the block runs."""
    os.environ["OMP_NUM_THREADS"] = "1"
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["__main__", "tests.forking.preloaded", "tests.benchmarks.load_clients"])
    processes = [forks.Process(target=work, args=(post,), daemon=True) for post in posts]
    for process in processes:
        process.start()
    try:
        yield list(processes)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


def measure(postgres: Server, options: Options, kind: str, workers: int) -> dict[str, Any]:
    """Measure so many clients of a kind on a study of their own."""
    url = prepare_study(postgres, options, kind, f"{kind}_{workers}")
    with tempfile.TemporaryDirectory(prefix="lilm-load-") as folder:
        home = Path(folder)
        (home / "cache").symlink_to(_text(options.plan))
        posts = [
            Post(kind=kind, number=i, url=url, home=home, scale=options.scale, most_delay_seconds=options.trial_seconds)
            for i in range(workers)
        ]
        with clients(posts):
            _wait_until_open(home, kind, workers)
            time.sleep(1.5 * options.trial_seconds)
            begun = time.monotonic()
            seen = Observer(postgres, f"{kind}_{workers}").observe(options.window_seconds)
            ended = time.monotonic()
        tapes = [_tape(p) for p in sorted(home.glob(f"{kind}-*.jsonl"))]
        if errors := sorted(home.glob("*.error")):
            raise RuntimeError(f"{len(errors)} of {workers} clients failed; the first: {errors[0].read_text()}")
    return {"kind": kind, "workers": workers, **digest(tapes, begun, ended), **_shares(seen, ended - begun, options)}


def memory_needed(workers: int, finished: int) -> int:
    """Return about how many bytes so many clients take: each remembers every trial that has ended."""
    return workers * (60_000_000 + 45_000 * finished)


def _refuse_to_swap(options: Options) -> None:
    """A machine that runs out of memory measures nothing, for anybody."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    needed = memory_needed(max(options.workers), options.finished)
    if needed > 0.8 * available:
        raise SystemExit(
            f"--workers {max(options.workers)} with --finished {options.finished} take about {needed / 1e9:.1f} GB, "
            f"but {available / 1e9:.1f} GB are free, of which a fifth is left alone; ask for fewer"
        )


def _text(plan: Plan) -> Path:
    """Return the folder of the prepared text, kept from one run of the benchmark to the next."""
    folder = Path(tempfile.gettempdir()) / "lilm-benchmarks"
    prepare(plan.data, tokenizers(plan)[0], folder)
    return folder


def _wait_until_open(home: Path, kind: str, workers: int) -> None:
    while len(list(home.glob(f"{kind}-*.jsonl"))) < workers:
        if errors := list(home.glob("*.error")):
            raise RuntimeError(errors[0].read_text())
        time.sleep(0.2)


def _tape(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def digest(tapes: Sequence[Sequence[dict[str, Any]]], begun: float, ended: float) -> dict[str, Any]:
    """Return how long each call took within the window, and what a whole trial cost its worker."""
    found: dict[str, Any] = {"open": float(np.median([t[0]["wall"] for t in tapes]))}
    lines = [line for tape in tapes for line in tape if begun <= line["at"] <= ended]
    whole = {"wall": 0.0, "cpu": 0.0}
    for kind, times in (("ask", 1), ("report", REPORTS), ("tell", 1)):
        of = [line for line in lines if line["kind"] == kind]
        if not of:
            raise ShortWindowError(f"no {kind} fell into the window of {ended - begun:.0f} s: a longer one is needed")
        walls = [line["wall"] for line in of]
        p50, p95 = np.percentile(walls, [50, 95])
        cpu = float(np.mean([line["cpu"] for line in of]))
        found[kind] = {"n": len(of), "p50": float(p50), "p95": float(p95), "mean": float(np.mean(walls)), "cpu": cpu}
        whole["wall"] += times * found[kind]["mean"]
        whole["cpu"] += times * cpu
    return found | {
        "database_seconds": whole["wall"],
        "call_cpu": whole["cpu"],
        "client_cpu": _client_cpu(tapes, begun),
    }


def _client_cpu(tapes: Sequence[Sequence[dict[str, Any]]], begun: float) -> float:
    """Return the processor seconds of all clients over the window, whatever they did with them."""
    lines = [[line for line in tape if line["at"] >= begun] for tape in tapes]
    return float(sum(own[-1]["total_cpu"] - own[0]["total_cpu"] for own in lines if own))


def _shares(seen: dict[str, float], window: float, options: Options) -> dict[str, float]:
    return seen | {"window": window, "trial_seconds": options.trial_seconds, "cores": float(os.cpu_count() or 1)}


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    calls = ("ask", "report", "tell")
    lines = [
        "| workers | client | ask p50 / p95, ms | report p50 / p95, ms | tell p50 / p95, ms | a trial's calls, s "
        "| of 6 min | processor s a trial: client, server | connections | wait for a lock | processors busy |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        of = " | ".join(f"{1000 * r[c]['p50']:.0f} / {1000 * r[c]['p95']:.0f}" for c in calls)
        trials = r["workers"] * r["window"] / (r["trial_seconds"] + r["database_seconds"])
        busy = (r["client_cpu"] + r["server_cpu"]) / r["window"]
        lines.append(
            f"| {r['workers']} | {r['kind']} | {of} | {r['database_seconds']:.2f} "
            f"| {r['database_seconds'] / BUDGET_SECONDS:.2%} "
            f"| {r['client_cpu'] / trials:.2f}, {r['server_cpu'] / trials:.2f} "
            f"| {r['connections']:.0f} | {r['waiting']:.2f} | {busy:.1f} of {r['cores']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure bare Optuna and ours in turn, on one server."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[64], help="at a time")
    parser.add_argument("--finished", type=int, default=2000, help="trials in the study beforehand")
    parser.add_argument("--trial-seconds", type=float, default=60.0, help="real seconds of a 6-minute trial")
    parser.add_argument("--window-seconds", type=float, default=120.0, help="of measuring")
    parser.add_argument("--kinds", nargs="+", default=["bare", "ours"], choices=["bare", "ours"])
    parser.add_argument("--quick", action="store_true", help="a minute: 4 workers, 50 trials beforehand")
    parser.add_argument("--out", type=Path, help="write the figures there too, as JSON")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = Options(
        workers=[4] if asked.quick else asked.workers,
        trial_seconds=2.0 if asked.quick else asked.trial_seconds,
        window_seconds=6.0 if asked.quick else asked.window_seconds,
        finished=50 if asked.quick else asked.finished,
    )
    results = measure_all(options, asked.kinds, asked.out)
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(
        f"{os.cpu_count()} cores, load {load}, Optuna {optuna.__version__}, {datetime.date.today()}: python -m", end=" "
    )
    print("tests.benchmarks.load", *sys.argv[1:])
    print(f"{options.finished} trials beforehand, 6 minutes in {options.trial_seconds:g} s\n\n{table(results)}")


def measure_all(
    options: Options, kinds: Sequence[str], out: Path | None = None, **settings: str
) -> list[dict[str, Any]]:
    """Measure each number of workers with each kind of client, on a server with these further settings."""
    _refuse_to_swap(options)
    results: list[dict[str, Any]] = []
    with server(max_connections="1000", **settings) as postgres:
        postgres.start()
        for workers in options.workers:
            for kind in kinds:
                results.append(measure(postgres, options, kind, workers))
                print(f"measured {workers} {kind}", file=sys.stderr, flush=True)
                if out:  # after each: a run that is cut off leaves what it had
                    out.write_text(json.dumps(results, indent=1))
    return results


if __name__ == "__main__":
    main()
