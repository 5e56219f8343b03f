/**
 * What one fresh process of `edgekit bench` does, in a page or in Node: it loads a bundle, answers once, and takes scenarios one by one.
 * `runner`: URL of the runner's folder; `job`: {bundle, vendor, threads, items, spawned: milliseconds since 1970}.
 */

const now = () => performance.timeOrigin + performance.now();
const entered = now();

export async function begin(runner, { bundle, vendor, threads, items, spawned }) {
  const { load, loadLibraries } = await import(`${runner}runner.mjs`);
  await loadLibraries(vendor);
  const imported = now();
  const model = await load(bundle, { vendor, threads });
  const loaded = now();
  await model.run(items[0], model.task === "text-generation" ? { max_new_tokens: 1 } : {});
  const answered = now();
  const phases = {
    interpreter_ms: entered - spawned, import_ms: imported - entered, session_ms: loaded - imported, first_run_ms: answered - loaded,
    first_answer_ms: answered - spawned,
  };
  return { phases, notes: model.notes, take: (settings) => model.bench({ ...settings, items }) };
}
