/**
 * Answers of the runner, one JSON line for each input: {windows, answer} or {error}. Called as: node answers.mjs RUNNER BUNDLE INPUTS OUT.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , runner, bundle, inputs, out] = process.argv;
const { EdgekitError, load } = await import(pathToFileURL(runner).href);
const model = await load(bundle);
const lines = [];
for (const line of readFileSync(inputs, "utf8").split("\n").filter(Boolean)) {
  const item = JSON.parse(line);
  try {
    const windows = model.windows(item).map(({ ids, types, words, starts, ends, truncated }) => ({ ids, types, words, starts, ends, truncated }));
    lines.push(JSON.stringify({ windows, answer: await model.run(item, { top_k: 3 }) }));
  } catch (fault) {
    if (!(fault instanceof EdgekitError)) throw fault;
    lines.push(JSON.stringify({ error: fault.name, what: fault.what }));
  }
}
writeFileSync(out, `${lines.join("\n")}\n`);
