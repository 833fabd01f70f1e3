"""What a second machine saves by graphs that a first one compiled: processor seconds to prepare a step, by turns.

python -m tests.benchmarks.compiled_sharing --rounds 3 --shape 2

Each machine is a process with a folder of its own; the second one gets the first one's signed archive, or nothing.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch._inductor.compile_fx  # the compiler's modules, which every process loads before its seconds are counted

from model.config import TrainConfig
from model.network.compiled_files import CACHE_DIR, compiled_files, machine_kind, pack, unpack
from model.network.transformer import Transformer
from model.training.step import Step
from storage.artifacts.signed import signed, verified
from tests.benchmarks.steps import shapes

KEY = b"a key of this measurement alone, of no use elsewhere"


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def machine(index: int, archive: Path, fetches: bool) -> dict[str, Any]:
    """Prepare and take a step of a shape as a machine whose folder is empty; store, or fetch, what is compiled."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    shape, kind = shapes(device)[index], machine_kind(device)
    started = _processor_seconds()
    if fetches:
        content = verified(KEY, kind, archive.read_bytes())
        assert content is not None
        unpack(content)
    fetched = _processor_seconds()
    torch.manual_seed(0)
    network = Transformer(shape.config, shape.vocab_size).to(device)
    training = TrainConfig(batch_size=shape.batch_size, micro_batch=shape.batch_size, compile="on")
    step = Step(network, training, 1e3)
    step.prepare()
    step(torch.zeros(shape.batch_size, shape.config.context + 1, dtype=torch.int64), 1e-3)
    nats = step.take_nats()
    prepared = _processor_seconds()
    if not fetches:
        files = compiled_files(device, 0.0)
        archive.write_bytes(signed(KEY, kind, pack(files)))
    stored = _processor_seconds()
    return {
        "shape": shape.name,
        "fetching": fetched - started,
        "preparing": prepared - fetched,
        "storing": stored - prepared,
        "bytes": archive.stat().st_size,
        "nats": nats,
    }


def _in_process(index: int, archive: Path, fetches: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, CACHE_DIR: folder, "TORCHINDUCTOR_COMPILE_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.benchmarks.compiled_sharing", "--machine", str(archive)]
        command += ["--shape", str(index), *(["--fetches"] if fetches else [])]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Print each round, then a row of a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compiled_sharing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", type=int, default=2, help="place among the shapes of tests.benchmarks.steps")
    parser.add_argument("--machine", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fetches", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.machine:
        print(json.dumps(machine(options.shape, options.machine, options.fetches)))
        return
    found: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(options.rounds):
            for fetches in (False, True):
                found[fetches].append(_in_process(options.shape, Path(folder) / f"{round_}.zip", fetches))
                print(json.dumps(found[fetches][-1]), flush=True)
    alone, shared = (statistics.median(r["fetching"] + r["preparing"] for r in found[f]) for f in (False, True))
    first = found[False][0]
    print(f"| {first['shape']} | {alone:.1f} | {shared:.1f} | {shared / alone:.2f} | {first['bytes'] / 1e6:.2f} |")


if __name__ == "__main__":
    main()
