/** What the library of chat templates makes of each [template, conversation]: a text, or {fault}. */
import { readFileSync, writeFileSync } from "node:fs";

const [, , job, done] = process.argv;
const { runner, vendor, tokens, date, cases } = JSON.parse(readFileSync(job, "utf8"));
const { checkedMessages, renderer } = await import(`file://${runner}/chat.mjs`);
const library = await import(`file://${vendor}/jinja.mjs`);

writeFileSync(done, JSON.stringify(cases.map(([source, messages]) => {
  try {
    return renderer(source, tokens, library)(checkedMessages(messages), new Date(date));
  } catch (fault) {
    return { fault: fault.message };
  }
})));
