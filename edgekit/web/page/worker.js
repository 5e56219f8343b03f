/**
 * Keeps the page for when there is no network, and gives it the two headers that threads need, which many hosts cannot send. Every file that it
 * keeps is the one of its sha256 in FILES.
 */

const FILES = {};
const KEPT = "edgekit-@VERSION@";
const HEADERS = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

async function keep() {
  const cache = await caches.open(KEPT);
  await Promise.all(Object.entries(FILES).map(async ([name, digest]) => {
    const get = (cache) => fetch(name, { cache, integrity: `sha256-${digest}` });
    const response = await get("no-cache").catch(() => get("reload")); // a server may call a file unchanged that is not
    if (!response.ok) throw new Error(`${name}: ${response.status}`);
    await cache.put(name, response);
  }));
}

self.addEventListener("install", (event) => event.waitUntil(keep().then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil((async () => {
  const scope = new URL(self.registration.scope).pathname;
  for (const name of await caches.keys()) {
    const mine = name.startsWith("edgekit-") && name !== KEPT && (await (await caches.open(name)).match(new URL("index.html", self.registration.scope)));
    if (mine && scope) await caches.delete(name);
  }
  await self.clients.claim();
})()));
self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== self.location.origin) return;
  event.respondWith((async () => {
    const place = new URL(url.pathname.endsWith("/") ? `${url.pathname}index.html` : url.pathname, url);
    const found = (await (await caches.open(KEPT)).match(place)) ?? (await fetch(event.request));
    if (found.type === "opaque" || found.status === 0) return found;
    const headers = new Headers(found.headers);
    for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
    return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
  })());
});
