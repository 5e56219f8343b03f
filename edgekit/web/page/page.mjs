/** The page of a bundle: a form for its task, its answer and the time that it took, its proof and its model card. */

import { EdgekitError, load } from "./runner/runner.mjs";

const at = (id) => document.getElementById(id);
const started = performance.now();

/** Fields of each task's form: [name, label, how many lines]. */
const FIELDS = {
  "text-ranking": [["query", "Query", 1], ["passages", "Passages, one a line", 5]],
  "zero-shot-classification": [["text", "Text", 3], ["labels", "Labels, separated by commas", 1]],
  "question-answering": [["question", "Question", 1], ["context", "Text that answers it", 6]],
  "feature-extraction": [["text", "A text", 2], ["other", "Another text, to compare with", 2]],
  "text-generation": [["text", "Text that is gone on with", 3]],
};
/** Characters of the first field of an example. */
const LONGEST_EXAMPLE = 200;
/** Tokens of an answer, and the share of a model's context that one may take. */
const MOST_TOKENS = 128, MOST_SHARE = 0.25;
const CHAT = [["text", "Your message", 3]];
const ONE = [["text", "Text", 3]], PAIR = [["text", "First text", 2], ["text_pair", "Second text", 2]];
const TITLES = {
  "text-classification": "Says which label a text has.", "multi-label-classification": "Says which labels apply to a text.",
  "text-regression": "Gives a text a number.", "feature-extraction": "Says how alike two texts are in meaning.", "text-ranking": "Orders passages by how well they answer a query.",
  "zero-shot-classification": "Says which of your labels fits a text.", "token-classification": "Finds names and the like in a text.",
  "question-answering": "Finds the answer to a question in a text.", "text-generation": "Goes on with a text.",
};

