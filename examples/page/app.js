// A visitor's files: through the model, onto the map, into the list. The map's own scripts are
// in `tracks`, `plot`, `panel` and so on, as on the page of `artist-features map`.
import { chosen, dropped } from "./intake.js";
import { csv, download, table } from "./export.js";
import { nearest, Places, Same, unit } from "./place.js";
import { Pool } from "./pool.js";

const N_ROWS = 100; // of the list at first; a thousand files must not be a thousand rows
const N_NARROW = 5; // of them on a phone, where the list is as long as its rows
const items = []; // { path, file, state, share, track, vector, ... }, in the order in which they came
const same = new Same(), places = new Places(tracks.x, tracks.y);
const PAUSE_MS = 250;
let nDrawn = 0; // tracks on the map
let toShow = false; // the list, when it has its first row
let toFocus = false; // its first row, where the focus was on what has gone
let isMoved = false; // the visitor has scrolled
let pool = null, corpus = null, begun = 0, nDone = 0, nShown = panel.narrow.matches ? N_NARROW : N_ROWS, asked = 0;
let facts = null; // once they are fetched
globalThis.own = items; // for tests, and for the curious

async function part(name) {
  const answer = await fetch(name).catch(() => null);
  if (!answer?.ok) throw new Error(`: the page's own ${name} could not be fetched; is there a network?`);
  return answer;
}

// What failed to come is asked for again with the next file.
async function begin() {
  try {
    facts ??= await (await part("facts.json")).json();
    corpus ??= part(document.querySelector('meta[name="vectors"]').content)
      .then(async (answer) => new Float32Array(await answer.arrayBuffer()));
    pool ??= new Pool(facts.model);
    await Promise.all([pool.ready, corpus]);
    return { pool, corpus: await corpus };
  } catch (error) {
    pool = corpus = null;
    throw error;
  }
}

function take(found, nGiven = found.length) {
  byId("unused").hidden = found.length === nGiven;
  byId("unused").textContent = found.length ? `${nGiven - found.length} of ${nGiven} files are no audio by their names.`
    : `No audio by ${nGiven === 1 ? "its name" : "their names"}: MP3, FLAC, WAV, Ogg, Opus and M4A are.`;
  if (!found.length) return say(byId("unused").textContent);
  if (nDone === items.length) [begun, isMoved] = [performance.now(), false];
  for (const { file, path } of found) {
    const item = { file, path, state: "waiting", share: 0 };
    items.push(item);
    hear(item);
  }
  refresh();
}

async function hear(item) {
  try {
    const { pool: lanes, corpus: rows } = await begin();
    if (item.state === "stopped") throw new Error("stopped");
    const heard = await lanes.embed(item.file, (share) => {
      [item.state, item.share] = ["running", share];
      refresh();
    });
    settle(item, heard, rows);
  } catch (error) {
    Object.assign(item, { state: error.message === "stopped" ? "stopped" : "failed", reason: error.message });
  }
  nDone += 1;
  if (nDone === items.length) finished();
  refresh();
}

function settle(item, heard, rows) {
  const direction = unit(heard.vector), near = nearest(rows, direction);
  let address = null; // of the file, made when it is first played
  const link = () => (address ??= URL.createObjectURL(item.file));
  const title = item.path.split("/").at(-1);
  const place = places.of(near);
  item.track = tracks.add({ ...near, ...place, path: item.path, title, artist: "", link });
  Object.assign(item, heard, { state: "done", near });
  same.add(item, direction, heard.course);
  if (panel.chosen() >= 0) return;
  panel.choose(item.track, { centre: true });
  toShow = true;
}

function finished() {
  const done = items.filter(({ state }) => state === "done"), n = done.length;
  const failed = items.filter(({ state }) => state === "failed").length;
  const like = n === 1 ? `, most like ${tracks.name(done[0].near.neighbours[0])}` : "";
  say(`${n} ${n === 1 ? "file" : "files"} placed on the map${like}${failed ? `, ${failed} could not be read` : ""}`);
  toShow = n > 0; // the progress above the list is gone now
}

// --- what is seen of it: some times a second, since the files need the cores

function refresh() {
  asked ||= setTimeout(() => { asked = 0; draw(); }, PAUSE_MS);
}

function draw() {
  const running = items.filter(({ state }) => state === "running");
  const seconds = (performance.now() - begun) / 1000, rate = nDone / seconds;
  byId("work").hidden = nDone === items.length;
  byId("work-text").textContent = pool && (nDone || running.length)
    ? `${nDone.toLocaleString("en")} of ${items.length.toLocaleString("en")}${nDone && seconds > 3 ? ` · ${rate.toFixed(1)} a second` : ""}`
    : "Fetching the model …";
  byId("work-bar").value = (nDone + running.reduce((sum, { share }) => sum + share, 0)) / Math.max(1, items.length);
  byId("running").replaceChildren(...running.slice(0, 5).map(({ path, share }) => {
    const row = make("li"), bar = make("progress");
    [bar.max, bar.value] = [1, share];
    bar.setAttribute("aria-label", path);
    row.append(make("span", "", path.split("/").at(-1)), bar);
    return row;
  }));
  byId("drop").classList.toggle("compact", items.length > 0);
  list();
  if (nDrawn !== tracks.n) plot.redraw();
  nDrawn = tracks.n;
  if (toShow && !isMoved && panel.narrow.matches) byId("own").scrollIntoView({ block: "start" });
  toShow = false;
  const first = toFocus && byId("own-list").querySelector(".go");
  if (!first) return;
  toFocus = false;
  if ([document.body, byId("stop")].includes(document.activeElement)) first.focus({ preventScroll: true });
}

