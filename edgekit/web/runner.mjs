/**
 * A bundle in a browser or in Node >= 20, without a build step: every file is hashed before any of it is used, answers are those of the Python
 * runtime, and golden inputs prove it where it runs.
 *
 *   import { load } from "./runner.mjs";
 *   const model = await load("bundle/");
 *   await model.run("turn the lights on");   // {label: "device_on", score: 0.99}
 *   await model.verify();                     // golden inputs, within the bundle's tolerance
 *
 * ONNX Runtime (WebAssembly) and the tokenizers library lie in the folder `vendor` beside this file, or in node_modules, in the releases below.
 */

import { BadInput, CheckFailed, EdgekitError, NotPossibleHere } from "./errors.mjs";
import { TASKS, said } from "./tasks.mjs";
import { encoder, tokeniser } from "./tokenise.mjs";
import { VENDOR } from "./vendor.mjs";

export { BadInput, CheckFailed, EdgekitError, NotPossibleHere, VENDOR };

const MANIFEST = "manifest.json", DIGEST = "manifest.json.sha256";
const LARGEST_MANIFEST = 4_000_000;
/** Bytes of all files: WebAssembly has 4 GB for the files, the session and what it computes. */
const LARGEST_BUNDLE = 2 ** 31;
const GENERATION = "text-generation";
const SAFE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const ON_NODE = typeof process === "object" && Boolean(process.versions?.node);
/** A module of one function that uses a 128-bit vector: valid where SIMD is. */
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]);

/**
 * The bundle at `place`, hashed and opened: a folder (a URL, in Node a path as well), or an object of {file name: Uint8Array}.
 *
 * `options`: {vendor: where ONNX Runtime and the tokenizers library lie, threads: how many (default: the bundle's own), progress: called with
 * (bytes so far, bytes in all) while files are read}.
 */
export async function load(place, options = {}) {
  const unknown = Object.keys(options).filter((name) => !["vendor", "threads", "progress"].includes(name));
  if (unknown.length) throw new BadInput(`unknown option ${unknown[0]}`, { fix: "vendor, threads and progress are known" });
  checkMachine();
  const libraries = loadLibraries(options.vendor);
  libraries.catch(() => {}); // its fault is told below, once the bundle is known to be whole
  const bundle = await openBundle(place, options.progress);
  return opened(bundle, await libraries, options.threads);
}

/** Refuse what cannot run the model, in words. */
function checkMachine() {
  if (typeof WebAssembly !== "object") {
    throw new NotPossibleHere("WebAssembly is not there", { fix: "use a browser that has it, or one that does not switch it off (lockdown mode does)" });
  }
  if (!globalThis.crypto?.subtle) {
    throw new NotPossibleHere("files cannot be hashed: WebCrypto is not there", { fix: "serve the page by https, or from localhost" });
  }
  let simd = false;
  try {
    simd = WebAssembly.validate(SIMD);
  } catch { /* told below */ }
  if (!simd) throw new NotPossibleHere("this WebAssembly has no SIMD", { fix: "use a browser from 2021 on: Chrome 91, Firefox 89, Safari 16.4" });
}

// --- files ---

/** What reads a file of `place` by its name. */
function reader(place) {
  if (typeof place === "object" && place !== null && !(place instanceof URL)) {
    return async (name) => {
      if (!Object.hasOwn(place, name)) throw new CheckFailed("missing", { where: name, fix: "fetch the bundle again" });
      return place[name];
    };
  }
  const folder = folderUrl(place);
  return (name) => readUrl(new URL(name, folder), name);
}

function folderUrl(place) {
  const text = String(place);
  const folder = text.endsWith("/") ? text : `${text}/`;
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(folder)) return new URL(folder);
  if (!ON_NODE) return new URL(folder, globalThis.document?.baseURI ?? globalThis.location?.href);
  return new URL(folder.split("/").map(encodeURIComponent).join("/"), `file://${process.cwd()}/`);
}

