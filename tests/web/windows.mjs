/** Windows that the runner makes of texts, by each of several tokenizer files. */
import { readFileSync, writeFileSync } from "node:fs";

const [, , job, done] = process.argv;
const { runner, vendor, tokenizers, inputs, max_length: maxLength } = JSON.parse(readFileSync(job, "utf8"));
const library = await import(`file://${vendor}/tokenizers.min.mjs`);
const { encoder, tokeniser } = await import(`file://${runner}/tokenise.mjs`);
const { EdgekitError } = await import(`file://${runner}/errors.mjs`);

const found = {};
for (const [name, document] of Object.entries(tokenizers)) {
  const tokenise = tokeniser(encoder(document, library), { maxLength, segments: true, pairs: null, prompts: { texts: {} } });
  found[name] = inputs.map(([way, given]) => {
    try {
      const windows = [tokenise[way](...given)].flat();
      return windows.map(({ ids, types, words, starts, ends, truncated }) => ({ ids, types, words, starts, ends, truncated }));
    } catch (fault) {
      if (!(fault instanceof EdgekitError)) throw fault;
      return fault.name;
    }
  });
}
writeFileSync(done, JSON.stringify(found));
