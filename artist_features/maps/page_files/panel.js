"use strict";
// The chosen track and its neighbours; mouse, keyboard and the page's address alike.
const panel = (() => {
  const narrow = matchMedia("(max-width: 52rem)"); // as in page.css
  const handlers = { changed() {} };
  let chosen = -1, step = -1;

  function choose(track, { play = false, centre = false } = {}) {
    chosen = track;
    step = -1;
    if (legend.only() >= 0) legend.show(-1);
    plot.highlight(track);
    if (centre) plot.centre(track);
    byId("track").hidden = false;
    byId("hint").hidden = true;
    byId("track-title").textContent = byId("track-title").title = tracks.title[track];
    byId("track-artist").textContent = tracks.artist[track];
    byId("track-path").textContent = tracks.path[track];
    byId("track-path").hidden = tracks.path[track] === tracks.title[track];
    const group = tracks.groupName(track);
    byId("track-group").hidden = !group || group === tracks.artist[track];
    byId("track-group").replaceChildren(legend.dot(tracks.groupOf[track]), make("span", "", group));
    listNeighbours(track);
    player.load(track);
    if (play && byId("autoplay").checked) player.play();
    address(tracks.isOwn(track) ? "" : `#track=${encodeURIComponent(tracks.path[track])}`);
    say(`${tracks.name(track)}, ${tracks.neighboursOf(track).length} neighbours shown`);
    handlers.changed();
  }

  function clear() {
    if (chosen < 0) return;
    chosen = step = -1;
    player.load(-1);
    byId("track").hidden = true;
    byId("hint").hidden = false;
    plot.highlight(-1);
    address("");
    say("Choice cleared");
    handlers.changed();
  }

  function listNeighbours(track) {
    const near = tracks.neighboursOf(track);
    byId("neighbours").replaceChildren(...near.map((other, place) => neighbour(track, other, place)));
    byId("neighbours-title").hidden = !near.length;
    byId("rank-note").hidden = tracks.percentile(1) === null;
  }

  function neighbour(track, other, place) {
    const what = make("span", "what");
    what.append(make("span", "", tracks.title[other]), make("span", "who", tracks.artist[other]));
    const go = makeButton("go", () => choose(other, { play: true, centre: true }),
      make("span", "number", String(place + 1)), what, likeness(tracks.similarityTo(track, place)));
    go.setAttribute("aria-label",
      `${place + 1}: ${tracks.name(other)}, likeness ${tracks.similarityTo(track, place).toFixed(2)}`);
    go.addEventListener("focus", () => pointOut(place));
    const item = make("li");
    item.addEventListener("mouseenter", () => pointOut(place));
    item.addEventListener("mouseleave", () => pointOut(-1));
    item.append(player.button(other), go);
    return item;
  }

  // a bar, the cosine similarity, and how rare so much of it is; where that is known the bar
  // starts at what half of all pairs have
  function likeness(similarity) {
    const whole = make("span", "likeness"), bar = make("span", "bar"), part = make("span");
    const start = tracks.usualSimilarity;
    part.style.width = `${100 * Math.max(0.02, Math.min(1, (similarity - start) / (1 - start)))}%`;
    bar.append(part);
    whole.append(bar, make("span", "alike", similarity.toFixed(2)));
    whole.title = "cosine similarity of the embeddings";
    const share = tracks.percentile(similarity);
    if (share !== null) {
      const text = share >= 0.999 ? "99.9 %" : `${(Math.floor(share * 1000) / 10).toFixed(1)} %`;
      whole.append(make("span", "rank", text));
      whole.title += `; more alike than ${text} of all pairs of tracks by different artists`;
    }
    return whole;
  }

  function pointOut(place) {
    step = place;
    plot.pointOut(place < 0 ? -1 : tracks.neighboursOf(chosen)[place]);
  }

  // a link to the chosen track: the page opens with it
  function address(hash) {
    try { history.replaceState(null, "", hash || location.pathname + location.search); } catch { /* a page without an address */ }
  }

  function followAddress() {
    const wanted = /^#track=(.*)$/.exec(location.hash);
    if (!wanted) return;
    let path = "";
    try { path = decodeURIComponent(wanted[1]); } catch { return; }
    const track = tracks.path.indexOf(path);
    if (track >= 0) choose(track, { centre: true });
  }

  byId("neighbours").addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!way) return;
    const buttons = [...byId("neighbours").querySelectorAll(".go")];
    buttons[(step + way + buttons.length) % buttons.length].focus();
    event.preventDefault();
  });

  byId("map").addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const near = chosen < 0 ? [] : tracks.neighboursOf(chosen), n = near.length;
    if (event.key === "+" || event.key === "=") plot.zoom(0.7);
    else if (event.key === "-") plot.zoom(1 / 0.7);
    else if (chosen < 0) {
      if (!way && event.key !== "Enter") return;
      choose(0, { centre: true });
    } else if (way && n) {
      pointOut(step < 0 ? (way > 0 ? 0 : n - 1) : (step + way + n) % n);
      say(`${step + 1} of ${n}: ${tracks.name(near[step])}`);
    } else if (event.key === "Enter" && step >= 0) {
      choose(near[step], { play: true, centre: true });
    } else if (event.key === "Enter" || event.key === " ") player.toggle(chosen);
    else return;
    event.preventDefault();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    clear();
    if (legend.only() >= 0) legend.show(-1);
    if (finder.clear()) say("Choice and search cleared");
  });

  byId("clear").addEventListener("click", () => { clear(); finder.focus(); });
  byId("zoom-in").addEventListener("click", () => plot.zoom(0.7));
  byId("zoom-out").addEventListener("click", () => plot.zoom(1 / 0.7));
  byId("zoom-all").addEventListener("click", plot.whole);
  plot.handlers.choose = (track) => {
    choose(track, { play: true });
    if (narrow.matches) byId("track").scrollIntoView({ block: "start" }); // from below the map
  };
  plot.handlers.clear = clear;
  finder.handlers.chosen = (track, play) => choose(track, { play, centre: true });
  legend.handlers.chosen = clear;
  legend.start();
  plot.start();
  followAddress();
  window.addEventListener("hashchange", followAddress);
  return { choose, clear, likeness, handlers, narrow, chosen: () => chosen };
})();
