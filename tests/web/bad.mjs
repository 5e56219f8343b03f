/** What the runner says where something is missing, forbidden or broken on the way: one case a process, as libraries are loaded once. */
import { createServer } from "node:http";
import { readFileSync, writeFileSync } from "node:fs";
import { teller } from "./told.mjs";

const [, , job, done] = process.argv;
const { runner, vendor, bundle, kind } = JSON.parse(readFileSync(job, "utf8"));
const { EdgekitError, load } = await import(`file://${runner}/runner.mjs`);
const told = teller(EdgekitError);
const page = "<!doctype html><title>Not found</title>";

/** What `load` says of a server that answers as `answer(name, response)` does, where it does; the bundle's own files otherwise. */
async function served(answer) {
  const server = createServer((request, response) => {
    const name = request.url.split("/").at(-1);
    if (answer(name, response)) return;
    response.end(readFileSync(`${bundle}/${name}`));
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const found = await told(() => load(`http://127.0.0.1:${server.address().port}/bundle`, { vendor }).then(() => "loaded"));
  server.closeAllConnections();
  server.close();
  return found;
}

const KINDS = {
  "no WebAssembly": () => { delete globalThis.WebAssembly; return told(() => load(bundle, { vendor })); },
  "no SIMD": () => { WebAssembly.validate = () => false; return told(() => load(bundle, { vendor })); },
  "no memory": () => {
    WebAssembly.Memory = class { constructor() { throw new RangeError("WebAssembly.Memory(): could not allocate memory"); } };
    return told(() => load(bundle, { vendor }));
  },
  "a library changed": () => told(() => load(bundle, { vendor: `${job}.vendor` })),
  servers: async () => ({
    missing: await served((name, response) => name === "tokenizer.json" && (response.writeHead(404), response.end(page), true)),
    "no bundle": await served((name, response) => (response.writeHead(404), response.end(page), true)),
    "a page for all": await served((name, response) => (response.writeHead(200, { "content-type": "text/html" }), response.end(page), true)),
    "a page for one": await served((name, response) => name === "model.onnx" && (response.writeHead(200, { "content-type": "text/html; charset=utf-8" }), response.end(page), true)),
    "cut short": await served((name, response) => {
      if (name !== "model.onnx") return false;
      response.writeHead(200, { "content-length": "1000" });
      response.write("abc");
      setTimeout(() => response.destroy(), 20);
      return true;
    }),
    shortened: await served((name, response) => name === "model.onnx" && (response.end(readFileSync(`${bundle}/${name}`).subarray(0, 500)), true)),
    whole: await served(() => false),
  }),
};
writeFileSync(done, JSON.stringify(await KINDS[kind]()));
process.exit(0);
