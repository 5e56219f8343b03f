/**
 * Text from a language model, token by token, as edgekit/runtime/generate makes it: prompts read in blocks into a cache of keys and values,
 * the same draws from the same seed (numpy's PCG64), text given as soon as its characters are complete.
 */

import { chat, messagesOf } from "./chat.mjs";
import { BadInput, CheckFailed } from "./errors.mjs";
import { checked } from "./tokenise.mjs";

/** Tokens of a prompt that one run reads, from a multiple of it to the next one. */
const BLOCK = 128;
const CHUNK = 512, SCORE_BYTES = 32 * 1024 ** 2;
const LEAST = 64;
/** Tokens of a prompt that its answer is decoded with. */
const NEAR = 8;
const UNKNOWN = "\ufffd";
const BYTE = /^<0x[0-9A-Fa-f]{2}>$/;
const RANGES = {
  temperature: ["number", 0, 100], top_k: ["whole", 0, 10_000_000], top_p: ["number", 0, 1], min_p: ["number", 0, 1], repetition_penalty: ["number", 0.01, 100],
  seed: ["whole", 0, Number.MAX_SAFE_INTEGER], max_new_tokens: ["whole", 1, 16_777_216],
};
const USUAL = {
  temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: null, seed: 0, max_new_tokens: 256, stop: [], stop_token_ids: [], logit_bias: {},
};

/** Sampling settings of `edgekit.runtime.generate.sample`, strictly parsed; forms of an answer and `logprobs` are the Python runtime's. */
export function parseSampling(given) {
  const faults = Object.keys(given).filter((name) => !(name in USUAL)).map((name) => `${name}: unknown; known are ${Object.keys(USUAL).join(", ")}`);
  const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined && value !== null));
  const settings = { ...USUAL, ...said, stop: typeof said.stop === "string" ? [said.stop] : said.stop ?? [] };
  for (const [name, [kind, low, high]] of Object.entries(RANGES)) {
    const value = settings[name];
    if (value === null) continue;
    const right = kind === "whole" ? Number.isSafeInteger(value) : Number.isFinite(value);
    if (!right || value < low || value > high || (name === "top_p" && value === 0)) {
      faults.push(`${name}: ${value} is not a ${kind === "whole" ? "whole number" : "number"} from ${low} to ${high}`);
    }
  }
  if (!Array.isArray(settings.stop) || settings.stop.length > 16 || settings.stop.some((text) => typeof text !== "string" || !text || text.length > 256)) {
    faults.push("stop: not at most 16 texts of 1 to 256 characters");
  }
  const ids = settings.stop_token_ids;
  if (!Array.isArray(ids) || ids.length > 64 || ids.some((id) => !Number.isSafeInteger(id) || id < 0)) faults.push("stop_token_ids: not at most 64 token ids");
  const biased = Object.entries(settings.logit_bias);
  if (biased.length > 1024 || biased.some(([id, bias]) => !/^\d+$/.test(id) || !(Math.abs(bias) <= 100))) {
    faults.push("logit_bias: not at most 1,024 token ids with a number from -100 to 100 each");
  }
  if (faults.length) throw new BadInput("sampling settings that cannot be used", { where: "sampling", faults });
  return settings;
}

/**
 * A decoder's session with its tokenizer. `alone`: runs one piece of work at a time; `failed`: what a fault of ONNX Runtime is in words; `template`:
 * {file, source, proof, jinja} of a bundle with a chat template, see `chat`.
 * The graph takes the cache as inputs past.N.key and past.N.value and gives it back as present.N.key and present.N.value; between two runs its
 * tensors stay ONNX Runtime's, untouched.
 */
