/**
 * Times of a model where it runs, as edgekit/runtime/bench takes them: warm-up until three windows agree within 10%, then runs over inputs whose
 * lengths are spread evenly. Scenarios of an encoder: "text", from an input to its answer, "real", the graph alone, or a number of tokens; of a
 * language model the time to the first token after a prompt ("first-16") and of each token after it ("token-16").
 */

import { BadInput } from "./errors.mjs";
import { numpyRandom } from "./generate.mjs";

const AGREE = 0.1, WINDOW_RUNS = 20, LEAST_RUNS = 5, WINDOW_MS = 100;
const FIXED_SHARE = 0.4, MOST_SAMPLES = 20_000, MOST_ITEMS = 2000;
const GOLDEN = (Math.sqrt(5) - 1) / 2;
/** Tokens made after each prompt, and how often a prompt is read. */
const TOKENS = 16, LEAST_ROUNDS = 2, MOST_ROUNDS = 200;
const SETTINGS = { items: null, scenarios: ["text", "real"], prompts: [16], seconds: 0.5, min_runs: 50, max_warmup_seconds: 0.8, seed: 7 };

/**
 * {scenarios: {name: {samples: milliseconds of each run, p50_ms, began, ended, runs}}, tokenise_ms, postprocess_ms}; `began` and `ended` in
 * milliseconds since 1970. `parts`: what model.mjs hands in; `given`: SETTINGS, where `items` are inputs (usually the golden ones).
 */
export async function benchmark(parts, given) {
  const unknown = Object.keys(given).filter((name) => !(name in SETTINGS));
  if (unknown.length) throw new BadInput(`unknown setting ${unknown[0]}`, { fix: `known are ${Object.keys(SETTINGS).join(", ")}` });
  const settings = { ...SETTINGS, ...given };
  const items = settings.items ?? parts.items();
  return parts.language === null ? encoderTimes(parts, items, settings) : languageTimes(parts.language, items, settings);
}

