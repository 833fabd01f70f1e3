// SentencePiece's unigram and BPE, from tokenizer.json: the same ids and the same text as SentencePiece gives.
const SPACE = "\u2581";
const BYTE = /^<0x([0-9A-F]{2})>$/;
const UNKNOWN_PENALTY = 10; // what SentencePiece takes off the lowest score for a character that is no piece
const utf8 = new TextEncoder();

export class Tokenizer {
  constructor(json) {
    const special = new Map(json.added_tokens.map((token) => [token.id, token.content]));
    const entries =
      json.model.type === "Unigram"
        ? json.model.vocab.map(([piece, score], id) => [piece, id, score])
        : Object.entries(json.model.vocab).map(([piece, id]) => [piece, id, -id]);
    this.bpe = json.model.type === "BPE";
    this.normalizers = json.normalizer.normalizers;
    this.restored = json.decoder.decoders.slice(4); // after those that make text of pieces
    this.unknown = this.bpe ? json.model.vocab[json.model.unk_token] : json.model.unk_id;
    this.ids = new Map(); // of pieces that stand for text
    this.scores = new Map();
    this.byteIds = new Map();
    this.pieces = new Map(); // id to piece, or to a byte, or to nothing
    this.longest = 1;
    let lowest = 0;
    for (const [piece, id, score] of entries) {
      const byte = BYTE.exec(piece);
      if (special.has(id)) {
        this.pieces.set(id, id === this.unknown ? " \u2047 " : "");
      } else if (byte) {
        this.byteIds.set(parseInt(byte[1], 16), id);
        this.pieces.set(id, parseInt(byte[1], 16));
      } else {
        this.pieces.set(id, piece);
        this.ids.set(piece, id);
        this.scores.set(piece, score);
        this.longest = Math.max(this.longest, Array.from(piece).length);
        lowest = Math.min(lowest, score);
      }
    }
    this.unknownScore = Math.fround(lowest - UNKNOWN_PENALTY);
  }

  encode(text) {
    if (text === "") return [];
    const characters = Array.from(this.normalized(text.toWellFormed ? text.toWellFormed() : text));
    const pieces = this.bpe ? this.merged(characters) : this.likeliest(characters);
    return pieces.flatMap((piece) => (this.ids.has(piece) ? [this.ids.get(piece)] : this.spelt(piece)));
  }

  // Reserved signs replaced, a space before the text, spaces as signs.
  normalized(text) {
    for (const step of this.normalizers) {
      text = step.type === "Prepend" ? step.prepend + text : text.replaceAll(step.pattern.String, () => step.content);
    }
    return text;
  }

  // A piece that isn't in the vocabulary, in bytes.
  spelt(piece) {
    const ids = Array.from(utf8.encode(piece), (byte) => this.byteIds.get(byte));
    return ids.includes(undefined) ? [this.unknown] : ids;
  }

  // Unigram: the way to cut the text whose scores add up to most (Viterbi), in float32 as SentencePiece adds them, so
  // that ties end alike.
  likeliest(characters) {
    const best = new Float32Array(characters.length + 1);
    const from = new Int32Array(characters.length + 1).fill(-1);
    for (let start = 0; start < characters.length; start++) {
      let piece = "";
      let single = false;
      const reached = (end, score) => {
        const total = Math.fround(best[start] + score);
        if (from[end] < 0 || total > best[end]) [best[end], from[end]] = [total, start];
      };
      for (let end = start + 1; end <= characters.length && end - start <= this.longest; end++) {
        piece += characters[end - 1];
        if (!this.scores.has(piece)) continue;
        single ||= end === start + 1;
        reached(end, Math.fround(this.scores.get(piece)));
      }
      if (!single) reached(start + 1, this.unknownScore);
    }
    const pieces = [];
    for (let end = characters.length; end > 0; end = from[end]) pieces.push(characters.slice(from[end], end).join(""));
    return pieces.reverse();
  }

  // BPE: neighbours are joined into the piece of the lowest id, the leftmost first, for as long as there is one.
  merged(symbols) {
    const rank = (i) => this.ids.get(symbols[i] + symbols[i + 1]) ?? Infinity;
    const ranks = symbols.map((_, i) => (i + 1 < symbols.length ? rank(i) : Infinity));
    for (;;) {
      let best = 0;
      for (let i = 1; i < ranks.length; i++) if (ranks[i] < ranks[best]) best = i;
      if (ranks[best] === Infinity) return symbols;
      symbols.splice(best, 2, symbols[best] + symbols[best + 1]);
      ranks.splice(best, 1);
      for (const i of [best - 1, best]) if (i >= 0) ranks[i] = i + 1 < symbols.length ? rank(i) : Infinity;
    }
  }

  decode(ids) {
    let text = "";
    let bytes = [];
    let began = false;
    for (const id of ids) {
      let piece = this.pieces.get(id) ?? "";
      if (typeof piece === "number") {
        bytes.push(piece);
        continue;
      }
      text += textOf(bytes);
      bytes = [];
      if (!began && text === "" && piece.startsWith(SPACE)) [piece, began] = [piece.slice(1), true];
      text += piece.replaceAll(SPACE, " ");
    }
    text += textOf(bytes);
    return this.restored.reduce((t, step) => t.replaceAll(step.pattern.String, () => step.content), text);
  }
}

// UTF-8 as SentencePiece decodes it: each byte that begins no character is a sign of its own, U+FFFD.
function textOf(bytes) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let i = 0; i < bytes.length; ) {
    const length = [1, 2, 3, 4].find((n) => {
      try {
        return i + n <= bytes.length && decoder.decode(Uint8Array.from(bytes.slice(i, i + n)));
      } catch {
        return false;
      }
    });
    text += length ? decoder.decode(Uint8Array.from(bytes.slice(i, i + length))) : "\uFFFD";
    i += length ?? 1;
  }
  return text;
}