export function languageModel({ session, ort, facts, encoding, alone, failed, template }) {
  const { generation } = facts;
  const { tokenizer, document } = encoding;
  const inputs = Object.fromEntries(session().inputMetadata.map((one) => [one.name, one]));
  const vocabulary = session().outputMetadata.find((one) => one.name === "logits")?.shape?.at(-1);
  const past = Array.from({ length: generation.layers }, (_, layer) => [`${layer}.key`, `${layer}.value`]).flat();
  if (!Number.isSafeInteger(vocabulary) || !("keep" in inputs) || past.some((name) => !(`past.${name}` in inputs))) {
    throw new BadInput("not the graph of a language model for a CPU", { where: "model", fix: "use the bundle of the target web-wasm" });
  }
  const type = inputs["past.0.key"].type;
  const known = new Map(tokenizer.get_vocab());
  const tokens = Math.min([...known.values()].reduce((most, id) => Math.max(most, id), -1) + 1, vocabulary);
  const special = new Map((document.added_tokens ?? []).filter((token) => token.special).map((token) => [token.id, token.content]));
  const ends = { bos_token: generation.bos, eos_token: generation.eos[0] };
  const named = Object.entries(ends).filter(([, id]) => Number.isInteger(id)).map(([name, id]) => [name, tokenizer.id_to_token(id)]);
  const tokensOfTemplate = generation.special_tokens ?? Object.fromEntries(named);
  const talk = template === null ? null : chat({ ...template, tokens: tokensOfTemplate, special: [...special.values()] });
  const decode = (ids) => {
    const plain = ids.filter((id) => !special.has(id));
    return plain.length ? tokenizer.decode(plain, { clean_up_tokenization_spaces: false }) : "";
  };

  function emptyCache(capacity) {
    const dims = [1, generation.kv_heads, capacity, generation.head_size];
    const size = dims.reduce((one, other) => one * other, 1);
    const zeros = { float32: Float32Array, float16: globalThis.Float16Array ?? Uint16Array, int8: Int8Array }[type];
    if (zeros === undefined) throw new BadInput(`a cache of ${type}`, { where: "model" });
    return { capacity, length: 0, tensors: Object.fromEntries(past.map((name) => [name, new ort.Tensor(type, new zeros(size), dims)])) };
  }

  /** Tokens that a cache for `limit` has room for. */
  const roomFor = (limit) => Math.min(Math.max(LEAST, 2 ** Math.ceil(Math.log2(limit))), generation.context);
  const blockEnd = (length) => Math.floor(length / BLOCK) * BLOCK + BLOCK;

  /** Logits of the last `keep` of `ids`, which are appended to the cache: rows of `vocabulary` numbers. */
  async function read(ids, cache, keep = 1) {
    const after = cache.length + ids.length;
    const feeds = {
      input_ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]),
      seqlens_k: new ort.Tensor("int32", Int32Array.of(after - 1), [1]),
      total_sequence_length: new ort.Tensor("int32", Int32Array.of(after), []),
      keep: new ort.Tensor("int64", BigInt64Array.of(BigInt(keep)), [1]),
      ...Object.fromEntries(past.map((name) => [`past.${name}`, cache.tensors[name]])),
    };
    const found = await alone(async () => {
      try {
        return await session().run(feeds);
      } catch (fault) {
        throw failed(fault);
      }
    });
    cache.tensors = Object.fromEntries(past.map((name) => [name, found[`present.${name}`]]));
    cache.length = after;
    return Array.from({ length: keep }, (_, row) => found.logits.data.subarray(row * vocabulary, (row + 1) * vocabulary));
  }

  /** Ids of a text that is gone on with, or, where `special` is false, of a conversation as the template wrote it. */
  function encode(prompt, special = true) {
    const ids = encoding.encode(special ? checked(prompt) : prompt, null, { special }).map((token) => token.id);
    if (!ids.length) throw new BadInput("the prompt is empty: no tokens are left of it", { fix: "give at least one word" });
    return inside(ids);
  }

  /** Ids of the prompt in an input: {messages: [...]}, or a text, which is a user's message where there is a chat template, unless `asChat` is false. */
  async function prompted(item, asChat) {
    const messages = messagesOf(item);
    if (messages === null && (talk === null ? asChat !== true : asChat === false)) return encode(item);
    if (talk === null) throw new BadInput("this model has no chat template", { fix: "give a text" });
    if (messages !== null && asChat === false) throw new BadInput("chat: false is for texts, and this is a conversation", { fix: "leave it out" });
    return encode(await talk.write(messages ?? [{ role: "user", content: checked(item) }]), false);
  }

  function inside(ids) {
    const beyond = ids.find((id) => id < 0 || id >= vocabulary);
    if (beyond !== undefined) throw new BadInput(`token id ${beyond} leaves the vocabulary of ${vocabulary}`);
    return ids;
  }

  function fits(ids, room) {
    if (ids.length + room <= generation.context) return;
    const problem = ids.length === generation.context ? "leave no room for an answer in" : "are more than";
    throw new BadInput(`the prompt's ${ids.length} tokens ${problem} the context of ${generation.context}`, { fix: "shorten it" });
  }

  /** Natural logarithm of the probability of each of `ids` after the first, given those before. */
  async function score(ids) {
    fits(inside(ids), 0);
    if (ids.length < 2) throw new BadInput("a text of one token has none that could be predicted", { fix: "give at least two words" });
    const cache = emptyCache(ids.length);
    const step = Math.max(1, Math.min(CHUNK, Math.floor(SCORE_BYTES / (4 * vocabulary))));
    const values = [];
    for (let start = 0; start < ids.length - 1; start += step) {
      const part = ids.slice(start, Math.min(start + step, ids.length - 1));
      (await read(part, cache, part.length)).forEach((row, index) => values.push(logProbability(row, ids[start + 1 + index])));
    }
    if (!values.every(Number.isFinite)) throw new CheckFailed("the model gave NaN or Inf instead of logits");
    return values;
  }

  /** The answer to a prompt, a piece a token: {text, token, ended}; the last one, and only it, says why the answer ended. */
  async function* stream(prompt, { chat: asChat, ...given } = {}) {
    const settings = parseSampling(given);
    yield* continued(await prompted(prompt, asChat), settings);
  }

  async function* continued(ids, settings) {
    fits(ids, 1);
    const wanted = ids.length + settings.max_new_tokens;
    const limit = Math.min(wanted, generation.context);
    const stopping = [...special].filter(([, name]) => settings.stop.includes(name)).map(([id]) => id);
    const ends = new Set([...generation.eos, ...settings.stop_token_ids, ...stopping]);
    const choose = sampler({ ...settings, repetition_penalty: settings.repetition_penalty ?? generation.repetition_penalty ?? null }, ids, tokens);
    const text = detokeniser(ids), stops = stopTexts(settings.stop);
    const cache = emptyCache(roomFor(limit));
    const all = [...ids];
    const rest = () => {
      if (stops.found()) return "";
      const more = stops.push(text.finish());
      return stops.found() ? more : more + stops.finish();
    };
    while (true) {
      let logits;
      while (cache.length < all.length) {
        const end = cache.length < ids.length ? Math.min(blockEnd(cache.length), ids.length) : all.length;
        [logits] = await read(all.slice(cache.length, end), cache);
      }
      const token = choose(logits);
      all.push(token);
      const ending = ends.has(token);
      const piece = ending ? "" : stops.push(text.push(token), special.get(token) ?? "");
      if (ending || stops.found()) {
        yield { text: piece + rest(), token, ended: "stop" };
        return;
      }
      if (all.length >= limit) {
        const more = rest();
        yield { text: piece + more, token, ended: stops.found() ? "stop" : wanted <= generation.context ? "length" : "context" };
        return;
      }
      yield { text: piece, token, ended: null };
    }
  }

  /** The whole answer: {text, ended, prompt_tokens, new_tokens}. */
  async function run(prompt, { chat: asChat, ...given } = {}) {
    const settings = parseSampling(given), ids = await prompted(prompt, asChat);
    const parts = [];
    let ended = null;
    for await (const piece of continued(ids, settings)) {
      parts.push(piece.text);
      ended = piece.ended;
    }
    return { text: parts.join(""), ended, prompt_tokens: ids.length, new_tokens: parts.length };
  }

  /** What makes tokens without an end, for benchmarks: (ids, tokens that a new cache must hold, or 0 to go on with the last one) -> the likeliest token. */
  function stepper() {
    let cache = null;
    return async (ids, room) => {
      if (room) cache = emptyCache(roomFor(room));
      let logits;
      for (let start = 0, end; start < ids.length; start = end) {
        end = Math.min(start + blockEnd(cache.length) - cache.length, ids.length);
        [logits] = await read(ids.slice(start, end), cache);
      }
      return likeliest(logits.subarray(0, tokens));
    };
  }

  /** Takes tokens one by one and gives their text; `before`: the tokens that it continues. */
  function detokeniser(prompt) {
    let before = prompt.slice(-NEAR), held = [];
    const isByte = (id) => BYTE.test(tokenizer.id_to_token(id) ?? "");
    if (isByte(before.at(-1)) || decode(before).endsWith(UNKNOWN)) before = [];
    const whole = () => decode([...before, ...held]).slice(decode(before).length);
    return {
      push(token) {
        if (special.has(token) || tokenizer.id_to_token(token) === undefined) return "";
        held.push(token);
        if (isByte(token)) return "";
        const text = whole();
        if (text.endsWith(UNKNOWN)) return "";
        [before, held] = [held, []];
        return text;
      },
      finish() {
        const text = held.length ? whole() : "";
        [before, held] = [[...before, ...held], []];
        return text;
      },
    };
  }

  return {
    run,
    stream,
    stepper,
    talk,
    context: generation.context,
    encode,
    decode,
    /** The window of a text whose tokens are scored. */
    windows: (item) => [{ ids: encode(item), types: null, truncated: false }],
    score,
    answer: ([{ data: values }], [window]) => {
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      return { tokens: window.ids.length, log_probability: Number(mean.toFixed(6)), perplexity: Number(Math.exp(-mean).toFixed(4)) };
    },
  };
}

