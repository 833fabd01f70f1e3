#!/bin/sh
# Under torch.inference_mode(), autocast narrows every weight again at every use: its cache of narrowed weights, which
# works in torch.no_grad(), stays empty. A model that writes token by token in bfloat16 then copies all of its weights for
# each token, silently. The documentation recommends inference_mode as the faster of the two.
#
# Needs a python3 with venv; installs torch 2.13.0 in a temporary folder.
# Expected output (the first line names the version):
#   torch 2.13.0
#   no_grad: 1 copies of the weight in 5 uses
#   inference_mode: 5 copies of the weight in 5 uses
# Exits with 0 while it behaves so, with 1 when it no longer does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
venv/bin/python - <<'PYTHON'
import sys

import torch

print(f"torch {torch.__version__.split('+')[0]}")
layer, x = torch.nn.Linear(64, 128, bias=False), torch.randn(1, 64)


def copies(mode):
    with mode(), torch.autocast("cpu", torch.bfloat16), torch.profiler.profile(record_shapes=True) as profile:
        for _ in range(5):
            layer(x)
    shapes = [event.input_shapes for event in profile.events() if event.name == "aten::copy_"]
    return sum(shape[0] == [128, 64] for shape in shapes)


seen = {mode.__name__: copies(mode) for mode in (torch.no_grad, torch.inference_mode)}
for name, count in seen.items():
    print(f"{name}: {count} copies of the weight in 5 uses")
sys.exit(seen != {"no_grad": 1, "inference_mode": 5})
PYTHON
