/** `compare` in Node: node node.mjs RUNNER VENDOR BUNDLE JOBS OUT. */
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { compare } from "./answers.mjs";

const [, , runner, vendor, bundle, jobs, out] = process.argv;
const found = await compare(pathToFileURL(`${runner}/`).href, bundle, { vendor }, JSON.parse(readFileSync(jobs, "utf8")));
writeFileSync(out, JSON.stringify(found));
