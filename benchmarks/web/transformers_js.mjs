/** The original in transformers.js' own INT8, in a page: loaded as its documentation says, and timed by runner.mjs' own loops. */
import { env, pipeline } from "./transformers.min.js";

env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = new URL("./models/", import.meta.url).pathname;
env.backends.onnx.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
env.backends.onnx.wasm.numThreads = 1;

export async function times(task, items, settings) {
  const { sampled, warmUp } = await import("../runner/bench.mjs");
  const ask = await pipeline(task, "original", { dtype: "q8", device: "wasm" });
  let turn = 0;
  const once = async () => {
    const text = items[turn++ % items.length];
    const begun = performance.now();
    await ask(text);
    return performance.now() - begun;
  };
  await warmUp(once, settings.max_warmup_seconds);
  return sampled(once, settings.seconds, settings.min_runs);
}