const likeliest = (logits) => logits.reduce((best, value, id) => (value > logits[best] ? id : best), 0);

function logProbability(logits, token) {
  const top = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  return logits[token] - top - Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0));
}

/** Passes text on up to the first stop text, holding back what may be the beginning of one. */
export function stopTexts(stops) {
  let held = "", shown = [], found = false;
  const longest = Math.max(1, ...stops.map((stop) => stop.length)) - 1;
  function give(length, drop = false) {
    const text = Array.from({ length }, (_, index) => (shown[index] ? held[index] : "")).join("");
    [held, shown] = drop ? ["", []] : [held.slice(length), shown.slice(length)];
    return text;
  }
  return {
    found: () => found,
    push(text, hidden = "") {
      held += text + hidden;
      shown.push(...new Array(text.length).fill(true), ...new Array(hidden.length).fill(false));
      const ends = stops.map((stop) => [held.indexOf(stop), stop.length]).filter(([start]) => start >= 0).map(([start, size]) => [start + size, start]);
      if (ends.length) {
        found = true;
        return give(ends.sort((one, other) => one[0] - other[0] || one[1] - other[1])[0][1], true);
      }
      for (let index = Math.max(0, held.length - longest); index < held.length; index++) {
        if (stops.some((stop) => stop.startsWith(held.slice(index)))) return give(index);
      }
      return give(held.length);
    },
    finish: () => give(held.length),
  };
}