function list() {
  const done = items.filter(({ state }) => state === "done");
  const failed = items.filter(({ state }) => state === "failed");
  byId("own").hidden = !done.length && !failed.length;
  byId("own-title").textContent = done.length > 1 ? `Your files · ${done.length.toLocaleString("en")}` : "Your files";
  byId("export").hidden = !done.length;
  const rows = byId("own-list"), wanted = done.slice(0, nShown);
  wanted.forEach((item) => { item.row ??= row(item); });
  if (rows.children.length !== wanted.length || wanted.some((item, at) => rows.children[at] !== item.row))
    rows.replaceChildren(...wanted.map((item) => item.row));
  mark();
  const rest = done.length - wanted.length;
  byId("more-own").hidden = rest <= 0;
  byId("more-own").textContent = rest > N_ROWS ? `${N_ROWS} of ${rest.toLocaleString("en")} more` : `${rest} more`;
  const groups = same.several();
  listFailed(failed);
  byId("same").hidden = !groups.length;
  byId("same").firstElementChild.textContent =
    `Possibly the same recording: ${groups.length} ${groups.length === 1 ? "group" : "groups"}`
    + (groups.length > N_ROWS ? ` (the first ${N_ROWS} are listed)` : "");
  // built anew only when a group has changed, or a button would lose the focus
  const key = groups.map((group) => group.map(({ track }) => track).join()).join(";");
  if (byId("same-list").dataset.key === key) return;
  byId("same-list").dataset.key = key;
  byId("same-list").replaceChildren(...groups.slice(0, N_ROWS).map((group) => {
    const listed = make("li");
    listed.append(...group.map((item) => {
      const member = make("div"), what = make("span", "what", item.path);
      what.title = item.path;
      member.append(player.button(item.track), makeButton("go", () => show(item), what));
      return member;
    }));
    return listed;
  }));
}

function listFailed(failed) {
  byId("failed").hidden = !failed.length;
  if (failed.length && !items.some(({ state }) => state !== "failed")) byId("failed").open = true;
  byId("failed").firstElementChild.textContent =
    `${failed.length.toLocaleString("en")} ${failed.length === 1 ? "file" : "files"} could not be read`
    + (failed.length > N_ROWS ? ` (the first ${N_ROWS} are listed)` : "");
  if (byId("failed-list").children.length === Math.min(failed.length, N_ROWS)) return;
  byId("failed-list").replaceChildren(...failed.slice(0, N_ROWS).map(({ path, reason }) => {
    const listed = make("li");
    listed.append(make("b", "", path.split("/").at(-1)), make("span", "quiet", reason));
    return listed;
  }));
}

// the row of the chosen file
function mark() {
  for (const { row: listed, track } of items)
    if (listed) listed.firstChild.ariaCurrent = track === panel.chosen() ? "true" : null;
}

const show = (item) => panel.choose(item.track, { play: true, centre: true });

function row(item) {
  const listed = make("li"), name = item.path.split("/").at(-1), what = make("span", "what");
  const first = item.near.neighbours[0], similarity = item.near.similarities[0];
  what.append(make("span", "", name), make("span", "who", `like ${tracks.name(first)}`));
  const go = makeButton("go", () => show(item), make("span", "diamond"), what, panel.likeness(similarity));
  go.setAttribute("aria-label", `${name}, most like ${tracks.name(first)}, likeness ${similarity.toFixed(2)}`);
  listed.append(go);
  listed.title = item.short ? "shorter than 3 s: it was repeated" : item.path;
  return listed;
}

// --- from the visitor

for (const name of ["choose-files", "choose-folder"])
  byId(name).addEventListener("change", ({ target }) => {
    take(chosen(target.files), target.files.length);
    target.value = "";
  });
byId("folder-choice").hidden = !("webkitdirectory" in byId("choose-folder"));
byId("stop").addEventListener("click", () => {
  for (const item of items) if (item.state === "waiting") item.state = "stopped";
  pool?.stop();
});
byId("more-own").addEventListener("click", () => { nShown += N_ROWS; refresh(); });
const heard = () => items.filter(({ state }) => state === "done");
byId("csv").addEventListener("click", () => download(csv(heard()), "vectors.csv"));
byId("parquet").addEventListener("click", async () =>
  download(table(heard(), facts.model), "vectors.parquet"));
panel.handlers.changed = mark;
for (const name of ["wheel", "touchmove", "keydown"]) addEventListener(name, () => { isMoved = true; }, { passive: true });

let inside = 0;
const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => { if (holdsFiles(event)) { inside += 1; byId("veil").hidden = false; } });
addEventListener("dragleave", (event) => { if (holdsFiles(event) && !(inside -= 1)) byId("veil").hidden = true; });
addEventListener("dragover", (event) => { if (holdsFiles(event)) event.preventDefault(); });
addEventListener("drop", async (event) => {
  event.preventDefault();
  [inside, byId("veil").hidden] = [0, true];
  for await (const found of dropped(event.dataTransfer)) take(found);
});

part("facts.json").then((answer) => answer.json()).then((given) => {
  facts = given;
  const { example } = given;
  if (!example) return;
  byId("example-note").hidden = false;
  byId("example-note").lastElementChild.textContent =
    `${example.title} by ${example.artist} (${example.licence}), which the map does not know`;
  byId("example").addEventListener("click", async () => {
    toFocus = byId("example-note").contains(document.activeElement);
    byId("example-note").hidden = true;
    const blob = await (await part(example.file)).blob();
    take([{ file: new File([blob], `${example.title}.mp3`), path: `${example.title}.mp3` }]);
  });
});

if ("serviceWorker" in navigator) navigator.serviceWorker.register("sw.js").catch(() => {});
