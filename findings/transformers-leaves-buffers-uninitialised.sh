#!/bin/sh
# from_pretrained builds a model of one's own on the meta device, where __init__ computes nothing. A buffer that isn't
# saved (`persistent=False`: rotary angles, a mask) is then given memory that nothing writes, unless `_init_weights`
# computes it a second time: no error, no warning, and the loading info names no missing key (open upstream:
# huggingface/transformers#48892). And `_keep_in_fp32_modules_strict`, meant for weights that must not be narrowed to
# bfloat16, widens whole numbers too: uint8, as packed weights are, comes back as float32, four times its size, though
# the same buffer stays uint8 where it isn't named there.
#
# Needs a python3 with venv; installs transformers 5.24.0 and torch 2.13.0 in a temporary folder.
# Expected output (the first line names the versions):
#   transformers 5.24.0, torch 2.13.0
#   Plain: __init__ ran on meta; missing keys 0; buffer never written, packed uint8
#   Again: __init__ ran on meta; missing keys 0; buffer as computed, packed uint8
#   Strict: __init__ ran on meta; missing keys 0; buffer never written, packed float32
# Exits with 0 while it behaves so, with 1 when it no longer does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check transformers==5.24.0 torch==2.13.0
HF_HOME="$folder/hf" HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 venv/bin/python - <<'PYTHON'
import sys

import torch
import transformers

# Memory that nothing has written then reads as NaN, never as what lies there.
torch.use_deterministic_algorithms(True)
transformers.logging.disable_progress_bar()
print(f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}")


class Config(transformers.PreTrainedConfig):
    model_type = "own"


class Plain(transformers.PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(4, 4)
        self.register_buffer("packed", torch.full((8,), 200, dtype=torch.uint8))
        self.register_buffer("halves", torch.arange(64) / 2, persistent=False)
        self.built_on = self.halves.device.type
        self.post_init()


class Again(Plain):
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, Plain):
            transformers.initialization.copy_(module.halves, torch.arange(64) / 2)


class Strict(Plain):
    _keep_in_fp32_modules_strict = ["packed"]


seen = []
for kind in (Plain, Again, Strict):
    model = kind(Config())
    model.save_pretrained("saved")
    back, info = kind.from_pretrained("saved", dtype=torch.bfloat16, output_loading_info=True)
    same = torch.equal(back.halves.float(), model.halves)
    state = "as computed" if same else "never written" if back.halves.isnan().all() else "something else"
    packed = str(back.packed.dtype).removeprefix("torch.")
    seen.append(
        f"{kind.__name__}: __init__ ran on {back.built_on}; missing keys {len(info['missing_keys'])}; "
        f"buffer {state}, packed {packed}"
    )
    print(seen[-1])
rest = "__init__ ran on meta; missing keys 0; buffer"
sys.exit(
    seen
    != [
        f"Plain: {rest} never written, packed uint8",
        f"Again: {rest} as computed, packed uint8",
        f"Strict: {rest} never written, packed float32",
    ]
)
PYTHON
