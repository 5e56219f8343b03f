/**
 * Inputs to windows and outputs to answers, one entry a task, as edgekit/runtime/processors has them; `start` and `end` of an answer count
 * characters (code points), as in Python: `[...text].slice(start, end).join("")` is the stretch.
 */

import { BadInput, CheckFailed } from "./errors.mjs";
import { checked, trimmedStretch } from "./tokenise.mjs";

const STRIDE = 64, BEST = 20, LONGEST_ANSWER = 30;
const MOST_PASSAGES = 4096, MOST_LABELS = 4096;
const TEMPLATE = "This example is {}.";

/**
 * @typedef {{data: Float32Array, dims: number[]}} Output
 * The graph's first output for one window, of shape (1, ...).
 * @typedef {{labels: string[], threshold: number|null, activation: string, topK: number, item: unknown}} Asked
 */

export const TASKS = {
  "text-classification": { prepare: oneOrTwoTexts, answer: classified },
  "multi-label-classification": { prepare: oneOrTwoTexts, answer: labelled },
  "text-regression": { prepare: oneOrTwoTexts, answer: measured },
  "feature-extraction": { prepare: promptedText, answer: embedded },
  "text-ranking": { prepare: passages, answer: ranked },
  "zero-shot-classification": { prepare: sentences, answer: scoredLabels },
  "token-classification": { prepare: textOrWords, answer: tagged },
  "question-answering": { prepare: questionAndContext, answer: spanned },
};

const isObject = (item) => typeof item === "object" && item !== null && !Array.isArray(item);
const holds = (item, must, may = []) => isObject(item) && must.every((name) => name in item) && Object.keys(item).every((name) => must.includes(name) || may.includes(name));
const named = (item) => Object.keys(item).join(", ");
const six = (value) => Number(value.toFixed(6));
const largestFirst = (values) => Array.from(values, (_, index) => index).sort((one, other) => values[other] - values[one] || one - other);
const argmax = (values) => values.reduce((best, value, index) => (value > values[best] ? index : best), 0);

function finite(values, what) {
  for (const value of values) if (!Number.isFinite(value)) throw new CheckFailed(`the model gave NaN or Inf instead of ${what}`);
  return values;
}

function shaped(output, dims, what) {
  if (output.dims.length !== dims.length || dims.some((size, axis) => size !== output.dims[axis])) {
    throw new CheckFailed(`the model gave an output of shape (${output.dims.join(", ")}) for ${what}`);
  }
}

/** Probabilities in float32, as numpy computes them. */
function softmax32(logits) {
  const top = Math.max(...logits);
  const exponents = Float32Array.from(logits, (logit) => Math.exp(Math.fround(logit - top)));
  const sum = exponents.reduce((total, value) => Math.fround(total + value), 0);
  return exponents.map((value) => value / sum);
}

const sigmoid = (logit) => Math.fround(1 / (1 + Math.exp(-logit)));
const scored = (labels, scores, order) => order.map((place) => ({ label: labels[place], score: six(scores[place]) }));

function oneOrTwoTexts(tokenise, item) {
  if (!isObject(item)) {
    if (tokenise.pairs) throw new BadInput("this model compares two texts", { fix: 'give {"text": "...", "text_pair": "..."}' });
    return [tokenise.text(item)];
  }
  if (tokenise.pairs === false) throw new BadInput("this model reads one text", { fix: "give the text alone" });
  if (!holds(item, ["text", "text_pair"])) {
    throw new BadInput(`not a pair of texts: ${named(item)}`, { fix: 'give {"text": "...", "text_pair": "..."}' });
  }
  return [tokenise.both(item.text, item.text_pair, ["text", "text_pair"])];
}

function classified([logits], windows, { labels, topK }) {
  shaped(logits, [1, labels.length], `${labels.length} labels`);
  const probabilities = softmax32(finite(logits.data, "logits"));
  const best = largestFirst(probabilities).slice(0, Math.max(1, topK));
  const found = scored(labels, probabilities, best);
  return topK <= 1 ? found[0] : { ...found[0], scores: found };
}