const now = () => performance.timeOrigin + performance.now();
const median = (values) => {
  const sorted = Float64Array.from(values).sort(), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const rounded = (milliseconds) => Number(milliseconds.toFixed(4));

async function timed(work) {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

async function encoderTimes({ run, outputs, answer, prepare }, items, { scenarios, seconds, min_runs: minRuns, max_warmup_seconds: warmSeconds, seed }) {
  const random = numpyRandom([seed]);
  const chosen = shuffled(items, random).slice(0, MOST_ITEMS);
  let prepared;
  const tokenise = (await timed(() => { prepared = chosen.map((item) => prepare(item)); })) / chosen.length;
  const found = await outputs(prepared[0]);
  const postprocess = (await timed(() => { for (let count = 0; count < 50; count++) answer(found, prepared[0], chosen[0]); })) / 50;
  const order = spreadOrder(prepared.map((windows) => windows.reduce((sum, window) => sum + window.ids.length, 0)), random);
  const result = { scenarios: {}, tokenise_ms: tokenise, postprocess_ms: postprocess };
  for (const name of scenarios) {
    const fixed = Number(name), share = fixed ? FIXED_SHARE : 1;
    const inputs = fixed ? [[fixedLength(prepared, fixed)]] : order.map((place) => (name === "text" ? chosen : prepared)[place]);
    let turn = 0;
    const once = () => {
      const input = inputs[turn++ % inputs.length];
      return timed(() => (name === "text" ? run(input) : outputs(input)));
    };
    const began = now();
    await warmUp(once, warmSeconds);
    const samples = await sampled(once, share * seconds, Math.floor(share * minRuns));
    result.scenarios[name] = { samples, p50_ms: median(samples), began, ended: now(), runs: turn };
  }
  return result;
}

/** Run until the medians of the last three windows agree, or the time is up. */
export async function warmUp(once, seconds) {
  const until = performance.now() + 1000 * seconds, medians = [];
  while (performance.now() < until) {
    const window = [];
    let spent = 0;
    while (window.length < WINDOW_RUNS && (window.length < LEAST_RUNS || spent < WINDOW_MS)) {
      window.push(await once());
      spent += window.at(-1);
    }
    medians.push(median(window));
    const last = medians.slice(-3), least = Math.min(...last);
    if (last.length === 3 && Math.max(...last) - least <= AGREE * least) return;
  }
}

export async function sampled(once, seconds, minRuns) {
  const times = [], until = performance.now() + 1000 * seconds;
  while ((performance.now() < until || times.length < minRuns) && times.length < MOST_SAMPLES) times.push(rounded(await once()));
  return times;
}

function shuffled(values, random) {
  const found = [...values];
  for (let last = found.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [found[last], found[other]] = [found[other], found[last]];
  }
  return found;
}

/** An order in which every stretch has nearly the lengths of the whole: steps of the golden ratio through the inputs sorted by length. */
function spreadOrder(lengths, random) {
  const rows = lengths.map((_, row) => row).sort((one, other) => lengths[one] - lengths[other] || one - other);
  const start = random();
  const steps = rows.map((_, place) => (start + GOLDEN * place) % 1);
  const ranks = steps.map((_, place) => place).sort((one, other) => steps[one] - steps[other]);
  const order = new Array(rows.length);
  ranks.forEach((place, rank) => { order[place] = rows[rank]; });
  return order;
}

/** Real tokens in one window of `length`: windows joined and cut, with a window's first and last token at the ends. */
function fixedLength(prepared, length) {
  const first = prepared[0][0];
  const inner = prepared.slice(0, 200).flatMap((windows) => windows.flatMap(({ ids }) => ids.slice(1, -1)));
  const body = Array.from({ length: length - 2 }, (_, place) => (inner.length ? inner[place % inner.length] : first.ids[0]));
  const ids = [first.ids[0], ...body, first.ids.at(-1)];
  return { ...first, ids, types: first.types && ids.map(() => 0) };
}

async function languageTimes(language, items, { prompts, seconds, min_runs: minRuns }) {
  const beyond = prompts.find((length) => length + TOKENS > language.context);
  if (beyond !== undefined) throw new BadInput(`a prompt of ${beyond} tokens and ${TOKENS} after it do not fit in the context of ${language.context}`);
  const texts = items.slice(0, MOST_ITEMS);
  let encoded;
  const tokenise = (await timed(() => { encoded = texts.flatMap((text) => language.encode(text)); })) / texts.length;
  const idsFrom = (start, length) => Array.from({ length }, (_, place) => encoded[(start + place) % encoded.length]);
  const postprocess = (await timed(() => { for (let place = 0; place < 50; place++) language.decode(idsFrom(0, 8 + (place % 8))); })) / 50;
  const step = language.stepper();
  const result = { scenarios: {}, tokenise_ms: tokenise, postprocess_ms: postprocess };
  for (const length of prompts) {
    const first = [], token = [], began = now(), until = performance.now() + 1000 * seconds;
    let rounds = 0;
    for (; rounds <= LEAST_ROUNDS || (rounds < MOST_ROUNDS && (performance.now() < until || token.length < minRuns)); rounds++) {
      const made = [];
      let last;
      const read = await timed(async () => { last = await step(idsFrom(rounds, length), length + TOKENS); });
      for (let count = 0; count < TOKENS; count++) made.push(rounded(await timed(async () => { last = await step([last], 0); })));
      if (rounds) { // the first one warms up
        first.push(rounded(read));
        token.push(...made);
      }
    }
    const facts = { began, ended: now(), runs: rounds * (1 + TOKENS) };
    result.scenarios[`first-${length}`] = { samples: first, p50_ms: median(first), ...facts };
    result.scenarios[`token-${length}`] = { samples: token, p50_ms: median(token), ...facts };
  }
  return result;
}