function element(name, { text, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

const percent = (score) => `${(100 * score).toFixed(1)} %`;

/** Scores with a bar each; widths are attributes, as a strict policy forbids styles. */
function scoreList(scores) {
  return element("ul", { className: "scores" }, ...scores.map(({ label, score }) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    bar.setAttribute("aria-hidden", "true");
    box.setAttribute("width", `${Math.max(0, Math.min(100, 100 * score))}%`);
    box.setAttribute("height", "100%");
    bar.append(box);
    return element("li", {}, bar, element("span", { text: label }), element("span", { text: percent(score) }));
  }));
}

/** A text with stretches [start, end) of its characters marked. */
function marked(text, found) {
  const chars = Array.from(text), parts = [];
  let done = 0;
  for (const { start, end, label } of found) {
    parts.push(chars.slice(done, start).join(""), element("mark", { text: chars.slice(start, end).join("") }, ...(label ? [element("small", { text: label })] : [])));
    done = end;
  }
  return element("p", { className: "shown" }, ...parts, chars.slice(done).join(""));
}

const best = (text) => element("p", { className: "best", text });

/** What is shown of an answer to the values of the form. */
const SHOWN = {
  "text-classification": ({ label, scores }) => [best(label), scoreList(scores)],
  "zero-shot-classification": ({ label, scores }) => [best(label), scoreList(scores)],
  "multi-label-classification": ({ labels, scores }) => [best(labels.map(({ label }) => label).join(", ") || "No label applies"), scoreList(scores)],
  "text-regression": ({ score }) => [best(score.toFixed(4))],
  "text-ranking": ({ scores, order }, { passages }) => [
    element("ol", {}, ...order.map((place) => element("li", { text: `${passages[place]}  (${scores[place].toFixed(3)})` }))),
  ],
  "token-classification": ({ entities, words }, { text }) => [
    marked(text, entities ?? words), ...((entities ?? words).length ? [] : [element("p", { className: "hint", text: "Nothing was found." })]),
  ],
  "question-answering": (answer, { context }) => [best(answer.text || "No answer was found"), marked(context, answer.text ? [answer] : [])],
};

function inputOf(task, values) {
  if (task === "text-ranking") return { query: values.query, passages: values.passages.split("\n").filter((line) => line.trim()) };
  return Object.keys(values).length === 1 ? values.text : values;
}

/** How alike two embeddings are, as the model's own library compares them. */
function similarity(one, other, kind) {
  const sum = (of) => one.reduce((total, value, index) => total + of(value, other[index]), 0);
  if (kind === "euclidean") return -Math.sqrt(sum((a, b) => (a - b) ** 2));
  if (kind === "manhattan") return -sum((a, b) => Math.abs(a - b));
  const dot = sum((a, b) => a * b);
  return kind === "dot" ? dot : dot / Math.sqrt(sum((a) => a * a) * sum((_, b) => b * b));
}

/** A line of Markdown: escapes taken away, and code between backticks. */
function inline(text) {
  return text.replace(/\\([\\`*_{}[\]()#+.!|-])/g, "$1").split("`").map((part, index) => (index % 2 ? element("code", { text: part }) : part));
}

/** Markdown of a model card: headings, lists, code and paragraphs. */
function cardOf(source) {
  const shown = [];
  let list = null, code = null, words = [];
  const close = () => {
    if (words.length) shown.push(element("p", {}, ...inline(words.join(" "))));
    [list, words] = [null, []];
  };
  for (const line of source.replace(/^---\n[\s\S]*?\n---\n/, "").split("\n")) {
    if (line.startsWith("```")) {
      close();
      if (code === null) code = [];
      else {
        shown.push(element("pre", { tabIndex: 0, text: code.join("\n") }));
        code = null;
      }
    } else if (code !== null) code.push(line);
    else if (line.startsWith("#")) {
      close();
      if (!line.startsWith("# ")) shown.push(element("h3", {}, ...inline(line.replace(/^#+ /, ""))));
    } else if (line.startsWith("- ")) {
      if (list === null) {
        close();
        list = element("ul");
        shown.push(list);
      }
      list.append(element("li", {}, ...inline(line.slice(2))));
    } else if (!line.trim()) close();
    else words.push(line);
  }
  close();
  return shown;
}

function factsOf({ manifest, digest, notes }) {
  const { quality, target, golden, licence, version } = manifest.edgekit;
  const facts = [
    ["Bundle", manifest.name], ["Made for", target.name], ["Licence", licence],
    ["Quality", `${quality.metric} ${Number(quality.bundle).toFixed(4)} on ${quality.n} rows${quality.original == null ? "" : `; the original ${Number(quality.original).toFixed(4)}`}`],
    ["Golden inputs", `${golden.count}, within ${Number(golden.tolerance).toPrecision(3)}`], ["Digest", `sha256:${digest}`], ["edgekit", version],
    ...notes.map((note) => ["Note", note]),
  ];
  return facts.filter(([, value]) => value).flatMap(([name, value]) => [element("dt", { text: name }), element("dd", { text: String(value) })]);
}

function tell(fault) {
  at("fault").textContent = fault instanceof EdgekitError ? fault.message : `Something went wrong that was not foreseen: ${fault?.message ?? fault}`;
  at("fault").hidden = false;
}

function examplesOf(model, fields) {
  const { rows } = JSON.parse(new TextDecoder().decode(model.file(model.manifest.edgekit.golden.file)));
  const inputs = rows.map((row) => row.input).map((input) => (typeof input === "string" ? { text: input } : input));
  const usable = inputs.filter((values) => {
    const there = fields.every(([name]) => name === "other" || typeof values[name] === "string" || Array.isArray(values[name]));
    const text = String(values[fields[0][0]]);
    return there && text.length <= LONGEST_EXAMPLE && new Set(text.split(" ")).size > 2;
  });
  return usable.filter((_, index) => index % Math.max(1, Math.floor(usable.length / 4)) === 0).slice(0, 4);
}

async function begin() {
  const threads = globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  const model = await load("./bundle/", { threads, progress: (done, all) => { at("progress").value = all ? done / all : 1; } });
  const { task, manifest } = model;
  const fields = (model.chat ? CHAT : FIELDS[task]) ?? (JSON.parse(new TextDecoder().decode(model.file("config.json") ?? new TextEncoder().encode("{}"))).text_pairs ? PAIR : ONE);
  document.title = manifest.name;
  at("name").textContent = manifest.name;
  at("task").textContent = `${model.chat ? "Answers what you write." : TITLES[task]} Nothing that is typed leaves this device.`;
  for (const [name, label, lines] of fields) {
    const field = element(lines === 1 ? "input" : "textarea", { id: `field-${name}`, name, required: true, ...(lines === 1 ? { type: "text" } : { rows: lines }) });
    at("fields").append(element("label", { htmlFor: field.id, text: label }), field);
  }
  const valuesNow = () => Object.fromEntries(fields.map(([name]) => [name, at(`field-${name}`).value]));
  for (const values of examplesOf(model, fields)) {
    const said = String(values[fields[0][0]]);
    const button = element("button", { type: "button", className: "quiet", text: said.length > 60 ? `${said.slice(0, 60)}…` : said });
    button.addEventListener("click", () => {
      for (const [name] of fields) if (values[name] !== undefined) at(`field-${name}`).value = Array.isArray(values[name]) ? values[name].join(name === "labels" ? ", " : "\n") : values[name];
      at("input").requestSubmit();
    });
    at("examples").append(button);
    at("examples").hidden = false;
  }
  at("facts").append(...factsOf(model));
  at("readme").append(...cardOf(new TextDecoder().decode(model.file("README.md") ?? new Uint8Array())));
  at("loading").hidden = true;
  at("send").disabled = at("verify").disabled = false;
  document.documentElement.dataset.ready = String(Math.round(performance.now() - started));

  async function answered(values) {
    const begun = performance.now();
    if (task === "feature-extraction") {
      const [one, other] = await Promise.all([values.text, values.other].map((text) => model.run(text)));
      const kind = manifest.edgekit.embeddings?.similarity ?? "cosine";
      return [[best(similarity(one.embedding, other.embedding, kind).toFixed(4)), element("p", { className: "hint", text: `${kind} of two vectors of ${one.embedding.length} numbers` })], performance.now() - begun];
    }
    const input = inputOf(task, values);
    const answer = await model.run(input, "labels" in manifest.edgekit && task.includes("classification") && !task.startsWith("token") ? { top_k: 5 } : {});
    const taken = performance.now() - begun;
    const cut = answer.truncated ? [element("p", { className: "hint", text: "The text was longer than the model reads, and was cut." })] : [];
    return [[...SHOWN[task](answer, typeof input === "string" ? { text: input } : input), ...cut], taken];
  }

  let stopped = false, talk = [];
  /** What a conversation shows of a message; of the assistant's, what is still to come. */
  const spoken = ({ role, content }, ...more) => element("li", { className: role }, element("small", { text: role === "user" ? "You" : "Answer" }), element("p", { className: "shown", text: content }, ...more));
  async function generated({ text }) {
    const shown = element("span"), begun = performance.now(), said = { role: "user", content: text };
    const before = [...at("answer").childNodes];
    const most = Math.max(1, Math.min(MOST_TOKENS, Math.floor(MOST_SHARE * manifest.edgekit.generation.context)));
    const asked = model.chat ? [...talk, said] : null;
    at("answer").replaceChildren(model.chat
      ? element("ol", { className: "talk" }, ...asked.map((message) => spoken(message)), spoken({ role: "assistant", content: "" }, shown))
      : element("p", { className: "shown" }, element("span", { className: "hint", text }), shown));
    at("answer").setAttribute("aria-busy", "true");
    [stopped, at("stop").hidden] = [false, false];
    at("time").textContent = "";
    let count = 0;
    try {
      for await (const piece of model.stream(model.chat ? { messages: asked } : text, { max_new_tokens: most })) {
        shown.textContent += piece.text;
        count++;
        if (stopped) break;
        if (count % 4 === 0) await new Promise((done) => setTimeout(done)); // lets the page draw
      }
    } catch (fault) {
      at("answer").replaceChildren(...before);
      throw fault;
    } finally {
      at("answer").removeAttribute("aria-busy");
    }
    if (model.chat) {
      talk = [...asked, { role: "assistant", content: shown.textContent }];
      at("renew").hidden = false;
      at("field-text").value = "";
    }
    at("stop").hidden = true;
    const seconds = (performance.now() - begun) / 1000;
    at("time").textContent = `${count} tokens in ${seconds.toFixed(2)} s, ${(count / seconds).toFixed(0)} a second`;
  }

  at("renew").addEventListener("click", () => {
    talk = [];
    at("renew").hidden = true;
    at("answer").replaceChildren(element("p", { className: "hint", text: "None yet." }));
    at("time").textContent = "";
    at("field-text").focus();
  });
  at("stop").addEventListener("click", () => { stopped = true; });
  at("input").addEventListener("submit", async (event) => {
    event.preventDefault();
    at("fault").hidden = true;
    at("send").disabled = true;
    try {
      if (task === "text-generation") await generated(valuesNow());
      else {
        const [shown, taken] = await answered(valuesNow());
        at("answer").replaceChildren(...shown);
        at("time").textContent = `${taken.toFixed(1)} ms from text to answer`;
      }
    } catch (fault) {
      tell(fault);
    } finally {
      at("send").disabled = false;
      at("stop").hidden = true;
    }
  });
  at("input").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      at("input").requestSubmit();
    }
  });
  at("verify").addEventListener("click", async () => {
    at("verify").disabled = true;
    at("verified").textContent = "Replaying …";
    try {
      const { golden, difference, tolerance } = await model.verify();
      at("verified").textContent = `${golden} of ${golden} golden inputs are right here: the largest difference is ${difference.toPrecision(2)}, and ${Number(tolerance).toPrecision(2)} is allowed.`;
    } catch (fault) {
      at("verified").textContent = fault.message;
    } finally {
      at("verify").disabled = false;
    }
  });
}

begin().catch((fault) => {
  at("loading").hidden = true;
  tell(fault);
});
const keeper = navigator.serviceWorker?.controller;
navigator.serviceWorker?.addEventListener("controllerchange", () => {
  if (keeper && !document.documentElement.dataset.ready) location.reload(); // files of two versions are not mixed: a newer one came while this loaded
});
navigator.serviceWorker?.register("worker.js").catch(() => {}); // where the browser keeps nothing, the page works with a network
