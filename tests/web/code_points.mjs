/** What the runner's steps before a model make of every code point, as text.mjs has them: normalized, and into how many pieces it is split. */
import { readFileSync, writeFileSync } from "node:fs";

const [, , job, done] = process.argv;
const { runner, points, normalizers, pre_tokenizers } = JSON.parse(readFileSync(job, "utf8"));
const { asText, normalizer, placed, preTokenizer } = await import(`file://${runner}/text.mjs`);

const found = { normalizers: {}, pre_tokenizers: {} };
for (const [name, config] of Object.entries(normalizers)) {
  const normalise = normalizer(config, null);
  found.normalizers[name] = points.map((code) => asText(normalise(placed(`a${String.fromCodePoint(code)}a`))).slice(1, -1));
}
for (const [name, config] of Object.entries(pre_tokenizers)) {
  const split = preTokenizer(config, null);
  found.pre_tokenizers[name] = points.map((code) => split(placed(`a${String.fromCodePoint(code)}1`)).map((piece) => `${piece.from[0]}-${piece.to.at(-1)}`).join(" "));
}
writeFileSync(done, JSON.stringify(found));
