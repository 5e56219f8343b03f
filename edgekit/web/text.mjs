/**
 * Characters with the place that each came from, and the steps of a tokenizer that come before its model: normalizers and pre-tokenizers.
 *
 * @huggingface/tokenizers keeps no places, and differs from the Rust library (which trained the tokenizer, and reads it in Python) on
 * controls, characters beyond 16 bits, final sigma, ways to split and a charsmap of its own. Here each step is the Rust library's, character
 * by character (tests/web compares every code point there is), and a step that is not known is refused by name.
 */

import { BadInput } from "./errors.mjs";

/** Code points, in base 36, that are newer than the tables of the Rust library's normalizer: left as they are there, and no punctuation. */
const LATER = ranges(
  "17h 1kt 1ow-1ox 1p3-1pb 1qi-1r6 1z1-1z2 22e 262-267 28l 2dg 2f0 2gn 2h0 2kg 2m3-2m4 2o1 2wq 2xa 4r3 4ud-4ue 5a7-5b1 5b4-5bf 5e6-5e7 " +
  "5fh-5fj 5x2-5x7 94z-95b 95e-95p x7w xc5 xdr xj1 1fpl 1fqc 1h5w-1h5z 1h7t-1h7y 1hgr-1hgt 1hhs 1hiy-1hj3 1hl2-1hlc 1hlh-1hll 1hmq-1hmx " +
  "1htc 1htf-1htg 1hvm 1hvx 1i33 1i66 1i69 1id7 1if7 1if9 1ifi 1ifl 1igr-1igw 1ih1 1ih3-1ih4 1iha 1ihc 1ihe 1ihg-1ihh 1ihj-1ihk 1iht-1ihu " +
  "1ik8-1ikf 1iki-1ikk 1ikm 1ikr-1ikv 1il6-1il7 1il9-1ila 1izk-1izw 1j21 1jcf-1jcn 1jcp-1jcr 1jjs 1jjv-1jjw 1jjy 1jk3-1jk6 1jo4-1jo7 " +
  "1joa-1job 1jog 1joi 1jpd-1jpm 1jqr-1jqw 1jqz-1jrb 1jrl-1jrq 1jrt-1jrv 1jt6-1jti 1jtk-1jto 1jtq-1jtu 1jwg-1jwp 1jz4 1jz6-1jz8 1jza 1k2p " +
  "1k4w-1k52 1k54-1k59 1k5b 1k5d-1k5h 1k6o-1k6p 1k7m-1k87 1k8a-1k8g 1k8i-1k8j 1k8l-1k8m 1kc1-1kc6 1kca 1kcc-1kcd 1kcf-1kcl 1kcn 1keo-1kep " +
  "1ket 1kev 1koj-1kok 1kon-1koo 1kow-1kox 1kqe-1kqi 1kqo 1kqq-1kr3 1kre 1kvz 1o1d-1o1e 1ovk-1ow0 1ow7-1owl 1xr2-1xrd 1xrh-1xrj 206g-206i " +
  "206l-206n 20ev-20ey 20jz 20o2 20o4 2jgg-2jhp 2jhs-2jie 2mtc-2mti 2mtk-2mu0 2mu3-2mu9 2mub-2muc 2mue-2mui 2mxb 2n1s-2n1y 2nce 2ne4-2ne7 " +
  "2nsc-2nsf 2nzi-2nzj 2nzz 2o6b 2o6e 2o6m-2o6n 2o6t 2on8-2one 2ony-2onz",
);
/** Those that are newer than the tables of its regular expressions: neither letters nor digits there. */
const LATER_IN_PATTERNS = ranges(
  "1ov 2fw 2jg x5a-x5b x5e x5g x69 1ge8-1gex 1hhh-1hhj 1kfk-1kgr 1kgw-1kh5 20f4-20fs 20fv-20gj 20oi-20om 25fc-25fj 26fd-26fy 26io-26lu " +
  "2o5c-2o66 2o68-2o6a 2o6c-2o6d 2o6f-2o6l 2o6o-2o6s 2o72-2o73 3tbu-3tbz 3xya-3xyl 4er4-4i2h",
);
/** Those that Unicode has moved to another category since. */
const WAS_PUNCTUATION = new Set(["\u166d", "\u{111c9}"]);
const WAS_MARK = new Set(["\u1734", "\u{1171e}"]);

