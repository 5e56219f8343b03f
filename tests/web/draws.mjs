/** Tokens that the runner's sampler chooses by given logits, and what its stop texts let through. */
import { readFileSync, writeFileSync } from "node:fs";

const [, , job, done] = process.argv;
const { runner, logits, prompt, settings, pieces, stops } = JSON.parse(readFileSync(job, "utf8"));
const { parseSampling, sampler, stopTexts } = await import(`file://${runner}/generate.mjs`);

const rows = logits.map((row) => Float32Array.from(row));
const tokens = settings.map((given) => {
  const choose = sampler(parseSampling(given), prompt, rows[0].length);
  return rows.map(choose);
});
const through = stopTexts(stops);
writeFileSync(done, JSON.stringify({ tokens, texts: [...pieces.map(([text, hidden]) => through.push(text, hidden)), through.finish()], found: through.found() }));
