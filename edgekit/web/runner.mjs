/**
 * A bundle in a browser or in Node >= 20, without a build step: every file is hashed before any of it is used, answers are those of the Python
 * runtime, and golden inputs prove it where it runs.
 *
 *   import { load } from "./runner.mjs";
 *   const model = await load("bundle/");
 *   await model.run("turn the lights on");   // {label: "device_on", score: 0.99}
 *   await model.verify();                     // golden inputs, within the bundle's tolerance
 *
 * ONNX Runtime (WebAssembly), the tokenizers library and, for conversations, the one of chat templates lie in the folder `vendor` beside this file, or
 * in node_modules, in the releases below.
 */

import { BadInput, CheckFailed, EdgekitError, NotPossibleHere } from "./errors.mjs";
import { GENERATION, opened, parsed, variantOf } from "./model.mjs";
import { TASKS } from "./tasks.mjs";
import { VENDOR } from "./vendor.mjs";

export { BadInput, CheckFailed, EdgekitError, NotPossibleHere, VENDOR };

const MANIFEST = "manifest.json", DIGEST = "manifest.json.sha256";
const LARGEST_MANIFEST = 4_000_000;
/** Bytes of all files: WebAssembly has 4 GB for the files, the session and what it computes. */
const LARGEST_BUNDLE = 2 ** 31;
const SAFE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const OPTIONS = ["vendor", "threads", "progress", "provider", "libraries"];
/** Files of `VENDOR` that ONNX Runtime is made of: its module and its WebAssembly. The one for WebGPU computes what that does not take in WebAssembly. */
const ORT = {
  wasm: ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"],
  webgpu: ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"],
};
const TOKENIZERS = "tokenizers.min.mjs", JINJA = "jinja.mjs";
const INSTEAD = "WebAssembly instead of WebGPU";
const ON_NODE = typeof process === "object" && Boolean(process.versions?.node);
/** A module of one function that uses a 128-bit vector: valid where SIMD is. */
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]);

/**
 * The bundle at `place`, hashed and opened: a folder (a URL, in Node a path as well), or an object of {file name: Uint8Array}.
 *
 * `options`: {vendor: where ONNX Runtime and the tokenizers library lie, threads: how many (default: the bundle's own), progress: called with
 * (bytes so far, bytes in all) while files are read, provider: "wasm" (the default) or "webgpu", in whose place there is WebAssembly, and a word in
 * `notes`, where this browser or this model does without it, libraries: {ort, tokenizers, jinja}, modules in the place of those in `vendor`, such as
 * onnxruntime-react-native or onnxruntime-node, which need no WebAssembly; jinja for conversations alone}.
 */
export async function load(place, options = {}) {
  const unknown = Object.keys(options).filter((name) => !OPTIONS.includes(name));
  if (unknown.length) throw new BadInput(`unknown option ${unknown[0]}`, { fix: `known are ${OPTIONS.join(", ")}` });
  const given = options.libraries;
  if (given !== undefined && !(given?.ort?.InferenceSession && given.tokenizers?.Tokenizer)) {
    throw new BadInput("libraries: not {ort, tokenizers}", { fix: "give the modules of ONNX Runtime and of @huggingface/tokenizers" });
  }
  if (options.provider !== undefined && (given !== undefined || !(options.provider in ORT))) {
    const fix = `give ${Object.keys(ORT).map((name) => JSON.stringify(name)).join(" or ")}; with libraries leave it out, whose ONNX Runtime has its own`;
    throw new BadInput(`provider: ${JSON.stringify(options.provider)} cannot be had`, { fix });
  }
  checkMachine(given === undefined);
  const notes = [], { vendor, threads, progress } = options;
  const libraries = given !== undefined ? Promise.resolve(given) : options.provider === "webgpu" ? withWebGpu(vendor, notes) : loadLibraries(vendor);
  libraries.catch(() => {}); // its fault is told below, once the bundle is known to be whole
  const bundle = await openBundle(place, progress), found = await libraries;
  const jinja = () => (given === undefined ? loadJinja(vendor) : given.jinja);
  const open = (chosen) => opened({ ...bundle, notes: [...bundle.notes, ...notes] }, { ...chosen, jinja }, threads);
  try {
    return await open(found);
  } catch (fault) {
    if (found.provider !== "webgpu") throw fault;
    notes.push(`${INSTEAD}, which does not take this model: ${fault.what ?? fault.message}`);
    return open(await loadLibraries(vendor));
  }
}

