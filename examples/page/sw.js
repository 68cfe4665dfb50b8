// Keeps the page for use without a network: what it is made of at the first visit, excerpts as
// they are played. build.py fills in the names of the files and a hash of their contents. A newer
// version waits until no tab shows the older one: a visit never mixes two.
const NAME = "page-@@VERSION@@", FILES = "@@FILES@@";

addEventListener("install", (event) => {
  const fresh = FILES.map((file) => new Request(file, { cache: "reload" }));
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(fresh)));
});

addEventListener("activate", (event) => {
  const old = (names) => names.filter((name) => name.startsWith("page-") && name !== NAME);
  event.waitUntil(caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name)))));
});

addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method === "GET" && url.origin === location.origin) event.respondWith(answer(event.request, url));
});

async function answer(request, url) {
  const cache = await caches.open(NAME), kept = await cache.match(url.origin + url.pathname);
  if (kept) return part(request, kept);
  const fetched = await fetch(url, { cache: "no-cache" });
  if (fetched.ok && url.pathname.includes("/previews/")) await cache.put(url.origin + url.pathname, fetched.clone());
  return part(request, fetched);
}

// players ask for ranges of bytes
async function part(request, whole) {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "");
  if (!range || whole.status !== 200) return whole;
  const blob = await whole.blob(), start = Number(range[1]);
  const stop = range[2] ? Math.min(blob.size, Number(range[2]) + 1) : blob.size;
  return new Response(blob.slice(start, stop), {
    status: 206,
    headers: { "Content-Type": blob.type, "Content-Range": `bytes ${start}-${stop - 1}/${blob.size}`, "Content-Length": stop - start },
  });
}
