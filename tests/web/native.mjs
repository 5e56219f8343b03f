/** What docs/mobile.md says, done in Node: the runner on another ONNX Runtime, and golden inputs by a graph alone. */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

const [, , job, done] = process.argv;
const { runner, vendor, bundle, ortFile, ort: module } = JSON.parse(readFileSync(job, "utf8"));
const { load } = await import(`file://${runner}/runner.mjs`);
const ort = (await import(module)).default;
const tokenizers = await import(`file://${vendor}/tokenizers.min.mjs`);
delete globalThis.WebAssembly; // as where there is none

const model = await load(bundle, { libraries: { ort, tokenizers } });
const verified = await model.verify();
const answer = await model.run("turn on the red light in the kitchen");

/** The largest difference of a graph's outputs to those of the golden inputs, whose token ids need no tokenizer. */
async function graphAlone(file) {
  const manifest = JSON.parse(readFileSync(`${bundle}/manifest.json`, "utf8"));
  const digest = createHash("sha256").update(readFileSync(`${bundle}/golden.json`)).digest("hex");
  if (digest !== manifest.assets["golden.json"].sha256) throw new Error("golden.json is not the bundle's");
  const session = await ort.InferenceSession.create(file);
  let largest = 0;
  for (const row of JSON.parse(readFileSync(`${bundle}/golden.json`, "utf8")).rows) {
    const ids = row.input_ids[0], tensor = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
    const feed = { input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1)), token_type_ids: tensor(ids.map(() => 0)) };
    const found = await session.run(Object.fromEntries(session.inputNames.map((name) => [name, feed[name]])));
    const values = found[session.outputNames[0]].data, wanted = row.outputs.flat(9);
    for (let place = 0; place < values.length; place++) largest = Math.max(largest, Math.abs(values[place] - wanted[place]));
  }
  return largest;
}
writeFileSync(done, JSON.stringify({ verified, answer, graph: await graphAlone(`${bundle}/model.onnx`), ort: ortFile ? await graphAlone(ortFile) : null }));
process.exit(0);