function labelled([logits], windows, { labels, threshold, topK }) {
  shaped(logits, [1, labels.length], `${labels.length} labels`);
  const scores = Float32Array.from(finite(logits.data, "logits"), sigmoid);
  const every = scored(labels, scores, largestFirst(logits.data));
  const least = Math.fround(threshold ?? 0.5);
  return { labels: every.slice(0, scores.filter((score) => score >= least).length), scores: every.slice(0, Math.max(1, topK)) };
}

function measured([output]) {
  shaped(output, [1, 1], "one number");
  return { score: six(finite(output.data, "a number")[0]) };
}

function promptedText(tokenise, item) {
  if (isObject(item) && !holds(item, ["text"], ["prompt_name"])) {
    throw new BadInput(`not a text and a prompt's name: ${named(item)}`, { fix: 'give the text alone, or {"text": "...", "prompt_name": "..."}' });
  }
  const [text, name] = isObject(item) ? [item.text, item.prompt_name] : [item, null];
  const { texts, default: usual } = tokenise.prompts;
  const wanted = name ?? usual ?? null;
  if (wanted !== null && !Object.hasOwn(texts, wanted)) {
    const known = Object.keys(texts).join(", ") || "none";
    throw new BadInput(`no prompt ${JSON.stringify(wanted)}`, { where: "prompt_name", fix: `leave it out, or name one of: ${known}` });
  }
  return [tokenise.text(text, { before: wanted === null ? "" : texts[wanted], where: isObject(item) ? "text" : null })];
}

function embedded([vector]) {
  if (vector.dims.length !== 2 || vector.dims[0] !== 1) throw new CheckFailed(`the model gave an output of shape (${vector.dims.join(", ")}) for one embedding`);
  return { embedding: Array.from(finite(vector.data, "an embedding"), (value) => evenly(value * 1e7) / 1e7) };
}

/** The nearest whole number, the even one of two, as numpy's rint. */
function evenly(value) {
  const down = Math.floor(value), rest = value - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}

function passages(tokenise, item) {
  const fix = 'give {"query": "...", "passages": ["...", "..."]}';
  if (!holds(item, ["query", "passages"])) throw new BadInput("text-ranking reads an object", { fix });
  const query = checked(item.query, "query"), given = item.passages;
  if (typeof given === "string") return [tokenise.both(query, checked(given, "passages"))];
  if (!Array.isArray(given) || !given.length) throw new BadInput("no list of passages", { where: "passages", fix });
  if (given.length > MOST_PASSAGES) {
    throw new BadInput(`${given.length} passages are more than ${MOST_PASSAGES}`, { where: "passages", fix: "ask for them in parts: scores stay the same" });
  }
  return given.map((passage, number) => tokenise.both(query, checked(passage, `passages[${number}]`)));
}

function ranked(outputs, windows, { activation }) {
  outputs.forEach((output) => shaped(output, [1, 1], "one passage"));
  const logits = finite(outputs.map((output) => output.data[0]), "logits");
  const scores = activation === "sigmoid" ? logits.map(sigmoid) : logits;
  return { scores: scores.map((score) => Number(score.toPrecision(7))), order: largestFirst(logits) };
}

