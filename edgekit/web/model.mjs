/** A bundle whose files are known to be right, opened: its session, its tokenizer and its task. */

import { BadInput, CheckFailed, NotPossibleHere } from "./errors.mjs";
import { TASKS, said } from "./tasks.mjs";
import { encoder, tokeniser } from "./tokenise.mjs";

export const GENERATION = "text-generation";
/** Golden inputs that are replayed before a model is computed by WebGPU. */
const PROBED = 2;
const ON_NODE = typeof process === "object" && Boolean(process.versions?.node);
const utf8 = new TextDecoder("utf-8", { fatal: true });

export function parsed(bytes, name) {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch (fault) {
    throw new BadInput(`not sound JSON: ${fault.message}`, { where: name });
  }
}

export const variantOf = (manifest) => Object.values(manifest?.components?.model?.variants ?? {})[0];

/**
 * The model of {manifest, digest, files: {name: bytes}, notes}. `libraries`: {ort, tokenizers, provider, jinja: gives the library of chat templates};
 * `threads`: undefined for the bundle's own number.
 */
export async function opened({ manifest, digest, files, notes }, { ort, tokenizers, provider = "cpu", jinja }, threads) {
  const facts = manifest.edgekit, variant = variantOf(manifest);
  const count = usableThreads(threads ?? (variant.session_options.intra_op_num_threads || 1), provider !== "cpu", notes);
  if (provider !== "cpu") ort.env.wasm.numThreads = count;
  let session;
  try {
    session = await ort.InferenceSession.create(files[variant.file], {
      executionProviders: [provider],
      intraOpNumThreads: count,
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
    segments: session.inputNames.includes("token_type_ids"),
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
    const { CONVERSATIONS } = await import("./chat.mjs");
    const file = facts.generation.chat_template ?? null;
    if (file !== null && !(file in files)) throw new BadInput("the chat template is missing", { where: file });
    const proof = CONVERSATIONS in files ? parsed(files[CONVERSATIONS], CONVERSATIONS) : null;
    const template = file === null ? null : { file, source: utf8.decode(files[file]), proof, jinja };
    language = languageModel({ session: open, ort, facts, encoding, alone, failed: sessionFault, template });
  }
  const task = language === null ? TASKS[facts.task] : { prepare: (_, item) => language.windows(item), answer: language.answer };

  const asked = (item, topK) => ({
    labels: facts.labels, threshold: facts.threshold ?? null, activation: facts.activation ?? "identity", topK, item,
  });

  /**
   * The answer to one input: a text, or an object for tasks that read several. `top_k`: how many labels, or spans, it lists. Of a language model
   * the settings are those of sampling, and `chat`: false, that a text is gone on with where there is a chat template.
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

  function goldenRows() {
    const { rows } = parsed(files[facts.golden.file], facts.golden.file);
    if (rows?.length !== facts.golden.count) throw new CheckFailed(`${rows?.length} golden inputs instead of ${facts.golden.count}`, { where: facts.golden.file });
    return rows;
  }

  /** What is wrong with a golden input here, null where nothing is, and how far its outputs are from the stored ones. */
  async function replayed(row) {
    const windows = task.prepare(tokenise, row.input);
    if (JSON.stringify(windows.map((window) => window.ids)) !== JSON.stringify(row.input_ids)) {
      return { fault: "other tokens than where the bundle was made", difference: 0, single: 0 };
    }
    const found = await outputs(windows);
    const [difference, single] = differences(found, row.outputs, windows.length);
    const answer = task.answer(found, windows, asked(row.input, 1));
    let fault = null;
    if (!(difference <= facts.golden.tolerance)) {
      fault = `its outputs differ by ${difference.toPrecision(3)}, more than ${facts.golden.tolerance}`;
    } else if (row.margin !== null && row.margin > 2 * single && JSON.stringify(said(answer)) !== JSON.stringify(row.answer)) {
      fault = `answers ${JSON.stringify(said(answer))} instead of ${JSON.stringify(row.answer)}`;
    }
    return { fault, difference, single };
  }

  /**
   * Replay the golden inputs: their token ids, their outputs within the bundle's tolerance, and their answers where those leave no doubt; of a bundle with
   * a chat template its conversations as well, which must be written letter by letter as where it was made.
   */
  async function verify() {
    const faults = [], rows = goldenRows();
    let worst = 0, largest = 0;
    for (const [number, row] of rows.entries()) {
      const { fault, difference, single } = await replayed(row);
      [worst, largest] = [Math.max(worst, difference), Math.max(largest, single)];
      if (fault !== null) faults.push(`input ${number}: ${fault}`);
    }
    if (faults.length) throw new CheckFailed(`${faults.length} of ${rows.length} golden inputs are not right`, { faults });
    const conversations = await language?.talk?.verify() ?? 0;
    return {
      bundle: manifest.name, digest, files: Object.keys(manifest.assets).length, golden: rows.length, ...(conversations ? { conversations } : {}),
      difference: worst, largest_difference: largest, tolerance: facts.golden.tolerance, ok: true,
    };
  }

  if (provider === "webgpu") { // a graph that was taken may yet have a kernel that lacks an input, or computes something else
    for (const row of goldenRows().slice(0, PROBED)) {
      const { fault } = await replayed(row);
      if (fault !== null) throw new CheckFailed(`a golden input is not right: ${fault}`);
    }
  }
  return {
    manifest, digest, notes, task: facts.task, run, verify,
    /** What computes: "webgpu", "wasm", or "cpu", the ONNX Runtime that was given. */
    provider,
    /** Whether texts are messages of a user, and {messages: [...]} is read: of a language model with a chat template. */
    chat: Boolean(language?.talk),
    /** Of a language model: the answer to a text or a conversation, a piece a token, {text, token, ended}. */
    stream(prompt, settings = {}) {
      if (language === null) throw new BadInput(`stream is for language models, and this is ${facts.task}`, { fix: "call run" });
      return language.stream(prompt, settings);
    },
    /** Windows of an input, as the model reads it: ids, and where each token lies. */
    windows: (item) => task.prepare(tokenise, item),
    /** The graph's first output for each window: {data, dims}; of a language model the log-probabilities of a text's tokens. */
    outputs,
    /** Milliseconds of runs here, as `edgekit bench` takes them; see bench.mjs. */
    async bench(settings = {}) {
      const { benchmark } = await import("./bench.mjs");
      const items = () => parsed(files[facts.golden.file], facts.golden.file).rows.map((row) => row.input);
      const answer = (outputs, windows, item) => task.answer(outputs, windows, asked(item, 1));
      return benchmark({ run, outputs, answer, items, prepare: (item) => task.prepare(tokenise, item), language }, settings);
    },
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
function usableThreads(wanted, inWebAssembly, notes) {
  if (!Number.isSafeInteger(wanted) || wanted < 1 || wanted > 64) throw new BadInput(`threads: ${wanted} is not a whole number from 1 to 64`);
  if (wanted > 1 && inWebAssembly && !ON_NODE && !globalThis.crossOriginIsolated) {
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
  if (/webgpu|GPUDevice|GPUBuffer|device (is |was )?lost/i.test(message)) {
    return new NotPossibleHere(`WebGPU gave up: ${message}`, { fix: 'load it again, without provider: "webgpu"' });
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
