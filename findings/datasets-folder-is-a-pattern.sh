#!/bin/sh
# datasets.load_dataset(FOLDER) reads a local folder's own path as a pattern: of two sibling folders `0` and `[0-9]`,
# asking for `[0-9]` silently gives the rows of `0`; asking for `a*b` gives the rows of `aXb` as well. The folder is
# found to exist by its name, and is then searched for by the same name as a glob. No error, no warning.
#
# Expected output (the first line names the versions):
#   datasets 5.2.0, pyarrow 26.0.1
#   asked for 0: ['rows of 0']
#   asked for [0-9]: ['rows of 0']
#   asked for a*b: ['rows of a*b', 'rows of aXb']
#   asked for [x] y: EmptyDatasetError
# Exits with 0 while it behaves so, with 1 when it no longer does.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet datasets==5.2.0 pyarrow==26.0.1
HF_HOME="$place/hf" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$place/venv/bin/python" - "$place" <<'PYTHON'
import sys
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet

print(f"datasets {datasets.__version__}, pyarrow {pyarrow.__version__}")
datasets.disable_progress_bars()
base = Path(sys.argv[1]) / "folders"
for name in ("0", "[0-9]", "a*b", "aXb", "[x] y"):
    (base / name).mkdir(parents=True)
    table = pyarrow.table({"text": [f"rows of {name}"] * 3})
    pyarrow.parquet.write_table(table, base / name / "train-00000-of-00001.parquet")


def asked_for(name):
    try:
        found = sorted(set(datasets.load_dataset(str(base / name), split="train")["text"]))
    except Exception as error:
        found = type(error).__name__
    print(f"asked for {name}: {found}")
    return found


seen = [asked_for(name) for name in ("0", "[0-9]", "a*b", "[x] y")]
sys.exit(seen != [["rows of 0"], ["rows of 0"], ["rows of a*b", "rows of aXb"], "EmptyDatasetError"])
PYTHON
