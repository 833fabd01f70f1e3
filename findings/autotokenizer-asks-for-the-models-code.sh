#!/bin/sh
# transformers' AutoTokenizer asks to run a model's own code, though the tokenizer needs none of it: tokenizer.json and
# tokenizer_config.json name a class of the library, but AutoTokenizer first reads config.json, whose `auto_map` names a
# class beside it. In a script it waits 15 seconds for an answer, or as here meets the end of its input, and then goes on
# without the code, as it could have done at once: `trust_remote_code=False`, said or meant, gives the same tokenizer.
#
# Needs python3 and the package registry; installs transformers 5.24.0 in a temporary folder.
# Expected output (the first line names the version):
#   transformers 5.24.0
#   nothing said: asks, tokens [1, 2]
#   trust_remote_code=False: doesn't ask, tokens [1, 2]
#   trust_remote_code=True: doesn't ask, tokens [1, 2]
# Exits with 0 while it behaves so, with 1 when it no longer does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check transformers==5.24.0
cd "$folder"
cat > look.py <<'PYTHON'
import contextlib
import io
import json
import sys
from pathlib import Path

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

print(f"transformers {transformers.__version__}")
model = Path("model")
model.mkdir()
tokenizer = Tokenizer(models.WordLevel({"?": 0, "one": 1, "two": 2}, unk_token="?"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.save("model/tokenizer.json")
(model / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
auto_map = {"AutoConfig": "configuration_toy.ToyConfig"}
(model / "config.json").write_text(json.dumps({"model_type": "toy", "auto_map": auto_map}))
(model / "configuration_toy.py").write_text(
    'from transformers import PretrainedConfig\n\n\nclass ToyConfig(PretrainedConfig):\n    model_type = "toy"\n'
)


def loaded(**trust):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        ids = transformers.AutoTokenizer.from_pretrained("model", **trust)("one two")["input_ids"]
    return "asks" if "run the custom code?" in said.getvalue() else "doesn't ask", ids


seen = [loaded(), loaded(trust_remote_code=False), loaded(trust_remote_code=True)]
for name, (asks, ids) in zip(("nothing said", "trust_remote_code=False", "trust_remote_code=True"), seen):
    print(f"{name}: {asks}, tokens {ids}")
sys.exit([asks for asks, _ in seen] != ["asks", "doesn't ask", "doesn't ask"] or any(ids != [1, 2] for _, ids in seen))
PYTHON
venv/bin/python look.py < /dev/null