async function readUrl(url, name) {
  if (url.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    try {
      return new Uint8Array(await readFile(url));
    } catch (fault) {
      throw new BadInput(`cannot be read: ${fault.code ?? fault.message}`, { where: name, fix: "name a bundle folder" });
    }
  }
  let response;
  try {
    response = await fetch(url);
  } catch (fault) {
    throw new NotPossibleHere(`cannot be fetched: ${fault.message}`, { where: String(url), fix: "see whether the network, or the page's policy (connect-src), permits it" });
  }
  if (!response.ok) throw new BadInput(`cannot be fetched: ${response.status} ${response.statusText}`, { where: String(url) });
  return new Uint8Array(await response.arrayBuffer());
}

async function sha256(bytes) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The files of a bundle, each of which is what the manifest says, and the manifest what its digest says. */
async function openBundle(place, progress) {
  const read = reader(place);
  const bytes = await read(MANIFEST);
  if (bytes.length > LARGEST_MANIFEST) throw new BadInput("too large for a manifest", { where: MANIFEST });
  const digest = await sha256(bytes);
  const beside = await read(DIGEST).catch(() => null);
  if (beside !== null && !same(beside, new TextEncoder().encode(`${digest}  ${MANIFEST}\n`))) {
    throw new CheckFailed(`is not the file that ${DIGEST} is of: its sha256 is ${digest.slice(0, 16)}…`, { where: MANIFEST, fix: "fetch the bundle again" });
  }
  const manifest = parsed(bytes, MANIFEST);
  const notes = [];
  if (beside === null) {
    if (manifest.edgekit?.digest_file) throw new CheckFailed("its digest is missing", { where: DIGEST, fix: "fetch the bundle again" });
    notes.push("the manifest has no digest, as an earlier edgekit made it: changes of the manifest alone are not noticed");
  }
  checkManifest(manifest);
  const names = Object.keys(manifest.assets);
  const total = names.reduce((sum, name) => sum + manifest.assets[name].size, 0);
  if (total > LARGEST_BUNDLE) throw new NotPossibleHere(`its files of ${(total / 1e9).toFixed(1)} GB do not fit in WebAssembly's memory`, { fix: "use the Python runtime for this bundle" });
  let done = 0;
  const files = Object.fromEntries(await Promise.all(names.map(async (name) => {
    const file = await read(name);
    done += file.length;
    progress?.(done, total);
    return [name, file];
  })));
  const faults = (await Promise.all(names.map(async (name) => {
    const { size, sha256: wanted } = manifest.assets[name];
    if (files[name].length !== size) return [`${name}: ${files[name].length} bytes instead of ${size}`];
    const found = await sha256(files[name]);
    return found === wanted ? [] : [`${name}: sha256 ${found.slice(0, 16)}… instead of ${wanted.slice(0, 16)}…`];
  }))).flat();
  if (faults.length) throw new CheckFailed("files are not what the manifest says", { faults, fix: "fetch the bundle again" });
  return { manifest, digest, files, notes };
}

const same = (one, other) => one.length === other.length && one.every((byte, index) => byte === other[index]);

function parsed(bytes, name) {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch (fault) {
    throw new BadInput(`not sound JSON: ${fault.message}`, { where: name });
  }
}

/** Refuse a manifest whose facts cannot be used; its digest holds, so that it is as it was written. */
function checkManifest(manifest) {
  const where = MANIFEST, fix = "export the bundle with this edgekit";
  if (manifest?.schema_version !== 1) throw new BadInput(`schema_version ${manifest?.schema_version} is not 1: a newer edgekit made it`, { where });
  const facts = manifest.edgekit ?? {};
  const faults = [];
  for (const [name, asset] of Object.entries(manifest.assets ?? {})) {
    if (!SAFE_NAME.test(name) || name === MANIFEST || name === DIGEST) faults.push(`assets: ${JSON.stringify(name)} is not a plain file name`);
    if (!Number.isSafeInteger(asset?.size) || asset.size < 0 || !/^[0-9a-f]{64}$/.test(asset?.sha256)) faults.push(`assets: ${name} has no size and sha256`);
  }
  for (const name of [variantOf(manifest)?.file, facts.tokenizer?.file, facts.golden?.file]) {
    if (typeof name !== "string" || !Object.hasOwn(manifest.assets ?? {}, name)) faults.push(`${name}: not among the assets`);
  }
  if (!Array.isArray(facts.labels) || !Array.isArray(facts.inputs) || !Number.isSafeInteger(facts.vocabulary)) faults.push("labels, inputs or vocabulary: missing");
  if (!Number.isSafeInteger(facts.tokenizer?.max_length) || !(facts.golden?.tolerance > 0)) faults.push("tokenizer or golden: missing");
  if (faults.length) throw new BadInput("a manifest that cannot be trusted", { where, faults, fix });
  if (!(facts.task in TASKS) && facts.task !== GENERATION) throw new BadInput(`this runner has no task ${JSON.stringify(facts.task)}`, { where, fix: "use the runner that was made with the bundle" });
}

