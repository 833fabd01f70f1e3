"""Options of the network by turns with the plain one, compiled steps on one CPU thread, in processor seconds.

python -m tests.benchmarks.idea_steps '{"experts": 8}' '{"mlp": "swiglu"}'

For each: operations and processor time of a step ÷ the plain network's. An option whose time grows more than its
operations has a share below 1 (operations' ratio ÷ time's ratio): it makes less of the machine than the plain network.
"""

import argparse
import json
import statistics
import time
from typing import Any

import torch

from model.config import ModelConfig, TrainConfig
from model.network.flops import count_active_parameters, count_parameters, flops_per_token
from model.network.transformer import Transformer
from model.training.step import Step

SHAPE: dict[str, Any] = {"n_layer": 4, "n_head": 2, "head_dim": 64, "context": 256}
VOCAB, BATCH = 2048, 4


def prepared(options: dict[str, Any], batch: int, compiled: str, precision: str) -> Step:
    """Return a warmed-up step."""
    net = Transformer(ModelConfig(**options), VOCAB, torch.Generator().manual_seed(0))
    training = TrainConfig(batch_size=batch, micro_batch=batch, compile=compiled, precision=precision)
    step = Step(net, training, budget_seconds=1e9)
    step.prepare()
    return step


def seconds(step: Step, rows: torch.Tensor, steps: int) -> float:
    """Return the processor seconds of a step."""
    before = time.process_time()
    for _ in range(steps):
        step(rows, 1e-4)
    return (time.process_time() - before) / steps


def main() -> None:
    """Print a table row for each option."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("options", nargs="+", help="settings of [model] as JSON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="steps of a turn")
    parser.add_argument("--compile", default="on", choices=("on", "off"))
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--shape", type=json.loads, default={}, help="settings of all networks as JSON")
    parser.add_argument("--batch", type=int, default=BATCH, help="sequences of a step")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch._dynamo.config.recompile_limit = 64  # all networks in one process
    options, shape = [{}, *map(json.loads, arguments.options)], SHAPE | arguments.shape
    rows_shape = (arguments.batch, shape["context"] + 1)
    rows = torch.randint(0, VOCAB, rows_shape, generator=torch.Generator().manual_seed(1))
    steps = [prepared(shape | o, arguments.batch, arguments.compile, arguments.precision) for o in options]
    rounds = [[seconds(step, rows, arguments.steps) for step in steps] for _ in range(arguments.rounds)]
    plain = flops_per_token(steps[0].network.config, VOCAB)
    for i, (step, option) in enumerate(zip(steps, options, strict=True)):
        config = step.network.config
        work = flops_per_token(config, VOCAB) / plain
        taken = statistics.median(r[i] / r[0] for r in rounds)
        size, active = count_parameters(config, VOCAB), count_active_parameters(config, VOCAB)
        row = f"{statistics.median(r[i] for r in rounds):.3f} s | {taken:.3f} | {work / taken:.2f}"
        print(f"| `{json.dumps(option)}` | {size:,} | {active:,} | {work:.3f} | {row} |", flush=True)


if __name__ == "__main__":
    main()
