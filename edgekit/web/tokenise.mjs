/** Text to token ids with their places, by the bundle's own tokenizer file, cut as edgekit/runtime/tokenise.py cuts. */

import { BadInput, CheckFailed } from "./errors.mjs";
import { asText, isSpace, normalizer, placed, places, preTokenizer, sliced } from "./text.mjs";

const LONGEST_TEXT = 4_000_000;
const CHARACTERS_A_TOKEN = 64;
const FEWEST_READ = 100_000;
const MORE = 4;
const MARGIN = 1000, WORDS_OF_MARGIN = 3;
const LEAST_ROOM = 8;
const MOST_WINDOWS = 4096;
const WORD_AT_END = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const WORD_AT_START = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const MOST_REMEMBERED = 20_000;
/** A byte as tokenizers name it that have bytes for what no piece is. */
const BYTE = /^<0x[0-9A-F]{2}>$/;
const UTF8 = new TextEncoder();
/** A space as byte-level tokens write it. */
const BYTE_SPACE = "Ġ";

/**
 * @typedef {object} Token
 * @property {number} id
 * @property {number} type 0 or 1
 * @property {number} part which text it is of: 0 or 1; -1: special
 * @property {number} word which word of it; -1: special
 * @property {number} start its first character in the text
 * @property {number} end the character after its last
 */

/**
 * What encodes with a tokenizer file. `library`: the module @huggingface/tokenizers, whose models and patterns are used.
 * `encode(text, second, {special, ready})` gives the tokens of one text or two; `ready`: `text` is a list of words, each encoded by itself.
 */