const variantOf = (manifest) => Object.values(manifest?.components?.model?.variants ?? {})[0];

// --- libraries ---

let libraries = null;

/** ONNX Runtime and the tokenizers library, each file of which is what `VENDOR` says; loaded once for all bundles. */
function loadLibraries(vendor) {
  libraries ??= importLibraries(vendor).catch((fault) => {
    libraries = null;
    throw fault;
  });
  return libraries;
}

async function importLibraries(vendor) {
  const places = Object.fromEntries(await Promise.all(Object.keys(VENDOR).map(async (file) => [file, await vendorUrl(file, vendor)])));
  const files = Object.fromEntries(await Promise.all(Object.keys(VENDOR).map(async (file) => {
    const bytes = await readUrl(places[file], file);
    const found = await sha256(bytes);
    const wanted = VENDOR[file].sha256;
    if (found !== wanted) {
      throw new CheckFailed(`is not the file of ${releaseOf(file)}: sha256 ${found.slice(0, 16)}… instead of ${wanted.slice(0, 16)}…`, { where: file, fix: `put in that of ${releaseOf(file)}` });
    }
    return [file, bytes];
  })));
  const [ort, tokenizers] = await Promise.all([import(places["ort.wasm.bundle.min.mjs"].href), import(places["tokenizers.min.mjs"].href)]);
  ort.env.wasm.wasmBinary = files["ort-wasm-simd-threaded.wasm"];
  ort.env.logLevel = "error";
  return { ort, tokenizers };
}

/** Where a file of `VENDOR` lies: in `vendor`, beside this module, or in node_modules. */
async function vendorUrl(file, vendor) {
  if (vendor !== undefined) return new URL(file, folderUrl(vendor));
  const beside = new URL(`./vendor/${file}`, import.meta.url);
  if (!ON_NODE || beside.protocol !== "file:") return beside;
  const { access } = await import("node:fs/promises");
  try {
    await access(beside);
    return beside;
  } catch { /* in node_modules, then */ }
  const { package: name, path } = VENDOR[file];
  const { pathToFileURL } = await import("node:url");
  const starts = [import.meta.url, pathToFileURL(`${process.cwd()}/`).href];
  for (const start of starts) {
    for (let folder = new URL("./", start); ; folder = new URL("../", folder)) {
      const place = new URL(`node_modules/${name}/${path}`, folder);
      try {
        await access(place);
        return place;
      } catch { /* further up */ }
      if (folder.pathname === "/" || folder.href === new URL("../", folder).href) break;
    }
  }
  throw new NotPossibleHere(`${releaseOf(file)} is not here`, { where: file, fix: `npm install --ignore-scripts ${[...new Set(Object.keys(VENDOR).map(releaseOf))].join(" ")}` });
}

const releaseOf = (file) => `${VENDOR[file].package}@${VENDOR[file].release}`;

// --- the model ---

