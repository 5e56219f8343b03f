/** What the runner makes of a language model's bundle: its golden inputs, answers, the pieces of one, and refusals. */
import { readFileSync, writeFileSync } from "node:fs";
import { teller } from "./told.mjs";

const [, , job, done] = process.argv;
const { runner, vendor, bundle, asks, wrong } = JSON.parse(readFileSync(job, "utf8"));
const { EdgekitError, load } = await import(`file://${runner}/runner.mjs`);
const told = teller(EdgekitError);
const model = await load(bundle, { vendor });

const pieces = [];
for await (const piece of model.stream(asks[0][0], asks[0][1])) pieces.push(piece);
writeFileSync(done, JSON.stringify({
  verified: await told(() => model.verify()),
  answers: await Promise.all(asks.map(([prompt, settings]) => told(() => model.run(prompt, settings)))),
  pieces,
  wrong: await Promise.all(wrong.map(([prompt, settings]) => told(() => model.run(prompt, settings)))),
}));
