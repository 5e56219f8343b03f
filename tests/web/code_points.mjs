/** What the runner's steps before a model make of every code point, as text.mjs has them: normalized, and where it is split.
 * `texts` hold many code points each, every one between two letters. */
import { readFileSync, writeFileSync } from "node:fs";

const [, , job, done] = process.argv;
const { runner, texts, normalizers, pre_tokenizers } = JSON.parse(readFileSync(job, "utf8"));
const { asText, normalizer, placed, preTokenizer } = await import(`file://${runner}/text.mjs`);

const found = { normalizers: {}, pre_tokenizers: {} };
for (const [name, config] of Object.entries(normalizers)) {
  const normalise = normalizer(config, null);
  found.normalizers[name] = texts.map((text) => asText(normalise(placed(text))));
}
for (const [name, config] of Object.entries(pre_tokenizers)) {
  const split = preTokenizer(config, null);
  found.pre_tokenizers[name] = texts.map((text) => split(placed(text)).map((piece) => `${piece.from[0]}-${piece.to.at(-1)}`).join(" "));
}
writeFileSync(done, JSON.stringify(found));
