/**
 * Conversations by a bundle's chat template, as edgekit/runtime/generate/chat.py writes them. The library of templates is another one than Python's: the
 * bundle's own conversations are written first, and where one is another text than where the bundle was made, the template is refused.
 */

import { BadInput, CheckFailed, NotPossibleHere } from "./errors.mjs";
import { isPythonSpace } from "./tokenise.mjs";

export const CONVERSATIONS = "conversations.json";
const LARGEST_TEMPLATE = 512_000, MOST_MESSAGES = 10_000, MOST_CHARACTERS = 4_000_000, LONGEST_PROMPT = 4_000_000;
/** For one conversation: a template is a program, which may never end; real ones take milliseconds. */
const MOST_MILLISECONDS = 3000;
const MOST_RANGE = 100_000;
const AS_TEXT = "render the prompt where Python is, and give it as a text with {chat: false}";
const TOOLS = "calls of tools are the Python runtime's, which holds answers to their schemas";
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/** A conversation that was parsed strictly: {role, content} with texts, perhaps with name. */
export function checkedMessages(messages) {
  if (!Array.isArray(messages) || !messages.length) {
    throw new BadInput("a conversation is a list of messages", { fix: 'give {messages: [{role: "user", content: "..."}]}' });
  }
  if (messages.length > MOST_MESSAGES) throw new BadInput(`${messages.length} messages are more than ${MOST_MESSAGES}`);
  const faults = [];
  let total = 0;
  for (const [number, message] of messages.entries()) {
    const names = message !== null && typeof message === "object" && !Array.isArray(message) ? Object.keys(message) : [];
    const tool = names.find((name) => name === "tool_calls" || name === "tool_call_id");
    if (tool !== undefined) faults.push(`message ${number}: ${tool}: ${TOOLS}`);
    else if (!names.includes("role") || !names.includes("content") || names.some((name) => !["role", "content", "name"].includes(name))) {
      faults.push(`message ${number}: not an object of role and content`);
    } else {
      for (const name of names) {
        if (typeof message[name] !== "string" || /\p{Cs}/u.test(message[name])) faults.push(`message ${number}: ${name} is not text`);
        else total += message[name].length;
      }
      if (message.role === "") faults.push(`message ${number}: role is empty`);
    }
  }
  if (total > MOST_CHARACTERS) faults.push(`${total} characters are more than ${MOST_CHARACTERS}`);
  if (faults.length) throw new BadInput("not a conversation", { faults });
  return messages;
}

/** The messages of an input of a language model, {messages: [...]}; null where it is no object. */
export function messagesOf(item) {
  if (item === null || typeof item !== "object") return null;
  const further = Object.keys(item).find((name) => name !== "messages");
  if (["tools", "tool_choice", "parallel_tool_calls"].includes(further)) throw new BadInput(`${further}: ${TOOLS}`, { fix: "leave it out" });
  if (further === "documents") throw new BadInput("a conversation with documents, which this runtime does not read", { fix: "leave them out" });
  if (further !== undefined || !("messages" in item)) throw new BadInput("not a conversation", { fix: "give {messages: [...]}" });
  return checkedMessages(item.messages);
}

/** Parts of templates that are computed here as Python does (tests/web/test_chat.py); what else one has is refused by its name. */
const FILTERS = new Set(["tojson", "upper", "lower", "list", "join", "map", "selectattr", "rejectattr", "default", "replace", "safe"]);
const METHODS = new Set(["split", "startswith", "endswith", "replace", "upper", "lower", "items", "get", "keys", "values"]);
/** What the library writes otherwise than Python where a template puts it out: true, none, 1.5, a list, a mapping. */
const NAMES = {
  BooleanValue: "a boolean", FloatValue: "a number with a fraction", NullValue: "none", ArrayValue: "a list", TupleValue: "a tuple", ObjectValue: "a mapping", FunctionValue: "a function",
};
const SILENT = new Set(["Set", "Macro", "Comment"]);