function question(item) {
  const fix = 'give {"text": "...", "labels": ["...", "..."]}, and if wanted "template": "This text is about {}." and "multi_label": true';
  if (!holds(item, ["text", "labels"], ["template", "multi_label"])) throw new BadInput("zero-shot-classification reads an object", { fix });
  const { labels: given, template = TEMPLATE, multi_label: several = false } = item;
  if (typeof given === "string" && given.trimStart().startsWith("[")) {
    throw new BadInput("a text that begins as a list, which commas would take apart", { where: "labels", fix });
  }
  const labels = typeof given === "string" ? given.split(",").map((part) => part.trim()).filter(Boolean) : given;
  if (!Array.isArray(labels) || !labels.length) throw new BadInput("no list of labels", { where: "labels", fix });
  if (labels.length > MOST_LABELS) throw new BadInput(`${labels.length} labels are more than ${MOST_LABELS}`, { where: "labels" });
  checked(template, "template");
  if (template.split("{}").length !== 2 || template.replace("{}", "").match(/[{}]/)) {
    throw new BadInput("a template does not hold one {}, where the label goes, and no other braces", { where: "template", fix });
  }
  if (typeof several !== "boolean") throw new BadInput("multi_label is not true or false", { where: "multi_label", fix });
  return { text: checked(item.text, "text"), labels: labels.map((label, number) => checked(label, `labels[${number}]`)), template, several };
}

function sentences(tokenise, item) {
  const { text, labels, template } = question(item);
  return labels.map((label) => tokenise.firstCut(text, template.split("{}").join(label)));
}

function scoredLabels(outputs, windows, { labels: names, item }) {
  const { labels, several } = question(item);
  const entailing = names.flatMap((name, index) => (name.toLowerCase().startsWith("entail") ? [index] : []));
  if (entailing.length !== 1) throw new CheckFailed(`the model gave no entailment for ${labels.length} labels`);
  outputs.forEach((output) => shaped(output, [1, names.length], `${names.length} outputs`));
  const [entails] = entailing;
  const rows = outputs.map((output) => finite(output.data, "logits"));
  const contradicts = entails === 0 ? names.length - 1 : 0;
  const scores = several || rows.length === 1
    ? rows.map((row) => softmax32([row[contradicts], row[entails]])[1])
    : Array.from(softmax32(rows.map((row) => row[entails])));
  const every = scored(labels, scores, largestFirst(scores));
  return { ...every[0], scores: every };
}

function textOrWords(tokenise, item) {
  let words = item;
  if (isObject(item)) {
    const fix = 'give a text, or {"words": ["we", "went"]}';
    if (!holds(item, ["words"])) throw new BadInput(`neither a text nor words: ${named(item)}`, { fix });
    words = item.words;
    if (!Array.isArray(words)) throw new BadInput("words must be a list of texts", { where: "words", fix });
  }
  return [Array.isArray(words) ? tokenise.words(words) : tokenise.wholeWords(words)];
}

function tagged([logits], [window], { labels }) {
  const count = window.ids.length, size = labels.length;
  shaped(logits, [1, count, size], `${count} tokens and ${size} labels`);
  finite(logits.data, "logits");
  const scheme = readScheme(labels);
  const rows = Array.from({ length: count }, (_, index) => logits.data.subarray(index * size, (index + 1) * size));
  const words = window.words;
  const first = words.flatMap((word, index) => (word >= 0 && word !== (index ? words[index - 1] : -1) ? [index] : []));
  const last = words.flatMap((word, index) => (word >= 0 && word !== (words[index + 1] ?? -1) ? [index] : []));
  const best = first.map((index) => {
    const probabilities = softmax32(rows[index]);
    const place = argmax(window.ready ? rows[index] : probabilities);
    return [labels[place], Math.max(...probabilities)];
  });
  let tags = best.map(([tag]) => tag), scores = best.map(([, score]) => score);
  let places = first.map((index, number) => [window.starts[index], window.ends[last[number]]]);
  if (window.ready) {
    tags = new Array(window.ready).fill(scheme.outside);
    scores = new Array(window.ready).fill(0);
    first.forEach((index, number) => {
      [tags[words[index]], scores[words[index]]] = best[number];
    });
    places = tags.map((_, word) => [word, word + 1]);
  }
  const found = entities(tags, scores, places, window.ready ? null : Array.from(window.text), scheme);
  const answer = scheme.plain ? { words: found } : { entities: found };
  return window.ready ? { ...answer, tags } : answer;
}

