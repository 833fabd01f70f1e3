#!/bin/sh
# torch.compiler.save_cache_artifacts() packs what torch.compile has compiled, so that another machine need not: after
# load_cache_artifacts() there every graph is a hit by torch's own counters. On a CPU most of the time is spent all the
# same: the archive has graphs and their C++ source, but none of the libraries that the C++ compiler made of it, and that
# compiler runs again for each. A copy of the cache's folder does save it.
#
# Needs a python3 with venv, its headers, and a C++ compiler; installs torch 2.13.0 in a temporary folder.
# Expected output (the first line names the version):
#   torch 2.13.0
#   first machine: graphs compiled 2, found 0; libraries built 2
#   second machine, by the archive: graphs compiled 0, found 2; libraries built 2
#   second machine, by the folder: graphs compiled 0, found 2; libraries built 0
# Exits with 0 while it behaves so, with 1 when it no longer does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
cat > once.py <<'PYTHON'
import os
import sys
from pathlib import Path

import torch
from torch._dynamo.utils import counters

cache, archive, act = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]), Path(sys.argv[1]), sys.argv[2]
if act == "version":
    print(f"torch {torch.__version__.split('+')[0]}")
    sys.exit()
if act == "load":
    torch.compiler.load_cache_artifacts(archive.read_bytes())
before = set(cache.rglob("*.main.so"))
x = torch.linspace(-1, 1, 32).reshape(4, 8)
weight = torch.linspace(1, -1, 64).reshape(8, 8).requires_grad_()
torch.compile(lambda x, w: torch.nn.functional.gelu(x @ w).square().sum())(x, weight).backward()
if act == "save":
    archive.write_bytes(torch.compiler.save_cache_artifacts()[0])
compiled, found = (counters["inductor"][f"fxgraph_cache_{kind}"] for kind in ("miss", "hit"))
print(f"graphs compiled {compiled}, found {found}; libraries built {len(set(cache.rglob('*.main.so')) - before)}")
PYTHON
machine() {  # NAME FOLDER ACT
    export TORCHINDUCTOR_CACHE_DIR="$folder/$2"
    echo "$1: $(venv/bin/python once.py archive "$3")"
}
found=$(
    TORCHINDUCTOR_CACHE_DIR="$folder/none" venv/bin/python once.py archive version
    machine "first machine" one save
    machine "second machine, by the archive" two load
    cp -r one three
    machine "second machine, by the folder" three plain
)
echo "$found"
[ "$(echo "$found" | tail -n 3)" = "first machine: graphs compiled 2, found 0; libraries built 2
second machine, by the archive: graphs compiled 0, found 2; libraries built 2
second machine, by the folder: graphs compiled 0, found 2; libraries built 0" ]
