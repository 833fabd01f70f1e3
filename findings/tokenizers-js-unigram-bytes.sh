#!/usr/bin/env bash
# Hugging Face's tokenizers in JavaScript, `@huggingface/tokenizers`, which transformers.js encodes with, ignore
# `byte_fallback` of a unigram model in tokenizer.json. What no piece covers, a line break for one, becomes the unknown
# token, without a word, where the same file gives bytes in the `tokenizers` of Rust and Python: a model that was trained
# with bytes reads another text in a browser. (Of a BPE model the option is heeded.)
#
# Expected output:
#   tokenizers 0.23.3 (Python): a [3] b [4], line break [5]
#   @huggingface/tokenizers 0.2.0 (JavaScript): a [3] b [4], line break [0]
# Exits with 0 while it behaves so, with 1 when it no longer does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-deps tokenizers==0.23.3
npm install --silent --no-audit --no-fund @huggingface/tokenizers@0.2.0
cat > tokenizer.json <<'JSON'
{
  "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
  "post_processor": null, "decoder": {"type": "ByteFallback"},
  "model": {
    "type": "Unigram", "unk_id": 0, "byte_fallback": true,
    "vocab": [["<unk>", 0.0], ["<s>", 0.0], ["</s>", 0.0], ["a", -1.0], ["b", -2.0], ["<0x0A>", 0.0]]
  }
}
JSON
cat > ids.mjs <<'JS'
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";
const tokenizer = new Tokenizer(JSON.parse(readFileSync("tokenizer.json")), {});
console.log(JSON.stringify(["a", "b", "\n"].map((text) => tokenizer.encode(text).ids)));
JS
python=$(venv/bin/python -c '
import json, tokenizers
tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
print(json.dumps([tokenizer.encode(text).ids for text in ("a", "b", "\n")], separators=(",", ":")))')
javascript=$(node ids.mjs)
shown() { printf '%s: a %s b %s, line break %s\n' "$1" $(echo "${2:1:-1}" | sed 's/\],\[/] [/g'); }
shown "tokenizers 0.23.3 (Python)" "$python"
shown "@huggingface/tokenizers 0.2.0 (JavaScript)" "$javascript"
[ "$python" = '[[3],[4],[5]]' ] && [ "$javascript" = '[[3],[4],[0]]' ]
