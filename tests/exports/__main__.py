"""Trains ideas in studies of their own and measures their exports where only `model` is; a Markdown row for each.

For each idea of `sweep-ideas`: `lilm-search start` on a study of seconds in a new embedded database, `export` as
bundle and as script. Then, in an environment with torch, numpy, sentencepiece, safetensors and this project's wheel
without its other dependencies: the bundle's BPB measured again, the script run, and its checkpoint measured too. Ends
with exit code 1 where a figure is further from its claim than float32's noise.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from tests.exports.studies import ideas, study, write_text
from tests.places import ROOT

PACKAGES = ("torch", "numpy", "sentencepiece", "safetensors")
NOISE = 1e-6
"""BPB that float32's sums may differ by between two processes on one machine."""
HEAD = "| idea | parameters | bundle | claimed | bundle, elsewhere | script's claim | its checkpoint, elsewhere |"


def main() -> int:
    """Do it for the ideas asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.exports", description=__doc__)
    parser.add_argument("--ideas", nargs="*", choices=sorted(ideas()), help="these alone; default: all")
    parser.add_argument("--seconds", type=float, default=4, help="training time of the long run")
    parser.add_argument("--python", type=Path, help="of an environment that is there; default: a new one")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="lilm-exports-", dir="/tmp") as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL runs as another user where this one is root
        python = options.python or environment(home / "elsewhere")
        write_text(home / "prose.jsonl")
        print(f"{HEAD}\n|---|--:|--:|--:|--:|--:|--:|", flush=True)
        for name in options.ideas or ideas():
            measured = [bundle, script] = one(home, name, options.seconds, python.absolute())
            failed += any(abs(m["here"] - m["claimed"]) > NOISE for m in measured)
            print(row(name, bundle, script), flush=True)
    return 1 if failed else 0


def environment(folder: Path) -> Path:
    """Make an environment for models alone, and return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*install, "--constraint", str(ROOT / "constraints.txt"), *PACKAGES, cwd=folder)
    run(*install, "--no-deps", str(ROOT), cwd=folder)
    return python


def one(home: Path, name: str, seconds: float, python: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was measured of an idea's bundle, and of the checkpoint that its script has trained."""
    place = home / name
    place.mkdir()
    (place / f"{name}.toml").write_text(study(ideas()[name], home / "prose.jsonl", seconds), encoding="utf-8")
    ours = [sys.executable, "-m", "search"]
    run(*ours, "start", "--study", f"{name}.toml", cwd=place, LILM_SEARCH_HOME=str(home / "home"))
    files = ("--bundle", "best.zip", "--format", "python", "--out", "best.py")
    run(*ours, "export", "--study", name, *files, cwd=place, LILM_SEARCH_HOME=str(home / "home"))
    away = home / "away" / name  # with these two files alone
    away.mkdir(parents=True)
    for file in ("best.zip", "best.py"):
        shutil.copy(place / file, away)
    measure = [str(python), str(Path(__file__).with_name("measure.py"))]
    text, cache = str(home / "prose.jsonl"), str(home / "away" / "cache")
    bundle = json.loads(run(*measure, "best.zip", text, cache, cwd=away))
    trained = ("--data", text, "--cache", cache, "--seconds", f"{seconds / 2:g}", "--out", "again.pt")
    run(str(python), "best.py", *trained, cwd=away)
    return bundle, json.loads(run(*measure, "again.pt", text, cache, cwd=away))


def row(name: str, bundle: dict[str, Any], script: dict[str, Any]) -> str:
    """Return what was measured as a row of the table."""
    packed = f", {bundle['packed']} matrices packed" if bundle["packed"] else ""
    cells = [name, f"{bundle['parameters']:,}", f"{bundle['bytes'] / 1000:,.0f} kB{packed}"]
    for measured in (bundle, script):
        cells += [f"{measured['claimed']:.6f}", f"off by {abs(measured['here'] - measured['claimed']):.1e}"]
    return f"| {' | '.join(cells)} |"


def run(*command: str, cwd: Path, **variables: str) -> str:
    """Run a program in a folder and return what it prints; what it says of an error is shown."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LILM_SEARCH_STORAGE")}
    env = {**inherited, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