/** Python's own, of filters and methods that the library has otherwise: it takes other characters for spaces, and counts in 16 bits. */
const strip = (left, right) => (text, characters) => {
  const letters = Array.from(textOf(text)), away = characters === undefined || characters === null ? isPythonSpace : (letter) => Array.from(characters).includes(letter);
  let start = 0, end = letters.length;
  while (left && start < end && away(letters[start])) start++;
  while (right && end > start && away(letters[end - 1])) end--;
  return letters.slice(start, end).join("");
};
const textOf = (value) => {
  if (typeof value !== "string") throw new Error("a text is asked for, and there is none");
  return value;
};
const OWN = {
  trim: strip(true, true), strip: strip(true, true), lstrip: strip(true, false), rstrip: strip(false, true),
  capitalize: (text) => Array.from(textOf(text), (letter, place) => (place ? letter : letter.toUpperCase())).join("").replace(/^(.)(.*)$/su, (_, first, rest) => first + rest.toLowerCase()),
  length: (value) => (typeof value === "string" ? Array.from(value).length : value instanceof Map ? value.size : value.length),
};
/** Their names among a template's variables, where no template can write them. */
const hidden = (name) => `${name} of Python`;

/** Has the parts of a parsed template that are in OWN computed by it; throws the name of one that is not known. */
function settle(node) {
  if (Array.isArray(node)) node.forEach(settle);
  else if (node instanceof Map) node.forEach((value, key) => settle([key, value]));
  if (node === null || typeof node !== "object" || Array.isArray(node)) return;
  const own = (name, operand, given) => Object.assign(node, { type: "CallExpression", callee: { type: "Identifier", value: hidden(name) }, args: [operand, ...given] });
  if (node.type === "Break" || node.type === "Continue") throw new Error(`${node.type.toLowerCase()} is not known here`);
  if (node.type === "FilterExpression") {
    const name = node.filter.value ?? node.filter.callee?.value;
    if (Object.hasOwn(OWN, name)) own(name, node.operand, node.filter.args ?? []);
    else if (!FILTERS.has(name)) throw new Error(`the filter ${name} is not known here`);
  } else if (node.type === "FilterStatement") throw new Error("filters of blocks are not known here");
  else if (node.type === "CallExpression" && node.callee.type === "MemberExpression" && !node.callee.computed) {
    const name = node.callee.property.value;
    if (Object.hasOwn(OWN, name)) own(name, node.callee.object, node.args);
    else if (!METHODS.has(name)) throw new Error(`${name}() is not known here`);
    else if (name === "split" && !node.args.length) throw new Error("split() without a text to split at is not known here");
  }
  for (const value of Object.values(node)) settle(value);
}

/** `date` in the form that Python's strftime knows, as far as templates use it. */
function strftime(date, form) {
  const two = (number, fill = "0") => String(number).padStart(2, fill);
  const values = {
    d: two(date.getDate()), e: two(date.getDate(), " "), m: two(date.getMonth() + 1), Y: String(date.getFullYear()), y: two(date.getFullYear() % 100), H: two(date.getHours()),
    M: two(date.getMinutes()), S: two(date.getSeconds()), B: MONTHS[date.getMonth()], b: MONTHS[date.getMonth()].slice(0, 3), A: DAYS[date.getDay()],
    a: DAYS[date.getDay()].slice(0, 3), I: two(date.getHours() % 12 || 12), p: date.getHours() < 12 ? "AM" : "PM", "%": "%",
  };
  return form.replace(/%(-?)(.?)/gs, (whole, plain, letter) => {
    if (values[letter] === undefined) throw new Error(`strftime_now with ${whole}, which is not known here`);
    return plain ? values[letter].replace(/^0(?=.)/, "") : values[letter];
  });
}

