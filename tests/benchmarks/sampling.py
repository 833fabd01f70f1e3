"""How fast a model writes in two trees of this project, by turns, in processor seconds: `--help` says how."""

import argparse
import ast
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
from model.sample import sample
torch.set_num_threads(1)
model = load(Path(sys.argv[1]), torch.device("cpu"))
sample(model, "the ", max_tokens=2)
for seed in range(int(sys.argv[3])):
    sys.stdin.readline()
    began = time.process_time()
    text = sample(model, "the ", max_tokens=int(sys.argv[2]), seed=seed)
    print(repr((time.process_time() - began, len(model.tokenizer.encode([text])[0]), text)), flush=True)
"""
"""What runs in each tree, with its own `model`: a sample for each line of its input."""


def main() -> None:
    """Print each tree's seconds for each seed, their ratio, and whether the texts are the same."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sampling", description=__doc__)
    parser.add_argument("before", type=Path, help="tree of an earlier commit")
    parser.add_argument("checkpoint", type=Path, help="trained model that both load")
    parser.add_argument("--after", type=Path, default=Path.cwd(), help="tree to compare; the default is this one")
    parser.add_argument("--tokens", type=int, default=256, help="most tokens of a text")
    parser.add_argument("--seeds", type=int, default=5, help="number of texts")
    options = parser.parse_args()
    command = [sys.executable, "-c", CHILD, str(options.checkpoint.absolute()), str(options.tokens), str(options.seeds)]
    trees = [
        subprocess.Popen(command, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for tree in (options.before, options.after)
    ]
    ratios = []
    for seed in range(options.seeds):
        (before, tokens, text), (after, _, same) = (_next(tree) for tree in trees)
        ratios.append(before / after)
        verdict = "the same text" if text == same else "ANOTHER TEXT"
        print(
            f"seed {seed}: {tokens} tokens, {before:.2f} s and {after:.2f} s, {ratios[-1]:.1f}×, {verdict}", flush=True
        )
    print(f"median {statistics.median(ratios):.1f} times as fast")
    for tree in trees:
        tree.communicate()


def _next(tree: "subprocess.Popen[str]") -> tuple[float, int, str]:
    assert tree.stdin is not None
    assert tree.stdout is not None
    tree.stdin.write("\n")
    tree.stdin.flush()
    seconds, tokens, text = ast.literal_eval(tree.stdout.readline())
    return seconds, tokens, text


if __name__ == "__main__":
    main()
