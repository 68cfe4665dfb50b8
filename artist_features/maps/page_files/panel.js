"use strict";
// Search, the chosen track, its sound, its neighbours, the legend; mouse and keyboard alike.
(() => {
  const search = byId("search"), results = byId("results"), audio = byId("audio");
  const N_SHOWN = 100; // results in the list; the count tells how many there are
  let chosen = -1, step = -1, found = [], current = -1, only = -1;
  // neither case nor accents tell texts apart
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLocaleLowerCase();
  const texts = tracks.path.map((path, track) =>
    plain(`${tracks.title[track]}\n${tracks.artist[track]}\n${path}`));
  const say = (text) => { byId("live").textContent = text; };

  function choose(track, { play = false, centre = false } = {}) {
    chosen = track;
    step = -1;
    if (only >= 0 && tracks.groupOf[track] !== only) showGroup(-1);
    else if (only >= 0) plot.filter(null);
    plot.highlight(track);
    if (centre) plot.centre(track);
    byId("track").hidden = false;
    byId("hint").hidden = true;
    byId("track-title").textContent = tracks.title[track];
    byId("track-artist").textContent = tracks.artist[track];
    byId("track-path").textContent = tracks.path[track];
    const group = tracks.groupName(track);
    byId("track-group").hidden = !group || group === tracks.artist[track];
    byId("track-group").replaceChildren(dot(tracks.groupOf[track]), make("span", "", group));
    listNeighbours(track);
    load(track);
    if (play && byId("autoplay").checked) playNow();
    say(`${tracks.name(track)}, ${tracks.nNeighbours} neighbours shown`);
  }

  function clear() {
    if (chosen < 0) return;
    chosen = step = -1;
    audio.pause();
    byId("track").hidden = true;
    byId("hint").hidden = false;
    plot.highlight(-1);
    if (only >= 0) showGroup(only);
    say("Choice cleared");
  }

  function listNeighbours(track) {
    byId("neighbours").replaceChildren(...tracks.neighboursOf(track).map((other, place) => {
      const button = make("button");
      button.type = "button";
      const what = make("span", "what");
      what.append(make("span", "", tracks.title[other]), make("span", "who", tracks.artist[other]));
      const alike = tracks.similarityTo(track, place).toFixed(2);
      button.append(make("span", "number", String(place + 1)), what, make("span", "alike", alike));
      button.title = "cosine similarity of the embeddings: " + alike;
      button.addEventListener("focus", () => pointOut(place));
      button.addEventListener("mouseenter", () => pointOut(place));
      button.addEventListener("mouseleave", () => pointOut(-1));
      button.addEventListener("click", () => choose(other, { play: true, centre: true }));
      const item = make("li");
      item.append(button);
      return item;
    }));
    byId("neighbours").previousElementSibling.hidden = !tracks.nNeighbours;
  }

  function pointOut(place) {
    step = place;
    plot.pointOut(place < 0 ? -1 : tracks.neighboursOf(chosen)[place]);
  }

  function load(track) {
    const link = tracks.link[track];
    audio.pause();
    byId("audio-note").hidden = true;
    audio.hidden = !link;
    if (link) audio.src = link;
    else {
      audio.removeAttribute("src");
      note("This track cannot be played here: its path is no file or web address that a browser opens.");
    }
  }

  function playNow() {
    if (!tracks.link[chosen]) return;
    audio.play().catch((error) => {
      if (error.name === "NotAllowedError") note("The browser did not let it start by itself; press play.");
      else if (error.name !== "AbortError") unreachable();
    });
  }

  function unreachable() {
    audio.hidden = true;
    note(`This track cannot be played here: there is no file at ${tracks.link[chosen]} as seen from this page, or the browser does not know its format.`);
  }

  function note(text) {
    byId("audio-note").textContent = text;
    byId("audio-note").hidden = false;
  }

  function find() {
    const words = plain(search.value).split(/\s+/).filter(Boolean);
    found = [];
    if (words.length) texts.forEach((text, track) => {
      if (words.every((word) => text.includes(word))) found.push(track);
    });
    current = -1;
    results.replaceChildren(...found.slice(0, N_SHOWN).map((track, place) => {
      const item = make("li");
      item.id = `result-${place}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
      item.append(make("b", "", tracks.title[track]), make("span", "", tracks.artist[track] || tracks.path[track]));
      item.addEventListener("mousedown", (event) => event.preventDefault()); // the box keeps the focus
      item.addEventListener("click", () => toResult(place, true));
      return item;
    }));
    const more = found.length > N_SHOWN ? `, the first ${N_SHOWN} listed` : "";
    const count = found.length === 1 ? "1 track" : `${found.length.toLocaleString("en")} tracks`;
    const text = words.length ? (found.length ? count + more : "Nothing found") : "";
    byId("found").textContent = text;
    byId("found").hidden = !text;
    results.hidden = !found.length;
    search.setAttribute("aria-expanded", String(found.length > 0));
    search.removeAttribute("aria-activedescendant");
    say(text);
  }

  function toResult(place, play = false) {
    results.children[current]?.setAttribute("aria-selected", "false");
    current = place;
    const item = results.children[place];
    item.setAttribute("aria-selected", "true");
    item.scrollIntoView({ block: "nearest" });
    search.setAttribute("aria-activedescendant", item.id);
    choose(found[place], { play, centre: true });
    say(`${place + 1} of ${found.length}: ${tracks.name(found[place])}`);
  }

  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => {
    const n = results.children.length;
    if (event.key === "ArrowDown" && n) toResult((current + 1) % n);
    else if (event.key === "ArrowUp" && n) toResult(current < 0 ? n - 1 : (current - 1 + n) % n);
    else if (event.key === "Enter" && n) toResult(Math.max(current, 0), true);
    else return;
    event.preventDefault();
  });

  byId("neighbours").addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!way) return;
    const buttons = [...byId("neighbours").querySelectorAll("button")];
    buttons[(step + way + buttons.length) % buttons.length].focus();
    event.preventDefault();
  });

  byId("map").addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const n = tracks.nNeighbours;
    if (event.key === "+" || event.key === "=") plot.zoom(0.7);
    else if (event.key === "-") plot.zoom(1 / 0.7);
    else if (chosen < 0) {
      if (!way && event.key !== "Enter") return;
      choose(0, { centre: true });
    } else if (way && n) {
      pointOut(step < 0 ? (way > 0 ? 0 : n - 1) : (step + way + n) % n);
      say(`${step + 1} of ${n}: ${tracks.name(tracks.neighboursOf(chosen)[step])}`);
    } else if (event.key === "Enter" && step >= 0) {
      choose(tracks.neighboursOf(chosen)[step], { play: true, centre: true });
    } else if (event.key === "Enter" || event.key === " ") {
      if (audio.paused) playNow();
      else audio.pause();
    } else return;
    event.preventDefault();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    clear();
    if (search.value) { search.value = ""; find(); say("Choice and search cleared"); }
  });

  function dot(group) {
    const mark = make("span", "dot");
    mark.style.background = tracks.colorOf(group);
    return mark;
  }

  // show one group alone; -1 shows all
  function showGroup(group) {
    only = group;
    for (const button of byId("groups").querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(Number(button.value) === group));
    byId("show-all").hidden = group < 0;
    const members = [];
    if (group >= 0) tracks.groupOf.forEach((other, track) => { if (other === group) members.push(track); });
    plot.filter(group < 0 ? null : members);
  }

  function listGroups() {
    if (!tracks.groupNames.length) return;
    const counts = new Uint32Array(tracks.groupNames.length + 1);
    for (const group of tracks.groupOf) counts[group] += 1;
    const names = [...tracks.groupNames, `no ${tracks.color}`];
    byId("legend-title").textContent = tracks.color[0].toUpperCase() + tracks.color.slice(1);
    byId("groups").append(...names.flatMap((name, group) => {
      if (!counts[group]) return [];
      const button = make("button");
      button.type = "button";
      button.value = group;
      button.setAttribute("aria-pressed", "false");
      button.append(dot(group), make("span", "name", name), make("span", "count", String(counts[group])));
      button.addEventListener("click", () => {
        clear();
        showGroup(only === group ? -1 : group);
        say(only < 0 ? "All shown" : `${name} alone: ${counts[group]} tracks`);
      });
      const item = make("li");
      item.append(button);
      return [item];
    }));
    byId("legend").hidden = false;
  }

  audio.addEventListener("error", () => { if (chosen >= 0 && tracks.link[chosen]) unreachable(); });
  byId("clear").addEventListener("click", () => { clear(); search.focus(); });
  byId("show-all").addEventListener("click", () => { showGroup(-1); say("All shown"); });
  byId("zoom-in").addEventListener("click", () => plot.zoom(0.7));
  byId("zoom-out").addEventListener("click", () => plot.zoom(1 / 0.7));
  byId("zoom-all").addEventListener("click", plot.whole);
  plot.handlers.choose = (track) => choose(track, { play: true });
  plot.handlers.clear = clear;
  listGroups();
  plot.start();
})();
