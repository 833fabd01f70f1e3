// Runs the model beside the page: reads the prompt and writes on, a token at a time, so that the page stays free.
import { Tokenizer } from "./tokenizer.js";

const COLDEST = 1e-6; // below it the likeliest token is taken
const TOP_K = 50; // the same as `lilm-search sample`
const SHOWN_EVERY = 40; // milliseconds between two reports while a prompt is read
const pause = new MessageChannel(); // lets a stop arrive between two tokens
let model;
let stopped = false;

self.onmessage = async ({ data }) => {
  if (data.type === "stop") stopped = true;
  else await told(data.type === "load" ? () => load() : () => write(data));
};

async function told(work) {
  try {
    await work();
  } catch (error) {
    self.postMessage({ type: "failed", message: error.message });
  }
}

// Loading: every file is what the export wrote, or it is said which one isn't.

async function load() {
  const settings = await modelSettings();
  const [ort, files] = await Promise.all([runtime(), allFiles(settings.files)]);
  ort.env.wasm.numThreads = 1; // more would need headers that a plain file server doesn't send
  ort.env.wasm.wasmBinary = files["ort-wasm-simd-threaded.wasm"];
  const session = await ort.InferenceSession.create(files["model.onnx"], { executionProviders: ["wasm"] });
  const tokenizer = new Tokenizer(JSON.parse(new TextDecoder().decode(files["tokenizer.json"])));
  const first = new Float32Array(files["first.bin"].buffer);
  model = { ...settings, ort, session, tokenizer, first };
  self.postMessage({ type: "ready" });
}

async function allFiles(expected) {
  const total = sum(Object.values(expected).map((file) => file.bytes));
  const arrived = {};
  const fetchedOne = async ([name, file]) => {
    const report = (bytes) => {
      arrived[name] = bytes;
      self.postMessage({ type: "loading", done: sum(Object.values(arrived)), total });
    };
    return [name, await whole(name, file, report)];
  };
  return Object.fromEntries(await Promise.all(Object.entries(expected).map(fetchedOne)));
}

async function modelSettings() {
  const response = await fetched("model.json");
  try {
    return await response.json();
  } catch {
    throw new Error("model.json is incomplete. Copy it again.");
  }
}

async function runtime() {
  const name = "./ort.wasm.bundle.min.js";
  try {
    return await import(name);
  } catch {
    throw new Error(`${name.slice(2)} is missing on the server, or isn't whole: copy the whole folder again.`);
  }
}

async function fetched(name) {
  let response;
  try {
    response = await fetch(new URL(name, import.meta.url), { cache: "no-cache" }); // asked for anew, sent if it has changed
  } catch {
    throw new Error(`${name} can't be reached; is the server still there? Then load this page again.`);
  }
  if (!response.ok) throw new Error(`${name} is missing on the server (${response.status}): copy the whole folder again.`);
  return response;
}

async function whole(name, expected, report) {
  const bytes = await received(await fetched(name), name, report);
  const counts = `${bytes.length.toLocaleString("en")} of ${expected.bytes.toLocaleString("en")} bytes`;
  if (bytes.length < expected.bytes) throw new Error(`${name} is incomplete: ${counts} are there. Copy it again.`);
  // Browsers compute checksums on https and on this machine alone.
  if (bytes.length > expected.bytes || (crypto.subtle && (await sha256(bytes)) !== expected.sha256)) {
    throw new Error(`${name} isn't the file that was exported: it differs from its checksum. Copy it again.`);
  }
  return bytes;
}

async function received(response, name, report) {
  const parts = [];
  let length = 0;
  try {
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      report((length += value.length));
    }
  } catch {
    throw new Error(`${name} broke off after ${length.toLocaleString("en")} bytes. Load this page again.`);
  }
  const bytes = new Uint8Array(length);
  parts.reduce((place, part) => (bytes.set(part, place), place + part.length), 0);
  return bytes;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Writing: the separator's state comes with the model, each later token's from the network.

