// Golden inputs of a bundle, answered by transformers.js from the files that `edgekit artifacts --layout transformers-js` wrote.
// node transformers_js.mjs PACKAGE LAYOUT GOLDEN TASK
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [, , packageFile, folder, golden, task] = process.argv;
const { AutoModel, AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, env } =
  await import(pathToFileURL(packageFile).href);
env.allowRemoteModels = false;
const CLASSES = {
  "token-classification": AutoModelForTokenClassification,
  "question-answering": AutoModelForQuestionAnswering,
  "feature-extraction": AutoModel,
};
const tokenizer = await AutoTokenizer.from_pretrained(folder);
const model = await (CLASSES[task] ?? AutoModelForSequenceClassification).from_pretrained(folder);
const { rows } = JSON.parse(await readFile(golden, "utf8"));
const found = [];
for (const { input } of rows) {
  const [text, pair] = typeof input === "string" ? [input] : [input.text ?? input.question, input.text_pair ?? input.context];
  if (typeof text !== "string" || input.labels) {
    found.push(null); // ready-made words, or several runs
    continue;
  }
  const fed = tokenizer(text, { text_pair: pair ?? null, truncation: true });
  const given = await model(fed);
  const outputs = Object.fromEntries(Object.entries(given).map(([name, tensor]) => [name, Array.from(tensor.data)]));
  found.push({ ids: fed.input_ids.tolist()[0].map(Number), outputs });
}
console.log(JSON.stringify(found));