function entities(tags, scores, places, chars, scheme) {
  const runs = scheme.plain ? tags.map((tag, word) => [tag, word, word + 1]) : spansOf(tags, scheme);
  return runs.flatMap(([label, start, end]) => {
    const score = six(scores.slice(start, end).reduce((sum, value) => sum + value, 0) / (end - start));
    let [low, high] = [places[start][0], places[end - 1][1]];
    if (chars === null) return [{ label, start: low, end: high, score }];
    if (Number.isNaN(low) || Number.isNaN(high)) throw new CheckFailed("the tokenizer does not tell where its tokens lie in this text");
    [low, high] = trimmedStretch(chars, low, high);
    return low < high ? [{ text: chars.slice(low, high).join(""), label, start: low, end: high, score }] : [];
  });
}

const SCHEMES = {
  BIO: { B: "B", I: "I" },
  IOE: { I: "I", E: "E" },
  BIOES: { B: "B", I: "I", E: "E", S: "S" },
  BILOU: { B: "B", I: "I", L: "E", U: "S" },
  BMES: { B: "B", M: "I", E: "E", S: "S" },
  BMEWO: { B: "B", M: "I", E: "E", W: "S" },
};

/** What tags mean, read off the labels as edgekit/runtime/tags.py does; tags that it refuses are in no bundle. */
function readScheme(labels) {
  const outside = labels.find((label) => label === "O" || label === "o");
  const given = labels.filter((label) => label !== outside);
  for (const split of [true, false].flatMap((front) => ["-", "_"].map((separator) => (label) => tagParts(label, separator, front)))) {
    const parts = given.map(split);
    if (!given.length || parts.includes(null)) continue;
    const letters = new Set(parts.map(([letter]) => letter.toUpperCase()));
    const name = Object.keys(SCHEMES).find((one) => [...letters].every((letter) => letter in SCHEMES[one]));
    if (name === undefined) throw new BadInput("tags that mix the letters of several schemes", { where: "labels" });
    const tags = new Map(given.map((label, index) => [label, [SCHEMES[name][parts[index][0].toUpperCase()], parts[index][1]]]));
    return { name, tags, outside: outside ?? "O", plain: false };
  }
  if (outside !== undefined && given.length && given.every((label) => Array.from(label).length > 1)) {
    return { name: "IO", tags: new Map(given.map((label) => [label, ["I", label]])), outside, plain: false };
  }
  return { name: "plain", tags: new Map(), outside: outside !== undefined && given.length ? "" : "O", plain: true };
}

function tagParts(label, separator, front) {
  const chars = Array.from(label);
  const [letter, between, kind] = front
    ? [chars[0] ?? "", chars[1], chars.slice(2).join("")]
    : [chars.at(-1) ?? "", chars.at(-2), chars.slice(0, -2).join("")];
  return between === separator && kind.trim() && /^[BIESLUMW]$/i.test(letter) ? [letter, kind] : null;
}

/** [kind, first word, word after the last] of each entity. */
function spansOf(tags, scheme) {
  const parts = tags.map((tag) => scheme.tags.get(tag) ?? ["O", ""]);
  const found = [];
  if (scheme.name === "BIO" || scheme.name === "IO") {
    let kind = "", start = 0;
    [...parts, ["O", ""]].forEach(([letter, name], position) => {
      if (kind && (letter !== "I" || name !== kind)) {
        found.push([kind, start, position]);
        kind = "";
      }
      if (letter !== "O" && !kind) [kind, start] = [name, position];
    });
    return found;
  }
  const endsAlone = scheme.name === "IOE";
  for (let position = 0; position < parts.length;) {
    const [letter, kind] = parts[position], start = position++;
    if (letter === "S" || (endsAlone && letter === "E")) found.push([kind, start, position]);
    else if (letter === "B" || (endsAlone && letter === "I")) {
      const at = (wanted) => position < parts.length && parts[position][0] === wanted && parts[position][1] === kind;
      while (at("I")) position++;
      if (at("E")) found.push([kind, start, ++position]);
    }
  }
  return found;
}

