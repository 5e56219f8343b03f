/** Types of runner.mjs. Names in answers are those of edgekit's Python runtime; `start` and `end` count characters (code points). */

export class EdgekitError extends Error {
  readonly what: string;
  readonly where: string | null;
  readonly fix: string | null;
  readonly faults: readonly string[];
}
export class BadInput extends EdgekitError {}
export class CheckFailed extends EdgekitError {}
export class NotPossibleHere extends EdgekitError {}

export interface Vendored {
  readonly package: string;
  readonly release: string;
  readonly path: string;
  readonly sha256: string;
  /** What it is for, where not every bundle needs it. */
  readonly part?: "webgpu" | "chat";
}
/** What is loaded from elsewhere, by file name. */
export const VENDOR: Readonly<Record<string, Vendored>>;

export interface Options {
  /** The folder that ONNX Runtime and the tokenizers library lie in. Default: `vendor` beside runner.mjs; in Node, node_modules too. */
  vendor?: string | URL;
  /** Threads inside one operator. Default: as the bundle says; one in a page that is not cross-origin isolated. */
  threads?: number;
  progress?: (bytes: number, all: number) => void;
  /** Modules in the place of those in `vendor`: another ONNX Runtime with the interface of onnxruntime-common, which then computes. */
  libraries?: { ort: unknown; tokenizers: unknown; jinja?: unknown };
  /** What computes. Default: "wasm". Where WebGPU cannot be had, or does not take the model, `notes` says why, and `provider` of the model is "wasm". */
  provider?: "wasm" | "webgpu";
}

export type Input =
  | string
  | readonly string[]
  | { words: readonly string[] }
  | { text: string; text_pair: string }
  | { text: string; prompt_name?: string | null }
  | { text: string; labels: string | readonly string[]; template?: string; multi_label?: boolean }
  | { question: string; context: string }
  | { query: string; passages: string | readonly string[] };

export interface LabelScore {
  label: string;
  score: number;
}
export interface Entity extends LabelScore {
  text?: string;
  start: number;
  end: number;
}
export interface Span {
  text: string;
  start: number;
  end: number;
  score: number;
}
export type Answer = { truncated?: true } & (
  | (LabelScore & { scores?: LabelScore[] })
  | { labels: LabelScore[]; scores: LabelScore[] }
  | { score: number }
  | { embedding: number[] }
  | { scores: number[]; order: number[] }
  | { entities?: Entity[]; words?: Entity[]; tags?: string[] }
  | (Span & { answers?: Span[] })
);

/** Of a language model. */
export interface Sampling {
  temperature?: number;
  top_k?: number;
  top_p?: number;
  min_p?: number;
  repetition_penalty?: number;
  seed?: number;
  max_new_tokens?: number;
  stop?: string | readonly string[];
  stop_token_ids?: readonly number[];
  logit_bias?: Readonly<Record<string, number>>;
  /** false: a text is gone on with as it is, also where there is a chat template. */
  chat?: boolean;
}
export interface Message {
  role: string;
  content: string;
  name?: string;
}
/** A text, which is a user's message where the bundle has a chat template and `chat` is not false, or a conversation. */
export type Prompt = string | { messages: readonly Message[] };
export interface Piece {
  text: string;
  token: number;
  /** Why the answer ends with this piece: "stop", "length" or "context". */
  ended: string | null;
}
export interface Generated {
  text: string;
  ended: string;
  prompt_tokens: number;
  new_tokens: number;
}

export interface Window {
  ids: number[];
  types: number[] | null;
  words: number[];
  starts: number[];
  ends: number[];
  text: string;
  truncated: boolean;
  ready: number;
}

export interface Verified {
  bundle: string;
  digest: string;
  files: number;
  golden: number;
  /** Of a bundle with a chat template: conversations that are written here as where it was made. */
  conversations?: number;
  difference: number;
  largest_difference: number;
  tolerance: number;
  ok: true;
}

/** What is timed; names and meanings are those of `edgekit bench`. */
export interface BenchSettings {
  /** Inputs of the task; default: the golden ones. */
  items?: readonly Input[];
  /** Of an encoder: "text" (from an input to its answer), "real" (the graph alone), or a number of tokens. */
  scenarios?: readonly string[];
  /** Of a language model: lengths of prompts in tokens. */
  prompts?: readonly number[];
  seconds?: number;
  min_runs?: number;
  max_warmup_seconds?: number;
  seed?: number;
}
export interface Benched {
  scenarios: Record<string, { samples: number[]; p50_ms: number; began: number; ended: number; runs: number }>;
  tokenise_ms: number;
  postprocess_ms: number;
}

export interface Model {
  readonly manifest: Readonly<Record<string, unknown>>;
  readonly digest: string;
  readonly task: string;
  /** What computes; "cpu" is the ONNX Runtime that was given as `libraries`. */
  readonly provider: "wasm" | "webgpu" | "cpu";
  /** What a person should know of this load, such as threads, or WebGPU, that could not be had. */
  readonly notes: readonly string[];
  run(input: Input, settings?: { top_k?: number }): Promise<Answer>;
  run(prompt: Prompt, settings?: Sampling): Promise<Generated>;
  /** Whether texts are messages of a user, and conversations are read. */
  readonly chat: boolean;
  stream(prompt: Prompt, settings?: Sampling): AsyncGenerator<Piece, void, void>;
  verify(): Promise<Verified>;
  windows(input: Input): Window[];
  /** The graph's first output for each window; of a language model the log-probabilities of a text's tokens. */
  outputs(windows: readonly Window[]): Promise<{ data: ArrayLike<number>; dims: readonly number[] }[]>;
  /** Milliseconds of runs, here and now. */
  bench(settings?: BenchSettings): Promise<Benched>;
  file(name: string): Uint8Array | undefined;
  close(): Promise<void>;
}

/** The bundle at a folder's URL (in Node a path as well), or of {file name: bytes}; every file is hashed before any is used. */
export function load(place: string | URL | Readonly<Record<string, Uint8Array>>, options?: Options): Promise<Model>;

/** Fetch and check ONNX Runtime and the tokenizers library ahead of the first `load`, which does it otherwise. */
export function loadLibraries(vendor?: string | URL, provider?: "wasm" | "webgpu"): Promise<unknown>;
