/**
 * The first output of a graph for each of `feeds`, {name: {type, dims, data}}, in a page or in Node. With `profile`, ONNX Runtime prints what it ran.
 * `vendor`, `model`: URLs; `data`: {name in the graph: URL} of weights in other files; `provider`: "wasm", or "webgpu" in a page that has it.
 */

async function bytesOf(url) {
  if (!url.startsWith("file:")) return new Uint8Array(await (await fetch(url)).arrayBuffer());
  const { readFile } = await import("node:fs/promises");
  return new Uint8Array(await readFile(new URL(url)));
}

const ARRAYS = {
  float32: Float32Array, int32: Int32Array, int8: Int8Array, float16: globalThis.Float16Array ?? Uint16Array,
  int64: { from: (values) => BigInt64Array.from(values, BigInt) },
};

const ORT = {
  wasm: ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"], webgpu: ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"],
};

export async function ran({ vendor, model, data, feeds, profile, provider = "wasm" }) {
  const [module, wasm] = ORT[provider];
  const ort = await import(`${vendor}${module}`);
  ort.env.wasm.wasmBinary ??= await bytesOf(`${vendor}${wasm}`);
  Object.assign(ort.env, { logLevel: "error" });
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(await bytesOf(model), {
    executionProviders: [provider], graphOptimizationLevel: "all", enableProfiling: profile,
    externalData: await Promise.all(Object.entries(data).map(async ([path, url]) => ({ path, data: await bytesOf(url) }))),
  });
  const outputs = [];
  for (const feed of feeds) {
    const given = Object.fromEntries(Object.entries(feed).map(([name, { type, dims, data: values }]) => [name, new ort.Tensor(type, ARRAYS[type].from(values), dims)]));
    const found = await session.run(given);
    outputs.push(Array.from(found[session.outputNames[0]].data, Number));
  }
  if (profile) session.endProfiling();
  await session.release();
  return outputs;
}