async function write({ prompt, temperature, topP, maxTokens }) {
  stopped = false;
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  const { tokens, read, all } = readable(model.tokenizer.encode(prompt), maxTokens);
  const text = new Text(Math.min(model.context, tokens.length + maxTokens + 1));
  await readPrompt(text, tokens);
  const from = model.tokenizer.decode(tokens).length;
  const ids = [];
  let firstAfter;
  const reason = await ending(text, maxTokens, ids, () => {
    const token = drawn(text.logits, temperature, topP);
    if (token === model.separator) return token;
    ids.push(token);
    firstAfter ??= seconds();
    const written = model.tokenizer.decode([...tokens, ...ids]).slice(from);
    self.postMessage({ type: "text", text: written, count: ids.length, seconds: seconds() - firstAfter, firstAfter });
    return token;
  });
  self.postMessage({ type: "end", reason, ids, read, all });
}

async function readPrompt(text, tokens) {
  let shown = performance.now();
  for (const [i, token] of tokens.entries()) {
    if (await isStopped()) return;
    await text.read(token);
    if (performance.now() - shown > SHOWN_EVERY) {
      self.postMessage({ type: "reading", done: i + 1, total: tokens.length });
      shown = performance.now();
    }
  }
}

// Writes tokens until something ends it, and returns what.
async function ending(text, maxTokens, ids, next) {
  for (;;) {
    if (await isStopped()) return "stopped";
    const token = next();
    if (token === model.separator) return "ended";
    if (ids.length >= maxTokens) return "length";
    if (text.isFull) return "context";
    await text.read(token);
  }
}

// The end of a prompt that leaves no room to write on: the model looks back on `context` tokens and no further.
function readable(tokens, maxTokens) {
  const room = model.context - Math.min(maxTokens, model.context >> 1);
  const end = tokens.length >= room ? tokens.slice(tokens.length - room + 1) : tokens;
  return { tokens: end, read: end.length, all: tokens.length };
}

function isStopped() {
  return new Promise((resolve) => {
    pause.port1.onmessage = () => resolve(stopped);
    pause.port2.postMessage(0);
  });
}

// What the network keeps of the tokens so far, beginning with the separator.
class Text {
  constructor(room) {
    const { first, vocab_size: vocabulary, row_width: width } = model;
    this.logits = first.slice(0, vocabulary);
    this.rows = new Float32Array(room * width);
    this.rows.set(first.subarray(vocabulary, vocabulary + width));
    this.memory = first.slice(vocabulary + width);
    this.length = 1;
  }

  // As far as the network looks back.
  get isFull() {
    return this.length >= model.context;
  }

  async read(token) {
    const { ort, session, row_width: width } = model;
    const rows = this.rows.subarray(0, this.length * width);
    const after = await session.run({
      token: new ort.Tensor("int64", BigInt64Array.of(BigInt(token)), [1]),
      rows: new ort.Tensor("float32", rows, [this.length, width]),
      memory: new ort.Tensor("float32", this.memory, [this.memory.length]),
    });
    this.logits = after.logits.data;
    this.rows.set(after.row.data, this.length * width);
    this.memory = after.memory_after.data;
    this.length++;
  }
}

// A token among the TOP_K likeliest, and of those among the fewest that have `topP` of the probability.
function drawn(logits, temperature, topP) {
  const best = likeliest(logits, temperature < COLDEST ? 1 : TOP_K);
  const weights = best.map((token) => Math.exp((logits[token] - logits[best[0]]) / Math.max(temperature, COLDEST)));
  const total = sum(weights);
  let before = 0;
  const kept = weights.filter((weight) => {
    const stays = topP >= 1 || before < topP * total; // the likeliest always stays: before it there is nothing
    before += weight;
    return stays;
  });
  let left = Math.random() * sum(kept);
  return best[Math.max(0, kept.findIndex((weight) => (left -= weight) < 0))];
}

function likeliest(logits, count) {
  const least = Float32Array.from(logits).sort().at(-Math.min(count, logits.length));
  const tokens = [];
  logits.forEach((logit, token) => logit >= least && tokens.push(token));
  return tokens.sort((a, b) => logits[b] - logits[a] || a - b).slice(0, count);
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