/** The choice of the next token by its logits, with what was seen so far. */
export function sampler(settings, prompt, tokens) {
  const random = numpyRandom([settings.seed, 0]);
  const seen = new Set(prompt.filter((id) => id < tokens));
  const biased = Object.entries(settings.logit_bias).map(([id, bias]) => [Number(id), Math.fround(bias)]);
  const unknown = [...settings.stop_token_ids, ...biased.map(([id]) => id)].find((id) => id >= tokens);
  if (unknown !== undefined) throw new BadInput(`${unknown} is not among the ${tokens} token ids that the model can give`, { where: "sampling" });
  return (given) => {
    const logits = given.slice(0, tokens);
    if (!Number.isFinite(logits.reduce((most, value) => (value > most || Number.isNaN(value) ? value : most), -Infinity))) {
      throw new CheckFailed("the model gave NaN or Inf instead of logits");
    }
    if (settings.repetition_penalty !== null && settings.repetition_penalty !== 1) {
      const penalty = Math.fround(settings.repetition_penalty);
      for (const id of seen) logits[id] = logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty;
    }
    for (const [id, bias] of biased) logits[id] += bias;
    let token = 0;
    if (settings.temperature === 0) token = likeliest(logits);
    else {
      const [kept, probabilities] = keptTokens(logits, settings);
      let sum = 0;
      const bounds = probabilities.map((value) => (sum += value));
      const draw = random() * sum;
      const index = bounds.findIndex((bound) => bound > draw);
      token = kept[index < 0 ? kept.length - 1 : index];
    }
    seen.add(token);
    return token;
  };
}