async function opened({ manifest, digest, files, notes }, { ort, tokenizers }, threads) {
  const facts = manifest.edgekit, variant = variantOf(manifest);
  ort.env.wasm.numThreads = usableThreads(threads ?? (variant.session_options.intra_op_num_threads || 1), notes);
  let session;
  try {
    session = await ort.InferenceSession.create(files[variant.file], {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
      externalData: Object.keys(files).filter((name) => name.endsWith(".onnx.data")).map((name) => ({ path: name, data: files[name] })),
    });
  } catch (fault) {
    throw sessionFault(fault);
  }
  const document = parsed(files[facts.tokenizer.file], facts.tokenizer.file);
  const config = "config.json" in files ? parsed(files["config.json"], "config.json") : {};
  const encoding = encoder(document, tokenizers);
  const tokenise = tokeniser(encoding, {
    maxLength: facts.tokenizer.max_length,
    segments: facts.inputs.some((input) => input.name === "token_type_ids"),
    pairs: config.text_pairs ?? null,
    prompts: facts.embeddings?.prompts ?? { texts: {}, default: null },
  });
  const [first] = session.outputNames;
  let before = Promise.resolve();

  /** One run at a time: a session takes no second one meanwhile. */
  function alone(work) {
    const mine = before.then(work);
    before = mine.catch(() => {});
    return mine;
  }

  /** The session, while there is one. */
  function open() {
    if (session === null) throw new BadInput("this model was closed", { fix: "load it again" });
    return session;
  }

  function feed({ ids, types }) {
    const row = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
    return { input_ids: row(ids), attention_mask: row(ids.map(() => 1)), ...(types === null ? {} : { token_type_ids: row(types) }) };
  }

  async function outputs(windows) {
    for (const { ids } of windows) {
      if (language === null && ids.length > facts.tokenizer.max_length) throw new BadInput(`${ids.length} tokens are more than the bundle's ${facts.tokenizer.max_length}`);
      const beyond = ids.find((id) => id >= facts.vocabulary);
      if (beyond !== undefined) throw new BadInput(`token id ${beyond} leaves the vocabulary of ${facts.vocabulary}`);
    }
    if (language !== null) {
      const values = await language.score(windows[0].ids);
      return [{ data: values, dims: [1, values.length] }];
    }
    const found = [];
    for (const window of windows) {
      found.push(await alone(async () => {
        const running = open();
        try {
          const { [first]: output } = await running.run(feed(window), [first]);
          return { data: output.data, dims: output.dims };
        } catch (fault) {
          throw sessionFault(fault);
        }
      }));
    }
    return found;
  }

  let language = null;
  if (facts.task === GENERATION) {
    const { languageModel } = await import("./generate.mjs");
    language = languageModel({ session: open, ort, facts, encoding, alone, failed: sessionFault });
  }
  const task = language === null ? TASKS[facts.task] : { prepare: (_, item) => language.windows(item), answer: language.answer };

  const asked = (item, topK) => ({
    labels: facts.labels, threshold: facts.threshold ?? null, activation: facts.activation ?? "identity", topK, item,
  });

  /**
   * The answer to one input: a text, or an object for tasks that read several. `top_k`: how many labels, or spans, it lists. Of a language model
   * the settings are those of sampling.
   */
  async function run(item, settings = {}) {
    if (language !== null) return language.run(item, settings);
    const unknown = Object.keys(settings).filter((name) => name !== "top_k");
    if (unknown.length) throw new BadInput(`unknown setting ${unknown[0]}`, { fix: "top_k is known" });
    const { top_k: topK = 1 } = settings;
    if (!Number.isSafeInteger(topK) || topK < 1) throw new BadInput(`top_k: ${topK} is not a whole number from 1`);
    const windows = task.prepare(tokenise, item);
    const answer = task.answer(await outputs(windows), windows, asked(item, topK));
    return windows.some((window) => window.truncated) ? { ...answer, truncated: true } : answer;
  }

  /** Replay the golden inputs: their token ids, their outputs within the bundle's tolerance, and their answers where those leave no doubt. */
  async function verify() {
    const { rows } = parsed(files[facts.golden.file], facts.golden.file);
    if (rows?.length !== facts.golden.count) throw new CheckFailed(`${rows?.length} golden inputs instead of ${facts.golden.count}`, { where: facts.golden.file });
    const faults = [];
    let worst = 0, largest = 0;
    for (const [number, row] of rows.entries()) {
      const windows = task.prepare(tokenise, row.input);
      if (JSON.stringify(windows.map((window) => window.ids)) !== JSON.stringify(row.input_ids)) {
        faults.push(`input ${number}: other tokens than where the bundle was made`);
        continue;
      }
      const found = await outputs(windows);
      const [difference, single] = differences(found, row.outputs, windows.length);
      [worst, largest] = [Math.max(worst, difference), Math.max(largest, single)];
      const answer = task.answer(found, windows, asked(row.input, 1));
      if (!(difference <= facts.golden.tolerance)) {
        faults.push(`input ${number}: its outputs differ by ${difference.toPrecision(3)}, more than ${facts.golden.tolerance}`);
      } else if (row.margin !== null && row.margin > 2 * single && JSON.stringify(said(answer)) !== JSON.stringify(row.answer)) {
        faults.push(`input ${number}: answers ${JSON.stringify(said(answer))} instead of ${JSON.stringify(row.answer)}`);
      }
    }
    if (faults.length) throw new CheckFailed(`${faults.length} of ${rows.length} golden inputs are not right`, { faults });
    return {
      bundle: manifest.name, digest, files: Object.keys(manifest.assets).length, golden: rows.length,
      difference: worst, largest_difference: largest, tolerance: facts.golden.tolerance, ok: true,
    };
  }

  return {
    manifest, digest, notes, task: facts.task, run, verify,
    /** Of a language model: the answer to a text, a piece a token, {text, token, ended}. */
    stream(prompt, settings = {}) {
      if (language === null) throw new BadInput(`stream is for language models, and this is ${facts.task}`, { fix: "call run" });
      return language.stream(prompt, settings);
    },
    /** Windows of an input, as the model reads it: ids, and where each token lies. */
    windows: (item) => task.prepare(tokenise, item),
    /** The graph's first output for each window: {data, dims}; of a language model the log-probabilities of a text's tokens. */
    outputs,
    /** The bytes of a file of the bundle, such as its model card, README.md. */
    file: (name) => files[name],
    async close() {
      await alone(async () => {
        await session?.release();
        session = null;
      });
    },
  };
}

