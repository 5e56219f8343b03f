/** `compare` in Node: node node.mjs RUNNER VENDOR BUNDLE JOBS OUT; JOBS holds {jobs, talks}. */
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { compare } from "./answers.mjs";

const [, , runner, vendor, bundle, jobs, out] = process.argv;
const given = JSON.parse(readFileSync(jobs, "utf8"));
const found = await compare(pathToFileURL(`${runner}/`).href, bundle, { vendor }, given.jobs, given.talks);
writeFileSync(out, JSON.stringify(found));
