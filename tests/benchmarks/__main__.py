"""Run the benchmark and print its tables; see README.md beside this file."""

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks import learning, steps, trials
from tests.benchmarks.quick import run as quick

PARTS = "steps, trials, learning; or proxies, which has options of its own: `proxies --help`"


def main() -> None:
    """Measure what was asked for."""
    if sys.argv[1:2] == ["proxies"]:
        from tests.benchmarks import proxies  # needs Optuna, which the other parts do without

        proxies.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["steps", "trials", "learning"], help=PARTS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of a CPU")
    parser.add_argument("--text", default="builtin", help=".txt, .jsonl or .parquet of lines; the default is builtin")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each variant's steps take")
    parser.add_argument("--round-seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds of training of a trial")
    parser.add_argument("--learning-seconds", type=float, default=30.0, help="seconds of training for the BPB")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each trainer for the BPB")
    parser.add_argument("--quick", action="store_true", help="what a GPU has to be asked, the weightiest first")
    parser.add_argument("--minutes", type=float, default=14.0, help="limit of --quick; 4 and 8 give whole answers too")
    parser.add_argument("--rehearse", action="store_true", help="--quick on tiny networks; of itself on a CPU")
    parser.add_argument("--out", type=Path, help="write the figures there too, as JSON; of --quick: quick.json")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {options.threads} threads"
    print(f"{name}, torch {torch.__version__}, {datetime.date.today()}: python -m tests.benchmarks", *sys.argv[1:])
    if options.quick:
        rehearse = options.rehearse or device.type == "cpu"
        quick.run(device, options.minutes, options.out or Path("quick.json"), rehearse)
        return
    found: dict[str, Any] = {"device": name}
    if "steps" in options.parts:
        found["steps"] = {}
        for shape in steps.shapes(device):
            found["steps"][shape.name] = steps.measure(shape, device, options.rounds, options.round_seconds)
            print(f"measured {shape.name}", file=sys.stderr, flush=True)
        _show("Steps", steps.table(found["steps"]), found, options.out)
    if "trials" in options.parts:
        found["trials"] = trials.measure(device, options.budget, options.text)
        _show("Trials", trials.table(found["trials"]), found, options.out)
    if "learning" in options.parts:
        shape = steps.shapes(device)[-1]
        found["learning"] = learning.measure(shape, device, options.learning_seconds, options.seeds, options.text)
        _show("Learning", learning.table(found["learning"]), found, options.out)


def _show(title: str, table: str, found: dict[str, Any], out: Path | None) -> None:
    print(f"\n### {title}\n\n{table}", flush=True)
    if out:  # after each part: a run that is cut off leaves what it had
        out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
