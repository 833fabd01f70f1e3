"""How fast a model writes in two trees of this project, by turns, in processor seconds: `--help` says how."""

import argparse
import ast
import itertools
import statistics
import subprocess
import sys
from pathlib import Path

CHILD = """
import sys, time
from pathlib import Path
import torch
try:
    from model import load
except ImportError:  # in trees of 1c68674 and before
    from model.checkpoint import load
from model import sample
torch.set_num_threads(1)
model = load(Path(sys.argv[1]), torch.device("cpu"))
draw, drawn = sample._draw, []
sample._draw = lambda *inputs: drawn.append(draw(*inputs)) or drawn[-1]
sample.sample(model, "the ", max_tokens=2)
for seed in sys.stdin:
    drawn.clear()
    began = time.process_time()
    text = sample.sample(model, "the ", max_tokens=int(sys.argv[2]), seed=int(seed))
    seconds = time.process_time() - began
    print(repr((seconds, sum(token != model.tokenizer.separator for token in drawn), text)), flush=True)
"""
"""What runs in each tree, with its own `model`: a sample for each seed in a line of its input."""


def main() -> None:
    """Print each tree's seconds for each text, their ratio, and whether the texts are the same."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sampling", description=__doc__)
    parser.add_argument("before", type=Path, help="tree of an earlier commit")
    parser.add_argument("checkpoint", type=Path, help="trained model that both load")
    parser.add_argument("--after", type=Path, default=Path.cwd(), help="tree to compare; the default is this one")
    parser.add_argument("--tokens", type=int, default=256, help="length of a text; seeds that end sooner are left out")
    parser.add_argument("--texts", type=int, default=5, help="number of texts")
    options = parser.parse_args()
    command = [sys.executable, "-c", CHILD, str(options.checkpoint.absolute()), str(options.tokens)]
    trees = [
        subprocess.Popen(command, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for tree in (options.before, options.after)
    ]
    ratios: list[float] = []
    for seed in itertools.count():
        after, tokens, text = _next(trees[1], seed)
        if tokens < options.tokens:
            continue  # the document ended before
        before, _, same = _next(trees[0], seed)
        ratios.append(before / after)
        verdict = "the same text" if text == same else "ANOTHER TEXT"
        seconds = f"{before:.2f} s and {after:.2f} s, {ratios[-1]:.1f} times as fast"
        print(f"seed {seed}: {tokens} tokens, {seconds}, {verdict}", flush=True)
        if len(ratios) == options.texts:
            break
    print(f"median {statistics.median(ratios):.1f} times as fast")
    for tree in trees:
        tree.communicate()


def _next(tree: "subprocess.Popen[str]", seed: int) -> tuple[float, int, str]:
    assert tree.stdin is not None
    assert tree.stdout is not None
    tree.stdin.write(f"{seed}\n")
    tree.stdin.flush()
    seconds, tokens, text = ast.literal_eval(tree.stdout.readline())
    return seconds, tokens, text


if __name__ == "__main__":
    main()