/** What renders the template `source` by `library`, the module @huggingface/jinja: (messages, date) -> text. Throws what the template, or the library, says. */
export function renderer(source, tokens, library) {
  const { Environment, Interpreter, parse, tokenize } = library;
  const program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
  settle(program);
  return (messages, date) => {
    const until = performance.now() + MOST_MILLISECONDS;
    const look = () => {
      if (performance.now() > until) throw new Error(`it did not end within ${MOST_MILLISECONDS / 1000} s`);
    };
    class Bounded extends Interpreter {
      evaluate(statement, environment) {
        look();
        if (statement?.type === "MemberExpression" && this.evaluate(statement.object, environment).type === "UndefinedValue") {
          throw new Error("it reads a part of what is not defined");
        }
        return super.evaluate(statement, environment);
      }

      evaluateBlock(statements, environment) {
        let text = "";
        for (const statement of statements) {
          const value = this.evaluate(statement, environment);
          if (value.type in NAMES && !(value.type === "NullValue" && SILENT.has(statement.type))) throw new Error(`it puts out ${NAMES[value.type]}, which is not known here`);
          if (value.type !== "NullValue" && value.type !== "UndefinedValue") text += value.toString();
        }
        return super.evaluate({ type: "StringLiteral", value: text }, environment);
      }
    }
    const environment = new Environment();
    const range = (first, ...rest) => {
      const [start, stop, by = 1] = rest.length ? [first, ...rest] : [0, first];
      const count = by ? Math.max(0, Math.ceil((stop - start) / by)) : NaN;
      if (!(count <= MOST_RANGE)) throw new Error(`a range of ${count} numbers`);
      look();
      return Array.from({ length: count }, (_, place) => start + place * by);
    };
    const globals = {
      false: false, False: false, true: true, True: true, none: null, None: null, range, strftime_now: (form) => strftime(date, form),
      raise_exception: (text) => { throw new Error(text); },
      messages, tools: null, documents: null, add_generation_prompt: true, ...tokens,
    };
    for (const [name, work] of Object.entries(OWN)) globals[hidden(name)] = work;
    for (const [name, value] of Object.entries(globals)) environment.set(name, value);
    const text = new Bounded(environment).run(program).value;
    if (text.length > LONGEST_PROMPT) throw new Error(`it puts out more than ${LONGEST_PROMPT} characters`);
    return text;
  };
}

/**
 * What writes conversations: messages -> the prompt that the assistant's answer follows. `source`: the template, `tokens`: {bos_token: text, ...},
 * `special`: texts of control tokens, `proof`: the document `conversations.json` of the bundle, or null, `jinja`: gives the library.
 */
export function chat({ file, source, tokens, special, proof, jinja }) {
  let made = null;

  async function ready() {
    if (source.length > LARGEST_TEMPLATE) throw new BadInput("too large for a chat template", { where: file });
    if (!Array.isArray(proof?.conversations)) {
      throw new NotPossibleHere("the bundle has no conversations that would show whether its chat template is written here as where it was made", { where: file, fix: `export it with this edgekit, or ${AS_TEXT}` });
    }
    const library = await jinja?.();
    if (!library?.Interpreter) throw new NotPossibleHere("conversations need the library of chat templates", { fix: "give @huggingface/jinja as libraries.jinja" });
    const other = (what) => new NotPossibleHere(`the library of chat templates ${what}`, { where: file, fix: AS_TEXT });
    let render;
    try {
      render = renderer(source, tokens, library);
    } catch (fault) {
      throw other(`does not take this one: ${fault.message}`);
    }
    const date = new Date(proof.date);
    for (const [number, { messages, prompt }] of proof.conversations.entries()) {
      let found = null, why = "";
      try {
        found = render(messages, date);
      } catch (fault) {
        why = `: ${fault.message}`;
      }
      if (found !== prompt) throw other(`writes conversation ${number} of ${CONVERSATIONS} otherwise than where the bundle was made${why}`);
    }
    return { render, count: proof.conversations.length };
  }

  const once = () => {
    made ??= ready().catch((fault) => {
      made = null;
      throw fault;
    });
    return made;
  };

  return {
    /** How many of the bundle's own conversations were written as where it was made: all. */
    async verify() {
      return proof === null ? 0 : (await once()).count;
    },
    async write(messages) {
      const { render } = await once();
      for (const [number, { content }] of messages.entries()) {
        const held = special.filter((name) => content.includes(name)).sort()[0];
        if (held !== undefined) throw new BadInput(`message ${number} holds the control token ${JSON.stringify(held)}, which the model would obey`);
      }
      let text;
      try {
        text = render(messages, new Date());
      } catch (fault) {
        throw new BadInput(`the template cannot be rendered: ${fault.message}`, { where: file });
      }
      if (typeof text !== "string" || /\p{Cs}/u.test(text)) throw new CheckFailed("the template puts out half of a surrogate pair, which is no text", { where: file });
      return text;
    },
  };
}