/** [ids in ascending order, their probabilities] that temperature, top-k, top-p and min-p leave. */
function keptTokens(logits, { temperature, top_k: topK, top_p: topP, min_p: minP }) {
  let kept = Array.from(logits, (_, id) => id);
  if (topK > 0 && topK < logits.length) {
    const least = Float32Array.from(logits).sort().at(-topK);
    kept = kept.filter((id) => logits[id] >= least);
  }
  const top = Math.max(...kept.map((id) => logits[id]));
  let scores = kept.map((id) => (logits[id] - top) / temperature);
  let probabilities = softmax(scores);
  if (topP < 1) {
    const likely = kept.map((_, index) => index).filter((index) => probabilities[index] >= (0.99 * (1 - topP)) / probabilities.length);
    likely.sort((one, other) => probabilities[other] - probabilities[one] || one - other);
    let before = 0;
    const inside = likely.filter((index, place) => {
      const taken = place === 0 || before < topP;
      before += probabilities[index];
      return taken;
    }).sort((one, other) => one - other);
    [kept, scores] = [inside.map((index) => kept[index]), inside.map((index) => scores[index])];
    probabilities = softmax(scores);
  }
  if (minP > 0) {
    const least = minP * Math.max(...probabilities);
    const enough = probabilities.map((_, index) => index).filter((index) => probabilities[index] >= least);
    const sum = enough.reduce((total, index) => total + probabilities[index], 0);
    [kept, probabilities] = [enough.map((index) => kept[index]), enough.map((index) => probabilities[index] / sum)];
  }
  return [kept, probabilities];
}

function softmax(scores) {
  const top = scores.reduce((most, value) => Math.max(most, value), -Infinity);
  const exponents = scores.map((value) => Math.exp(value - top));
  const sum = exponents.reduce((total, value) => total + value, 0);
  return exponents.map((value) => value / sum);
}

/** Doubles in [0, 1) as numpy's `default_rng(entropy).random()` draws them: SeedSequence (O'Neill's seed_seq_fe) and PCG64 (XSL RR 128/64). */
export function numpyRandom(entropy) {
  const words = entropy.flatMap((number) => (number < 2 ** 32 ? [number] : [number % 2 ** 32, Math.floor(number / 2 ** 32)]));
  const hasher = (constant, factor) => (value) => {
    const mixed = value ^ constant;
    constant = Math.imul(constant, factor);
    const product = Math.imul(mixed, constant);
    return (product ^ (product >>> 16)) >>> 0;
  };
  const mix = (one, other) => {
    const result = Math.imul(0xca01f9dd, one) - Math.imul(0x4973f715, other);
    return (result ^ ((result >>> 0) >>> 16)) >>> 0;
  };
  const hash = hasher(0x43b0d7e5, 0x931e8875);
  const pool = Array.from({ length: 4 }, (_, index) => hash(words[index] ?? 0));
  for (let source = 0; source < 4; source++) {
    for (let place = 0; place < 4; place++) if (source !== place) pool[place] = mix(pool[place], hash(pool[source]));
  }
  for (const word of words.slice(4)) for (let place = 0; place < 4; place++) pool[place] = mix(pool[place], hash(word));
  const make = hasher(0x8b51f9dd, 0x58f38ded);
  const state32 = Array.from({ length: 8 }, (_, index) => BigInt(make(pool[index % 4])));
  const [high, low, incHigh, incLow] = [0, 2, 4, 6].map((index) => state32[index] | (state32[index + 1] << 32n));
  const all = (1n << 128n) - 1n, long = (1n << 64n) - 1n;
  const increment = (((incHigh << 64n) | incLow) << 1n | 1n) & all;
  const step = (value) => (value * 0x2360ed051fc65da44385df649fccf645n + increment) & all;
  let state = step((step(0n) + ((high << 64n) | low)) & all);
  return () => {
    state = step(state);
    const value = (state >> 64n) ^ (state & long), turn = state >> 122n;
    const turned = ((value >> turn) | (value << (64n - turn))) & long;
    return Number(turned >> 11n) / 2 ** 53;
  };
}