/** ONNX Runtime for WebGPU, or, with the reason in `notes`, the one for WebAssembly. */
async function withWebGpu(vendor, notes) {
  const lacking = await lacksWebGpu(notes);
  if (lacking !== null) {
    notes.push(`${INSTEAD}: ${lacking}`);
    return loadLibraries(vendor);
  }
  try {
    return await loadLibraries(vendor, "webgpu");
  } catch (fault) {
    if (fault instanceof CheckFailed) throw fault;
    notes.push(`${INSTEAD}: ${fault.where ? `${fault.where}: ` : ""}${fault.what ?? fault.message}`);
    return loadLibraries(vendor);
  }
}

/** Why this browser has no WebGPU; null where it has. */
async function lacksWebGpu(notes) {
  const { gpu } = globalThis.navigator ?? {};
  if (!gpu) return ON_NODE ? "Node has none" : "this browser has none, or has it switched off";
  try {
    const adapter = await gpu.requestAdapter();
    if (adapter === null) return "this browser offers no graphics processor to it";
    if (adapter.info?.isFallbackAdapter) notes.push(`WebGPU without a graphics processor: ${adapter.info.architecture || "software"} computes in its place, slower than WebAssembly`);
    return null;
  } catch (fault) {
    return `this browser refuses it: ${fault.message}`;
  }
}

/** Refuse what cannot run the model, in words. */
function checkMachine(needsWebAssembly) {
  if (needsWebAssembly && typeof WebAssembly !== "object") {
    throw new NotPossibleHere("WebAssembly is not there", { fix: "use a browser that has it, or one that does not switch it off (lockdown mode does)" });
  }
  if (!globalThis.crypto?.subtle) {
    throw new NotPossibleHere("files cannot be hashed: WebCrypto is not there", { fix: "serve the page by https, or from localhost" });
  }
  if (!needsWebAssembly) return;
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
    throw new NotPossibleHere(`cannot be fetched: ${fault.message}`, { where: name, fix: `see whether the network, or the page's policy (connect-src), permits ${url}` });
  }
  const from = { where: name, fix: `see whether ${url} is where the server has it` };
  if (!response.ok) throw new BadInput(`cannot be fetched: ${response.status} ${response.statusText}`, from);
  if (/^text\/html\b/i.test(response.headers.get("content-type") ?? "")) throw new BadInput("the server gave a web page in its place", from);
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (fault) {
    if (fault instanceof RangeError) throw new NotPossibleHere("not enough memory for it", { where: name, fix: "close other pages" });
    throw new NotPossibleHere(`ended before it was whole: ${fault.message}`, { where: name, fix: "load the page again where the connection is better" });
  }
}

async function sha256(bytes) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

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

// --- libraries ---

const libraries = {};

/** What `work` gives, done once for all bundles, and again after it failed. */
function once(name, work) {
  libraries[name] ??= work().catch((fault) => {
    delete libraries[name];
    throw fault;
  });
  return libraries[name];
}

/** ONNX Runtime for `provider` and the tokenizers library, each file of which is what `VENDOR` says; loaded once for all bundles. */
export const loadLibraries = (vendor, provider = "wasm") => once(provider, () => importLibraries(vendor, provider));

/** The library of chat templates. */
const loadJinja = (vendor) => once(JINJA, async () => import((await checkedFiles([JINJA], vendor)).places[JINJA].href));

async function importLibraries(vendor, provider) {
  const [module, wasm] = ORT[provider];
  const { places, files } = await checkedFiles([module, wasm, TOKENIZERS], vendor);
  const [ort, tokenizers] = await Promise.all([import(places[module].href), import(places[TOKENIZERS].href)]);
  ort.env.wasm.wasmBinary = files[wasm];
  ort.env.logLevel = "error";
  return { ort, tokenizers, provider };
}

/** {places: URLs, files: bytes} of `names`, by name. */
async function checkedFiles(names, vendor) {
  const places = Object.fromEntries(await Promise.all(names.map(async (file) => [file, await vendorUrl(file, vendor)])));
  const files = Object.fromEntries(await Promise.all(names.map(async (file) => {
    const bytes = await readUrl(places[file], file);
    const found = await sha256(bytes);
    const wanted = VENDOR[file].sha256;
    if (found !== wanted) {
      throw new CheckFailed(`is not the file of ${releaseOf(file)}: sha256 ${found.slice(0, 16)}… instead of ${wanted.slice(0, 16)}…`, { where: file, fix: `put in that of ${releaseOf(file)}` });
    }
    return [file, bytes];
  })));
  return { places, files };
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
