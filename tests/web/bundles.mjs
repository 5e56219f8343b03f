/** What the runner says of sound bundles, of bundles with one bit changed in one file, and of calls that are wrong or come together. */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { teller } from "./told.mjs";

const [, , job, done] = process.argv;
const { runner, vendor, bundles, inputs } = JSON.parse(readFileSync(job, "utf8"));
const { EdgekitError, load } = await import(`file://${runner}/runner.mjs`);
const told = teller(EdgekitError);

const found = {};
for (const [name, folder] of Object.entries(bundles)) {
  const files = Object.fromEntries(readdirSync(folder).map((file) => [file, new Uint8Array(readFileSync(`${folder}/${file}`))]));
  const model = await load(folder, { vendor });
  const flipped = {};
  for (const [file, bytes] of Object.entries(files)) {
    const other = bytes.slice();
    other[other.length >> 1] ^= 1;
    flipped[file] = await told(() => load({ ...files, [file]: other }, { vendor }).then(() => "loaded"));
    const { [file]: _, ...fewer } = files;
    flipped[`no ${file}`] = await told(() => load(fewer, { vendor }).then(() => "loaded"));
  }
  found[name] = {
    notes: model.notes,
    verified: await told(() => model.verify()),
    fromBytes: await told(async () => (await load(files, { vendor })).digest === model.digest),
    answers: await Promise.all(inputs.map((input) => told(() => model.run(input)))),
    bad: await Promise.all([
      () => model.run(""), () => model.run(" \n"), () => model.run(7), () => model.run("a\ud800b"), () => model.run({ txt: "a" }),
      () => model.run("a", { top_k: 0 }), () => model.run("a", { topk: 1 }), () => load(folder, { threds: 1 }), () => load(`${folder}-not`, { vendor }),
      () => load(folder, { vendor, threads: 0 }),
    ].map(told)),
    flipped,
  };
  await model.close();
  found[name].closed = await told(() => model.run("a"));
}
writeFileSync(done, JSON.stringify(found));