const CONTROL = /^[\p{Cc}\p{Cf}\p{Co}]$/u;
const SPACE = /^\p{White_Space}$/u;
const PUNCTUATION = /^[\p{P}!-/:-@[-`{-~]$/u;
const MARK = /^\p{M}$/u;
const NONSPACING = /^\p{Mn}$/u;
const NUMERIC = /^\p{N}$/u;
const WORDS = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu;
const BYTE_LEVEL = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
/** A character and the marks that belong to it, or the parts of a Hangul syllable: what normal forms put together lies within. */
const CLUSTERS = /[\u1100-\u11ff\uac00-\ud7a3]+\p{M}*|[\s\S]\p{M}*/gu;
const BYTES = byteLetters();
const UTF8 = new TextEncoder();

/**
 * @typedef {{chars: string[], from: number[], to: number[]}} Placed
 * Characters (code points), and the characters [from, to) of the text that each stands for.
 */

/** @returns {Placed} */
export function placed(text) {
  const chars = Array.from(text);
  return { chars, from: chars.map((_, place) => place), to: chars.map((_, place) => place + 1) };
}

export const asText = (piece) => piece.chars.join("");
export const isSpace = (char) => SPACE.test(char);
export const sliced = (piece, start, end) => ({
  chars: piece.chars.slice(start, end), from: piece.from.slice(start, end), to: piece.to.slice(start, end),
});

/** What the normalizer of a tokenizer file makes of characters. `patterns`: the library's reading of a pattern. */
export function normalizer(config, patterns) {
  if (config === null || config === undefined) return (piece) => piece;
  switch (config.type) {
    case "BertNormalizer": return each(bertCharacter(config));
    case "Lowercase": return each((char) => (isLater(char) ? char : char.toLowerCase()));
    case "StripAccents": return each((char) => (MARK.test(char) && !isLater(char) ? "" : char));
    case "NFC": case "NFD": case "NFKC": case "NFKD": return (piece) => inForm(piece, config.type);
    case "Strip": return (piece) => stripped(piece, config.strip_left, config.strip_right);
    case "Prepend": return (piece) => prepended(piece, config.prepend);
    case "Replace": {
      const pattern = patterns(config.pattern);
      return (piece) => replaced(piece, pattern, config.content);
    }
    case "Sequence": {
      const steps = config.normalizers.map((one) => normalizer(one, patterns));
      return (piece) => steps.reduce((done, step) => step(done), piece);
    }
    case "Precompiled": return charsmap(config.precompiled_charsmap);
    default: throw unknown("normalizer", config.type);
  }
}

/** What the pre-tokenizer of a tokenizer file splits characters into, each piece a word. */
export function preTokenizer(config, patterns) {
  if (config === null || config === undefined) return (piece) => [piece];
  switch (config.type) {
    case "BertPreTokenizer":
      return (piece) => splitAt(piece, isSpace, "Removed").flatMap((word) => splitAt(word, isPunctuation, "Isolated"));
    case "WhitespaceSplit": return (piece) => splitAt(piece, isSpace, "Removed");
    case "Whitespace": return (piece) => split(piece, matches(piece, WORDS), "Removed", true);
    case "Punctuation": return (piece) => splitAt(piece, isPunctuation, config.behavior ?? "Isolated");
    case "Digits":
      return (piece) => splitAt(piece, (char) => NUMERIC.test(char), config.individual_digits ? "Isolated" : "Contiguous");
    case "CharDelimiterSplit": return (piece) => splitAt(piece, (char) => char === config.delimiter, "Removed");
    case "Split": {
      const pattern = patterns(config.pattern);
      return (piece) => split(piece, matches(piece, pattern), config.behavior, config.invert);
    }
    case "ByteLevel":
      return (piece) => {
        const whole = config.add_prefix_space && piece.chars[0] !== " " ? prepended(piece, " ") : piece;
        const words = config.use_regex === false ? [whole] : split(whole, matches(whole, BYTE_LEVEL), "Isolated", false);
        return words.map(each((char) => Array.from(UTF8.encode(char), (byte) => BYTES[byte]).join("")));
      };
    case "Metaspace": {
      const { replacement, prepend_scheme: scheme = "always" } = config;
      return (piece) => {
        let whole = each((char) => (char === " " ? replacement : char))(piece);
        const begins = scheme === "always" || (scheme === "first" && whole.from[0] === 0);
        if (begins && whole.chars[0] !== replacement) whole = prepended(whole, replacement);
        return config.split === false ? [whole] : splitAt(whole, (char) => char === replacement, "MergedWithNext");
      };
    }
    case "Sequence": {
      const steps = config.pretokenizers.map((one) => preTokenizer(one, patterns));
      return (piece) => steps.reduce((pieces, step) => pieces.flatMap(step), [piece]);
    }
    default: throw unknown("pre-tokenizer", config.type);
  }
}

function unknown(kind, type) {
  return new BadInput(`its ${kind} ${type} is not read here as the tokenizers library reads it`, {
    where: "tokenizer.json", fix: "use the Python runtime for this bundle",
  });
}

/** Each character by itself to others; what it becomes is remembered. */
function each(change) {
  const known = new Map();
  return (piece) => {
    const made = { chars: [], from: [], to: [] };
    for (let index = 0; index < piece.chars.length; index++) {
      const char = piece.chars[index];
      let chars = known.get(char);
      if (chars === undefined) {
        chars = Array.from(change(char));
        if (known.size < 4096) known.set(char, chars);
      }
      for (const one of chars) {
        made.chars.push(one);
        made.from.push(piece.from[index]);
        made.to.push(piece.to[index]);
      }
    }
    return made;
  };
}

/** BERT's normalizer of one character; `strip_accents` null: where it lowers. */
function bertCharacter({ clean_text: clean, handle_chinese_chars: apart, strip_accents: strips, lowercase }) {
  return (char) => {
    const code = char.codePointAt(0);
    let text = char;
    if (clean && !isLater(char)) {
      const kept = char === "\t" || char === "\n" || char === "\r";
      if (!kept && (code === 0xfffd || CONTROL.test(char))) return "";
      if (SPACE.test(char)) text = " ";
    }
    if (strips ?? lowercase) {
      text = isLater(char) ? text : Array.from(text.normalize("NFD"), (one) => (isNonspacing(one) ? "" : one)).join("");
    }
    if (lowercase && !isLater(char)) text = Array.from(text, (one) => one.toLowerCase()).join("");
    return apart && isChinese(code) ? ` ${text} ` : text;
  };
}

const isLater = (char) => char > "\u02ff" && within(LATER, char.codePointAt(0));
const isNonspacing = (char) => (NONSPACING.test(char) && !isLater(char) && !WAS_PUNCTUATION.has(char)) || WAS_MARK.has(char);
export const isPunctuation = (char) => (PUNCTUATION.test(char) && !isLater(char)) || WAS_PUNCTUATION.has(char);

function isChinese(code) {
  return (
    (code >= 0x4e00 && code <= 0x9fff) || (code >= 0x3400 && code <= 0x4dbf) || (code >= 0x20000 && code <= 0x2a6df) ||
    (code >= 0x2a700 && code <= 0x2b73f) || (code >= 0x2b740 && code <= 0x2b81f) || (code >= 0x2b920 && code <= 0x2ceaf) ||
    (code >= 0xf900 && code <= 0xfaff) || (code >= 0x2f800 && code <= 0x2fa1f)
  );
}

/** A normal form of Unicode; characters that it puts together lie where the first of them lay. */
function inForm(piece, form) {
  const made = { chars: [], from: [], to: [] };
  let index = 0;
  for (const [cluster] of asText(piece).matchAll(CLUSTERS)) {
    const before = Array.from(cluster), after = Array.from(cluster.normalize(form));
    const alone = before.map((char) => Array.from(char.normalize(form)));
    const each = alone.flat().join("") === after.join("") ? alone : null;
    after.forEach((char, place) => {
      const source = index + (each === null ? Math.min(place, before.length - 1) : owner(each, place));
      made.chars.push(char);
      made.from.push(piece.from[source]);
      made.to.push(piece.to[source]);
    });
    index += before.length;
  }
  return made;
}

/** Which of `lists`, one after another, the element at `place` is in. */
function owner(lists, place) {
  let index = 0;
  while (place >= lists[index].length) place -= lists[index++].length;
  return index;
}

function stripped(piece, left, right) {
  let start = 0, end = piece.chars.length;
  while (left && start < end && isSpace(piece.chars[start])) start++;
  while (right && end > start && isSpace(piece.chars[end - 1])) end--;
  return sliced(piece, start, end);
}

/** `text` before the characters, where there are any; it lies where the first of them lies. */
function prepended(piece, text) {
  if (!piece.chars.length) return piece;
  const before = Array.from(text);
  return {
    chars: [...before, ...piece.chars],
    from: [...before.map(() => piece.from[0]), ...piece.from],
    to: [...before.map(() => piece.to[0]), ...piece.to],
  };
}

function replaced(piece, pattern, content) {
  const made = { chars: [], from: [], to: [] };
  const given = Array.from(content);
  const add = (chars, from, to) => chars.forEach((char, place) => {
    made.chars.push(char);
    made.from.push(from[place]);
    made.to.push(to[place]);
  });
  let done = 0;
  for (const [start, end] of matches(piece, pattern)) {
    add(piece.chars.slice(done, start), piece.from.slice(done, start), piece.to.slice(done, start));
    const last = Math.max(start, end - 1); // what stands in the place of several characters is of the last of them
    add(given, given.map(() => piece.from[last]), given.map(() => piece.to[last]));
    done = end;
  }
  add(piece.chars.slice(done), piece.from.slice(done), piece.to.slice(done));
  return made;
}

/** Where a pattern lies in the characters, [start, end) of each. */
function matches(piece, pattern) {
  const text = asText(piece);
  const found = [];
  const place = places(piece.chars, text.length);
  for (const match of asTheirTablesHaveIt(text).matchAll(pattern)) {
    found.push([place(match.index), place(match.index + match[0].length)]);
  }
  return found;
}

/** Of a place in 16-bit units of `chars`, `units` in all, the place in characters. */
export function places(chars, units) {
  if (chars.length === units) return (unit) => unit;
  const known = new Map();
  let unit = 0;
  chars.forEach((char, index) => {
    known.set(unit, index);
    unit += char.length;
  });
  known.set(unit, chars.length);
  return (wanted) => known.get(wanted);
}

/** A text in which characters that are newer than the library's tables are ones that Unicode has not given out. */
function asTheirTablesHaveIt(text) {
  return /^[\0-\u07ff]*$/.test(text)
    ? text
    : text.replace(/[^\0-\u07ff]/gu, (char) => (!within(LATER_IN_PATTERNS, char.codePointAt(0)) ? char : char.length === 1 ? "\u0378" : "\u{e0080}"));
}

/** Pieces at the characters that `is` names. */
function splitAt(piece, is, behaviour) {
  const found = [];
  piece.chars.forEach((char, index) => {
    if (is(char)) found.push([index, index + 1]);
  });
  return split(piece, found, behaviour, false);
}

/** Pieces between and at matches, as the tokenizers library's `SplitDelimiterBehavior` has it; empty ones are none. */
function split(piece, found, behaviour, inverted) {
  let parts = [];
  let done = 0;
  for (const [start, end] of found) {
    if (start > done) parts.push([done, start, inverted]);
    if (end > start) parts.push([start, end, !inverted]);
    done = Math.max(done, end);
  }
  if (done < piece.chars.length) parts.push([done, piece.chars.length, inverted]);
  if (behaviour === "Removed") parts = parts.filter(([, , match]) => !match);
  else if (behaviour === "Contiguous") parts = merged(parts, (before, part) => before[2] === part[2]);
  else if (behaviour === "MergedWithPrevious") parts = merged(parts, (before, part) => part[2] && !before[2]);
  else if (behaviour === "MergedWithNext") {
    const back = merged(parts.map(([start, end, match]) => [-end, -start, match]).reverse(), (before, part) => part[2] && !before[2]);
    parts = back.map(([start, end, match]) => [-end, -start, match]).reverse();
  }
  return parts.map(([start, end]) => sliced(piece, start, end));
}

/** Parts in order, joined to the part before them where `joins` says so of both. */
function merged(parts, joins) {
  const made = [];
  let before = null;
  for (const part of parts) {
    if (before !== null && joins(before, part)) made.at(-1)[1] = part[1];
    else made.push([...part]);
    before = part;
  }
  return made;
}

/** SentencePiece's own normalization: a trie (Darts) from texts to others, longest first of each grapheme, else of each character. */
function charsmap(base64) {
  if (!base64) return (piece) => piece;
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const size = view.getUint32(0, true);
  const trie = Uint32Array.from({ length: size / 4 }, (_, index) => view.getUint32(4 + 4 * index, true));
  const texts = bytes.subarray(4 + size);
  const decoder = new TextDecoder();
  const offset = (unit) => (unit >>> 10) << ((unit & 512) >>> 6);
  const read = (key) => {
    let node = offset(trie[0]);
    for (const byte of key) {
      if (byte === 0) return null;
      node ^= byte;
      const unit = trie[node];
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== byte) return null;
      node ^= offset(unit);
      if ((unit >>> 8) & 1) {
        const start = trie[node] & 0x7fffffff;
        return decoder.decode(texts.subarray(start, texts.indexOf(0, start)));
      }
    }
    return null;
  };
  const graphemes = new Intl.Segmenter("und", { granularity: "grapheme" });
  return (piece) => {
    const changes = []; // [character, how many more characters than it stands for], as the Rust library counts: what is removed is of the one before
    const exchange = (count, text) => {
      const chars = Array.from(text), more = chars.length - count;
      chars.forEach((char, place) => changes.push([char, place >= count ? 1 : 0]));
      if (more < 0 && changes.length) changes.at(-1)[1] += more;
    };
    for (const { segment } of graphemes.segment(asText(piece))) {
      const key = UTF8.encode(segment), whole = key.length < 6 ? read(key) : null;
      if (whole !== null) exchange(Array.from(segment).length, whole);
      else for (const char of segment) exchange(1, read(UTF8.encode(char)) ?? char);
    }
    const made = { chars: [], from: [], to: [] };
    let next = 0;
    for (const [char, more] of changes) {
      const source = more > 0 ? next - 1 : next;
      made.chars.push(char);
      made.from.push(piece.from[source] ?? 0);
      made.to.push(piece.to[source] ?? 0);
      if (more <= 0) next += 1 - more;
    }
    return made;
  };
}

/** GPT-2's letter for each byte. */
function byteLetters() {
  const printable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}

function ranges(text) {
  return text.split(" ").map((one) => one.split("-").map((code) => parseInt(code, 36))).map(([low, high = low]) => [low, high]);
}

function within(sorted, code) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle][1] < code) low = middle + 1;
    else high = middle;
  }
  return low < sorted.length && sorted[low][0] <= code;
}
