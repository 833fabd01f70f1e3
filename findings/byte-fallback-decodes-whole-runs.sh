#!/bin/sh
# The decoder that Hugging Face's tokenizers use for byte pieces (`ByteFallback`) takes a run of them as a whole: where its
# bytes are no UTF-8, each becomes a replacement character, the valid ones among them too. SentencePiece, from whose
# models such tokenizers are made, replaces the invalid bytes alone. The same ids so read differently: in
# bytes that a model has begun and not ended, what came before them is lost.
#
# Needs a python3 with venv.
# Expected output:
#   ids: ~ ~ and the first byte of a longer character
#   sentencepiece 0.2.3: '~~\ufffd'
#   tokenizers 0.23.3: '\ufffd\ufffd\ufffd'
# Exits with 0 while it behaves so, with 1 when it no longer does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check sentencepiece==0.2.3
venv/bin/pip install --quiet --disable-pip-version-check --no-deps tokenizers==0.23.3
venv/bin/python - <<'PYTHON'
import io
import sys
from importlib.metadata import version

import sentencepiece
import tokenizers

model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(["the cat sat on the mat"] * 50), model_writer=model, vocab_size=290, byte_fallback=True,
    hard_vocab_limit=False, minloglevel=2,
)
pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
names = ["<0x7E>", "<0x7E>", "<0xF4>"]
theirs = tokenizers.decoders.ByteFallback()
print("ids: ~ ~ and the first byte of a longer character")
found = {
    "sentencepiece": pieces.decode([pieces.piece_to_id(name) for name in names]),
    "tokenizers": theirs.decode(names),
}
for package, text in found.items():
    print(f"{package} {version(package)}: {ascii(text)}")
sys.exit(found != {"sentencepiece": "~~\ufffd", "tokenizers": "\ufffd\ufffd\ufffd"})
PYTHON