function questionAndContext(tokenise, item) {
  if (!isObject(item) || !("question" in item) || !("context" in item)) {
    throw new BadInput("question-answering reads an object", { fix: 'give {"question": "...", "context": "..."}' });
  }
  return tokenise.pair(checked(item.question, "question"), checked(item.context, "context"), Math.min(STRIDE, Math.floor(tokenise.maxLength / 4)));
}

function spanned(outputs, windows, { topK }) {
  const chars = Array.from(windows[0].text);
  const totals = new Map();
  outputs.forEach((logits, number) => {
    const window = windows[number];
    shaped(logits, [1, window.ids.length, 2], `the starts and ends of ${window.ids.length} tokens`);
    finite(logits.data, "logits");
    const inside = window.words.flatMap((word, index) => (word >= 0 ? [index] : []));
    const [starts, ends] = [0, 1].map((side) => inside.map((index) => logits.data[2 * index + side]));
    for (const [key, span] of bestSpans(chars, window, inside, starts, ends)) {
      if (!(totals.get(key)?.total >= span.total)) totals.set(key, span);
    }
  });
  const order = [...totals.values()].sort((one, other) => other.total - one.total || one.low - other.low || one.high - other.high).slice(0, BEST);
  const exponents = order.map(({ total }) => Math.exp(total - order[0].total));
  const sum = exponents.reduce((one, other) => one + other, 0);
  const spans = order.map(({ low, high }, index) => ({
    text: chars.slice(low, high).join(""), start: low, end: high, score: six(exponents[index] / sum),
  }));
  const best = spans[0] ?? { text: "", start: 0, end: 0, score: 0 };
  return topK > 1 ? { ...best, answers: spans.slice(0, topK) } : { ...best };
}

/** Spans of one window with the largest sums of their logits, BEST and more where there are as many. Two pairs of tokens may be one span of
 *  characters, or white space alone, so more pairs are looked at until there are enough spans. */
function bestSpans(chars, window, inside, starts, ends) {
  const pairs = starts.flatMap((start, first) => {
    return ends.slice(first, first + LONGEST_ANSWER).map((end, further) => [first, first + further, Math.fround(start + end)]);
  });
  const sums = Float32Array.from(pairs, ([, , total]) => total).sort();
  const found = new Map();
  for (let count = 0; found.size < BEST && count < pairs.length; ) {
    count = Math.min(4 * Math.max(count, BEST), pairs.length);
    const least = sums[sums.length - count];
    for (const [first, last, total] of pairs) {
      if (total < least) continue;
      const places = [window.starts[inside[first]], window.ends[inside[last]]];
      if (places.some(Number.isNaN)) throw new CheckFailed("the tokenizer does not tell where its tokens lie in this text");
      const [low, high] = trimmedStretch(chars, ...places);
      const key = `${low} ${high}`;
      if (low < high && !(found.get(key)?.total >= total)) found.set(key, { low, high, total });
    }
  }
  return found;
}

/** An answer without its scores, which carry rounding: what must be the same everywhere. */
export function said(answer) {
  if (Array.isArray(answer.entities)) return answer.entities.map(({ label, start, end }) => [label, start, end]);
  if (Array.isArray(answer.labels)) return answer.labels.map(({ label }) => label).sort(byCodePoints);
  return answer.label ?? null;
}

/** Texts in the order of their characters, as Python sorts them. */
function byCodePoints(one, other) {
  const [first, second] = [one, other].map((text) => Array.from(text, (char) => char.codePointAt(0)));
  const differs = first.findIndex((code, index) => code !== second[index]);
  return differs < 0 ? first.length - second.length : first[differs] - (second[differs] ?? -1);
}
