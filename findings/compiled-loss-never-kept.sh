#!/bin/sh
# torch.compile keeps what it has compiled for the next process, but never the joint graph of a function that uses an
# autograd function of one's own (a fused or chunked cross-entropy, a straight-through estimator): AOTAutograd passes its
# cache by, without a word, and traces, partitions and looks up both passes again in each new process. Only Inductor's own
# kernels are found again. A switch, off by default, lets it keep such graphs too.
#
# Needs a python3 with venv, its headers, and a C++ compiler; installs torch 2.13.0 in a temporary folder.
# Expected output (the first line names the version):
#   torch 2.13.0
#   plain, by default: not kept, then found
#   own autograd function, by default: passed by, then passed by
#   own autograd function, allowed: not kept, then found
# Exits with 0 while it behaves so, with 1 when it no longer does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
cat > once.py <<'PYTHON'
import sys

import torch
from torch._dynamo.utils import counters


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, by_y):
        return 2 * ctx.saved_tensors[0] * by_y


if sys.argv[1] == "version":
    print(f"torch {torch.__version__.split('+')[0]}")
    sys.exit()
square = Square.apply if sys.argv[1] == "own" else torch.square
x = torch.arange(8.0, requires_grad=True)
torch.compile(lambda x: square(x).sin().sum())(x).backward()
words = {"autograd_cache_miss": "not kept", "autograd_cache_hit": "found", "autograd_cache_bypass": "passed by"}
print(*(word for name, word in words.items() if counters["aot_autograd"][name]))
PYTHON
twice() {  # NAME KIND ALLOWED
    export TORCHINDUCTOR_CACHE_DIR="$folder/$2$3" TORCHINDUCTOR_AUTOGRAD_CACHE_ALLOW_CUSTOM_AUTOGRAD="$3"
    first=$(venv/bin/python once.py "$2")
    echo "$1: $first, then $(venv/bin/python once.py "$2")"
}
found=$(
    venv/bin/python once.py version
    twice "plain, by default" plain 0
    twice "own autograd function, by default" own 0
    twice "own autograd function, allowed" own 1
)
echo "$found"
[ "$(echo "$found" | tail -n 3)" = "plain, by default: not kept, then found
own autograd function, by default: passed by, then passed by
own autograd function, allowed: not kept, then found" ]