/** How many threads can be had: those of a page need cross-origin isolation. */
function usableThreads(wanted, notes) {
  if (!Number.isSafeInteger(wanted) || wanted < 1 || wanted > 64) throw new BadInput(`threads: ${wanted} is not a whole number from 1 to 64`);
  if (wanted > 1 && !ON_NODE && !globalThis.crossOriginIsolated) {
    notes.push("one thread: this page is not cross-origin isolated, which threads need");
    return 1;
  }
  return wanted;
}

function sessionFault(fault) {
  const message = String(fault?.message ?? fault).slice(0, 300);
  if (/unsafe-eval|Content Security Policy|CompileError: WebAssembly/i.test(message)) {
    return new NotPossibleHere(`the page's policy forbids WebAssembly: ${message}`, { fix: "add 'wasm-unsafe-eval' to script-src" });
  }
  if (/memory|allocat|bad_alloc/i.test(message) || fault instanceof RangeError) {
    return new NotPossibleHere(`not enough memory for this model: ${message}`, { fix: "close other pages, or use a smaller model" });
  }
  return new CheckFailed(`ONNX Runtime cannot run it: ${message}`);
}

/** [root mean square, largest] of the differences of one input; infinite where sizes differ or a number is not finite. */
function differences(found, wanted, windows) {
  const rows = wanted.length === windows && Array.isArray(wanted[0]) ? wanted : [wanted];
  let sum = 0, count = 0, largest = 0;
  for (const [index, output] of found.entries()) {
    const values = rows[index]?.flat() ?? [];
    if (values.length !== output.data.length) return [Infinity, Infinity];
    values.forEach((value, place) => {
      const difference = Math.abs(output.data[place] - Math.fround(value));
      sum += difference * difference;
      count++;
      if (!(difference <= largest)) largest = difference;
    });
  }
  return Number.isFinite(largest) ? [Math.sqrt(sum / count), largest] : [Infinity, Infinity];
}