export function encoder(document, library) {
  const patterns = (pattern) => patternOf(pattern, library);
  const tokenizer = new library.Tokenizer(document, { clean_up_tokenization_spaces: false });
  const model = tokenizer.model;
  const kind = document.model.type ?? (Array.isArray(document.model.vocab) ? "Unigram" : document.model.merges ? "BPE" : "WordPiece");
  const normalise = normalizer(document.normalizer, patterns);
  const words = preTokenizer(document.pre_tokenizer, patterns);
  const added = addedTokens(document.added_tokens ?? [], normalise);
  const around = postProcessor(document.post_processor);
  const prefix = kind === "WordPiece" ? document.model.continuing_subword_prefix ?? "##" : "";
  const bytes = Boolean(document.model.byte_fallback), fused = Boolean(document.model.fuse_unk);
  const unknownToken = kind === "Unigram" ? null : model.unk_token; // Unigram leaves what it does not know as it is written
  const remembered = new Map();

  /** Ids of a word, and which of its characters, [from, to), each is of; spans null where that cannot be told. */
  function pieces(word) {
    let found = remembered.get(word);
    if (found !== undefined) return found;
    const chars = Array.from(word), tokens = model([word]);
    const spans = spansOf(chars, tokens);
    found = inBytes(chars, { ids: tokens.map((token) => model.tokens_to_ids.get(token) ?? model.unk_token_id), tokens, spans });
    if (found.ids.some((id) => id === undefined)) throw new CheckFailed(`the tokenizer has no token for ${JSON.stringify(word.slice(0, 40))}`);
    if (remembered.size >= MOST_REMEMBERED) remembered.clear();
    if (word.length <= 64) remembered.set(word, found);
    return found;
  }

  function spansOf(chars, tokens) {
    if (tokens.length === 1) return [[0, chars.length]];
    const ownSize = (token, index) => Array.from(token).length - (index ? prefix.length : 0);
    const isByte = (token) => bytes && BYTE.test(token);
    const unknown = tokens.filter((token) => token === unknownToken).length;
    const alone = unknown === 1 && !tokens.some(isByte); // one unknown token is all that is left
    const others = tokens.reduce((sum, token, index) => sum + (token === unknownToken ? 0 : ownSize(token, index)), 0);
    const spans = [];
    let at = 0, seen = 0;
    tokens.forEach((token, index) => {
      let size = 1;
      if (isByte(token)) {
        spans.push([at, at + 1]);
        if (++seen === UTF8.encode(chars[at] ?? "").length) [at, seen] = [at + 1, 0];
        return;
      }
      if (token !== unknownToken) size = ownSize(token, index);
      else if (alone) size = chars.length - others;
      else if (fused) while (at + size < chars.length && !model.tokens_to_ids.has(chars[at + size])) size++;
      spans.push([at, at + size]);
      at += size;
    });
    return at === chars.length && !seen ? spans : null;
  }

  /** Bytes in the place of what Unigram does not know, where its file has them for all of it; the library does so for BPE alone. */
  function inBytes(chars, found) {
    const isUnknown = (token) => !model.tokens_to_ids.has(token);
    if (kind !== "Unigram" || !bytes || found.spans === null || !found.tokens.some(isUnknown)) return found;
    const every = found.tokens.map((token, index) => {
      const span = found.spans[index];
      const names = Array.from(UTF8.encode(chars.slice(...span).join("")), (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
      const whole = isUnknown(token) && names.every((name) => model.tokens_to_ids.has(name));
      return whole ? names.map((name) => [model.tokens_to_ids.get(name), name, span]) : [[found.ids[index], token, span]];
    }).flat();
    return { ids: every.map(([id]) => id), tokens: every.map(([, token]) => token), spans: every.map(([, , span]) => span) };
  }

  function ofText(text, part, word) {
    const found = [];
    let number = 0;
    for (const [stretch, token] of added.split(placed(text))) {
      if (token !== null) {
        found.push({ id: token, type: part, part, word: word ?? number++, start: stretch.from[0], end: stretch.to.at(-1), text: null });
        continue;
      }
      for (const piece of words(stretch)) {
        if (!piece.chars.length) continue;
        const { ids, tokens, spans } = pieces(asText(piece));
        const mine = word ?? number++;
        ids.forEach((id, index) => {
          const [start, end] = spans === null ? [NaN, NaN] : [piece.from[spans[index][0]], piece.to[spans[index][1] - 1]];
          found.push({ id, type: part, part, word: mine, start, end, text: tokens[index] });
        });
      }
    }
    return found;
  }

  return {
    document,
    tokenizer,
    special: (pair) => around([], pair ? [] : null, true).length,
    encode(text, second = null, { special = true, ready = false } = {}) {
      const first = ready ? text.flatMap((word, number) => ofText(word, 0, number)) : ofText(text, 0);
      return around(first, second === null ? null : ofText(second, 1), special);
    },
    /** Whether tokens say that they begin no word, and a word after a space is what it is by itself. */
    marked: Boolean(document.model.continuing_subword_prefix) && (() => {
      const split = (text) => words(normalise(placed(text))).map(asText);
      return split("a b").join("\0") === [...split("a"), ...split("b")].join("\0");
    })(),
  };
}

/** A pattern of a tokenizer file as JavaScript's, by the library's own reading. */
function patternOf(pattern, library) {
  const { pattern: read } = new library.SplitPreTokenizer({ type: "Split", pattern, behavior: "Isolated", invert: false });
  if (!(read instanceof RegExp)) throw new BadInput("a pattern that is not read here", { where: "tokenizer.json" });
  return new RegExp(read.source, read.flags.includes("g") ? read.flags : `${read.flags}g`);
}

/** Added tokens are found before a text is normalized, or after it, the longest of those that begin first. */
function addedTokens(tokens, normalise) {
  const plain = [], normal = [];
  for (const token of tokens) {
    const normalized = token.normalized ?? !token.special;
    const content = normalized ? asText(normalise(placed(token.content))) : token.content;
    if (content) (normalized ? normal : plain).push({ ...token, content });
  }
  const [before, after] = [finder(plain), finder(normal)];
  return {
    *split(whole) {
      for (const [piece, token] of before(whole)) {
        if (token !== null) yield [piece, token];
        else yield* after(normalise(piece));
      }
    },
  };
}

function finder(tokens) {
  if (!tokens.length) return (piece) => (piece.chars.length ? [[piece, null]] : []);
  const known = new Map(tokens.map((token) => [token.content, token]));
  const contents = [...known.keys()].sort((one, other) => other.length - one.length);
  const pattern = new RegExp(contents.map((content) => content.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&")).join("|"), "g");
  return (piece) => {
    const text = asText(piece);
    const found = [];
    let done = 0;
    const place = places(piece.chars, text.length);
    for (const match of text.matchAll(pattern)) {
      const token = known.get(match[0]);
      let start = match.index, end = start + match[0].length;
      if (token.single_word && (WORD_AT_END.test(text.slice(0, start)) || WORD_AT_START.test(text.slice(end)))) continue;
      if (start < done) continue;
      while (token.lstrip && start > done && isSpace(text[start - 1])) start--;
      while (token.rstrip && end < text.length && isSpace(text[end])) end++;
      if (start > done) found.push([sliced(piece, place(done), place(start)), null]);
      found.push([sliced(piece, place(start), place(end)), token.id]);
      done = end;
    }
    if (done < text.length) found.push([sliced(piece, place(done)), null]);
    return found;
  };
}

/** Special tokens around one text or two, and what byte-level tokenizers do to places. */
function postProcessor(config) {
  const plain = (first, second) => [...first, ...(second ?? [])];
  if (config === null || config === undefined) return plain;
  const special = (id, type) => ({ id, type, part: -1, word: -1, start: 0, end: 0, text: null });
  const typed = (tokens, type) => tokens.map((token) => ({ ...token, type }));
  switch (config.type) {
    case "TemplateProcessing":
      return (first, second, wanted) => (second === null ? config.single : config.pair).flatMap((one) => {
        if (one.Sequence) return typed(one.Sequence.id === "A" ? first : second, one.Sequence.type_id);
        return wanted ? config.special_tokens[one.SpecialToken.id].ids.map((id) => special(id, one.SpecialToken.type_id)) : [];
      });
    case "BertProcessing":
      return (first, second, wanted) => {
        const [before, end] = [special(config.cls[1], 0), special(config.sep[1], 0)];
        if (!wanted) return plain(first, second);
        return second === null ? [before, ...first, end] : [before, ...first, end, ...typed(second, 1), special(config.sep[1], 1)];
      };
    case "RobertaProcessing":
      return (first, second, wanted) => {
        const [before, end] = [special(config.cls[1], 0), special(config.sep[1], 0)];
        const [one, other] = [first, second].map((tokens) => tokens && typed(config.trim_offsets ? trimmed(tokens, config.add_prefix_space) : tokens, 0));
        if (!wanted) return plain(one, other);
        return other === null ? [before, ...one, end] : [before, ...one, end, end, ...other, end];
      };
    case "ByteLevel":
      return (first, second) => {
        const trim = (tokens) => (config.trim_offsets ? trimmed(tokens, config.add_prefix_space) : tokens);
        return plain(trim(first), second && trim(second));
      };
    case "Sequence": {
      const steps = config.processors.map(postProcessor);
      const last = steps.findIndex((_, index) => config.processors[index].type !== "ByteLevel");
      if (steps.length > 2 || (last >= 0 && last < steps.length - 1)) break;
      const [prepare, finish] = last < 0 || steps.length < 2 ? [null, steps.at(-1)] : [config.processors[0], steps[1]];
      const trim = (tokens) => (prepare?.trim_offsets ? trimmed(tokens, prepare.add_prefix_space) : tokens);
      return (first, second, wanted) => finish(trim(first), second && trim(second), wanted);
    }
  }
  throw new BadInput(`its post-processor ${config.type} is not read here as the tokenizers library reads it`, {
    where: "tokenizer.json", fix: "use the Python runtime for this bundle",
  });
}

/** Byte-level tokens without the spaces at their ends, but for the one that was put before the text. */
function trimmed(tokens, prefixed) {
  return tokens.map((token, index) => {
    if (token.text === null) return token;
    const chars = Array.from(token.text);
    const blank = (char) => char === BYTE_SPACE || isSpace(char);
    let leading = 0, trailing = 0;
    while (leading < chars.length && blank(chars[leading])) leading++;
    while (trailing < chars.length && blank(chars[chars.length - 1 - trailing])) trailing++;
    let { start, end } = token;
    if (leading) {
      if ((index === 0 || start === 0) && prefixed) leading = 0;
      start = Math.min(start + leading, end);
    }
    if (trailing && end >= trailing) end = Math.max(end - trailing, start);
    return { ...token, start, end };
  });
}

/**
 * What makes windows, each one run of the model: {ids, types, words, starts, ends, text, truncated, ready}.
 * `settings`: {maxLength, segments, pairs, prompts, cuts}.
 */
export function tokeniser(encoding, settings) {
  const { maxLength, segments, cuts = true } = settings;
  const left = encoding.document.truncation?.direction?.toLowerCase() === "left";

  function encoded(text, second = null) {
    const chars = Array.from(text);
    for (let most = Math.max(FEWEST_READ, maxLength * CHARACTERS_A_TOKEN); cuts && most < chars.length; most *= MORE) {
      const read = (left ? chars.slice(chars.length - most) : chars.slice(0, most)).join("");
      const tokens = encoding.encode(read, second);
      if (settled(tokens, most)) return [tokens, left ? chars.length - most : 0, true];
    }
    return [encoding.encode(text, second), 0, false];
  }

  /** Whether what follows the first `characters` of a text, or stands before its last ones, cannot change the tokens that are kept. */
  function settled(tokens, characters) {
    const own = tokens.filter((token) => token.part === 0);
    if (own.length <= maxLength) return false;
    const kept = left ? own[own.length - maxLength] : own[maxLength - 1];
    const beyond = left ? own.slice(0, -maxLength) : own.slice(maxLength);
    const between = left ? kept.start : characters - kept.end;
    return between >= MARGIN && new Set(beyond.map((token) => token.word)).add(kept.word).size > WORDS_OF_MARGIN;
  }

  /** The tokens that fit: of two texts the longer one loses tokens first. */
  function fitting(tokens) {
    if (tokens.length <= maxLength || !cuts) return tokens;
    const counts = [0, 1].map((part) => tokens.filter((token) => token.part === part).length);
    const room = Math.max(0, maxLength - (tokens.length - counts[0] - counts[1]));
    const fewer = Math.min(...counts, Math.floor(room / 2));
    const most = counts[0] <= counts[1] ? [fewer, room - fewer] : [room - fewer, fewer];
    const seen = [0, 0];
    return tokens.filter(({ part }) => {
      if (part < 0) return true;
      const place = seen[part]++;
      const first = left ? Math.max(0, counts[part] - most[part]) : 0;
      return place >= first && place < first + most[part];
    });
  }

  function window(tokens, { text = "", truncated = false, part = 0, moved = 0 } = {}) {
    if (!tokens.length) throw new BadInput("no token is left of the text", { fix: "give text that the tokenizer keeps, or leave it out" });
    const mine = tokens.map((token) => token.part === part);
    return {
      ids: tokens.map((token) => token.id),
      types: segments ? tokens.map((token) => token.type) : null,
      words: tokens.map((token, index) => (mine[index] ? token.word : -1)),
      starts: tokens.map((token, index) => token.start + (mine[index] ? moved : 0)),
      ends: tokens.map((token, index) => token.end + (mine[index] ? moved : 0)),
      text, truncated, ready: 0,
    };
  }

  const made = {
    ...settings,
    encoding,

    /** One text after `before`, cut at the limit. */
    text(given, { before = "", where = null } = {}) {
      const whole = before + checked(given, where);
      const [tokens, moved, cut] = encoded(whole);
      const kept = fitting(tokens);
      return window(kept, { text: whole, truncated: cut || kept.length < tokens.length, moved });
    },

    /** Ready-made words, cut at the limit, with the ids of the text that they make with single spaces between them. */
    words(given) {
      if (!given.length) throw new BadInput("no words given", { where: "words" });
      const list = given.map((word, number) => checked(word, `words[${number}]`));
      const tokens = encoding.marked ? encoding.encode(list, null, { ready: true }) : encoding.encode(list.join(" "));
      const kept = fitting(tokens);
      let found = window(kept, { truncated: kept.length < tokens.length });
      if (!encoding.marked) {
        const wordOf = [], starts = [];
        list.forEach((word, number) => {
          if (number) wordOf.push(-1);
          starts.push(wordOf.length);
          for (const _ of word) wordOf.push(number);
        });
        const words = wordsAt(found, wordOf);
        const moved = (places) => places.map((place, index) => (words[index] < 0 ? 0 : Math.max(0, place - starts[words[index]])));
        found = { ...found, words, starts: moved(found.starts), ends: moved(found.ends) };
      }
      return { ...found, ready: list.length };
    },

    /** One text whose words are what transformers' pipelines take for words. */
    wholeWords(given) {
      const found = made.text(given);
      if (encoding.marked) return found;
      let number = -1, inside = false;
      const wordOf = Array.from(found.text, (char) => {
        const space = isPythonSpace(char);
        if (!space && !inside) number++;
        inside = !space;
        return space ? -1 : number;
      });
      return { ...found, words: wordsAt(found, wordOf) };
    },

    /** Two texts as one input: the longer one loses tokens first. */
    both(first, second, where = [null, null]) {
      const tokens = encoding.encode(checked(first, where[0]), checked(second, where[1]));
      const kept = fitting(tokens);
      return window(kept, { truncated: kept.length < tokens.length });
    },

    /** Two texts as one input: the first one loses tokens, and the second none. */
    firstCut(first, second) {
      const [tokens, , cut] = encoded(checked(first), checked(second));
      const own = tokens.filter((token) => token.part === 0).length;
      const room = maxLength - (tokens.length - own);
      if (own <= room) return window(tokens, { truncated: cut });
      if (room < 1) throw new BadInput(`${JSON.stringify(second.slice(0, 60))} leaves no room for the text within ${maxLength} tokens`, { fix: "shorten it" });
      let place = 0;
      const kept = tokens.filter(({ part }) => part !== 0 || (left ? place++ >= own - room : place++ < room));
      return window(kept, { truncated: true });
    },

    /** A question with each window of a context; neighbouring windows overlap by `stride` tokens. */
    pair(question, context, stride) {
      const first = checked(question), whole = checked(context);
      const room = maxLength - encoding.special(true) - encoding.encode(first, null, { special: false }).length;
      if (room < LEAST_ROOM) {
        throw new BadInput(`the question leaves ${Math.max(0, room)} of ${maxLength} tokens for the context`, { fix: "shorten it" });
      }
      const tokens = encoding.encode(first, whole);
      const count = tokens.filter((token) => token.part === 1).length;
      const step = room - Math.min(stride, Math.floor(room / 2));
      const windows = 1 + Math.ceil(Math.max(0, count - room) / step);
      if (windows > MOST_WINDOWS) throw new BadInput(`a context of ${windows} windows is longer than ${MOST_WINDOWS}`, { fix: "split it" });
      return Array.from({ length: windows }, (_, number) => {
        const begin = number * step;
        const [low, high] = left ? [Math.max(0, count - begin - room), count - begin] : [begin, Math.min(begin + room, count)];
        let place = 0;
        const kept = tokens.filter(({ part }) => part !== 1 || (place++, place > low && place <= high));
        return window(kept, { text: whole, part: 1 });
      });
    },
  };
  return made;
}

/** The word of each token where `wordOf` holds that of each character, -1 for space between words. */
function wordsAt(found, wordOf) {
  const size = wordOf.length;
  const following = new Array(size + 1).fill(size);
  for (let place = size - 1; place >= 0; place--) following[place] = wordOf[place] >= 0 ? place : following[place + 1];
  return found.words.map((word, index) => {
    const first = following[Math.min(found.starts[index], size)];
    return word >= 0 && first < found.ends[index] ? wordOf[first] : -1;
  });
}

/** As Python's str.isspace: White_Space and the four separators of ASCII. */
export const isPythonSpace = (char) => isSpace(char) || (char >= "\x1c" && char <= "\x1f");

/** The stretch [start, end) of the characters of a text without white space at its ends. */
export function trimmedStretch(chars, start, end) {
  while (start < end && isPythonSpace(chars[start])) start++;
  while (end > start && isPythonSpace(chars[end - 1])) end--;
  return [start, end];
}

/** `text` where a model can read it. */
export function checked(text, where = null) {
  if (typeof text !== "string") throw new BadInput(`a text must be a string, not ${text === null ? "null" : Array.isArray(text) ? "a list" : typeof text}`, { where });
  if (text.length > LONGEST_TEXT && Array.from(text).length > LONGEST_TEXT) {
    throw new BadInput(`a text of ${Array.from(text).length} characters is longer than ${LONGEST_TEXT}`, { where });
  }
  if (/^[\p{White_Space}\x1c-\x1f]*$/u.test(text)) throw new BadInput("the text is empty", { where, fix: "give at least one word" });
  if (/\p{Cs}/u.test(text)) throw new BadInput("text holds lone surrogates, which are not valid Unicode", { where });
  return text;
}
