#!/bin/sh
# Text that holds what SentencePiece keeps for itself teaches its trainer less than it should, without a word (all of
# this is logged at INFO only, or not at all):
#  1. a line with U+2585 anywhere is left out whole: a text that has the sign in every line "has no sentences";
#  2. `<unk>`, `<s>`, `</s>` and `<0x41>` in a text (WikiText and Penn Treebank are full of `<unk>`) are cut out before
#     training, so that not even `<` is learned from them: 6 tokens each, however often they come; `<unq>` takes 3;
#  3. with byte_fallback and the usual character_coverage=0.9995, text with hardly any spaces loses the piece `▁`: then
#     decode(encode(x)) != x, since the dummy prefix comes back as a literal U+2581. required_chars="▁" keeps it.
#
# Expected output:
#   sentencepiece 0.2.3
#   U+2585 in every line: RuntimeError
#   tokens of <unk>: 6, of <unq>: 3
#   text without spaces comes back: False, with required_chars: True
# Exits with 0 while it behaves so, with 1 when it no longer does.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet sentencepiece==0.2.3
"$place/venv/bin/python" - <<'PYTHON'
import io
import random
import sys

import sentencepiece

print(f"sentencepiece {sentencepiece.__version__}")
WORDS = "the quick brown fox jumps over a lazy dog while seven wizards mix potent elixirs by hand".split()
draw = random.Random(1)
LINES = [" ".join(draw.choices(WORDS, k=12)) for _ in range(2000)]


def trained(lines, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=340, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.9995,
        hard_vocab_limit=False, minloglevel=3, **options,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


try:
    trained([f"{line} \u2585" for line in LINES])
    first = "trained"
except RuntimeError as error:
    first = type(error).__name__
print(f"U+2585 in every line: {first}")

unk, unq = (len(trained([line.replace("fox", name) for line in LINES]).encode(name)) for name in ("<unk>", "<unq>"))
print(f"tokens of <unk>: {unk}, of <unq>: {unq}")

dense = ["".join(draw.choices("ACGT", k=3000)) for _ in range(50)]
back = []
for options in ({}, {"required_chars": "\u2581"}):
    model = trained(dense, **options)
    back.append(model.decode(model.encode(dense[0])) == dense[0])
print(f"text without spaces comes back: {back[0]}, with required_chars: {back[1]}")
sys.exit(not (first == "RuntimeError" and unk == 6 and unq == 3 and back == [False, True]))
PYTHON
