"use strict";
// What the page was made with, decoded: `tracks` holds columns, all in the order of the table.
// `tracks.add` appends a visitor's own file; it has no row among the neighbours of others.
const tracks = (() => {
  const given = JSON.parse(document.getElementById("data").textContent);
  const decode = (text, Kind) =>
    new Kind(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const unpack = (packed) => packed?.ends.map((end) => packed.start + end) ?? [];
  const places = decode(given.places, Float32Array);
  const neighbours = decode(given.neighbours, Uint32Array);
  const similarities = decode(given.similarities, Int16Array);
  const own = []; // what `add` was given, the first at index nGiven
  const row = (track) => [track * given.n_neighbours, (track + 1) * given.n_neighbours];
  const found = {
    n: given.n,
    nGiven: given.n,
    x: Array.from(places.filter((_, at) => at % 2 === 0)),
    y: Array.from(places.filter((_, at) => at % 2 === 1)),
    groupNames: given.groups,
    groupOf: Array.from(decode(given.group_of, Uint32Array)),
    labelAt: given.label_at,
    palette: { light: given.palette, dark: given.palette_dark },
    color: given.color,
    path: unpack(given.path),
    title: unpack(given.title),
    artist: unpack(given.artist),
    link: unpack(given.link),
    licence: unpack(given.licence), // "" or missing: none is known
    source: unpack(given.source),
  };
  found.isOwn = (track) => track >= found.nGiven;
  // numbers of the nearest tracks, nearest first, and their cosine similarities
  found.neighboursOf = (track) => found.isOwn(track)
    ? own[track - found.nGiven].neighbours
    : Array.from(neighbours.subarray(...row(track)));
  found.similarityTo = (track, place) => found.isOwn(track)
    ? own[track - found.nGiven].similarities[place]
    : similarities[row(track)[0] + place] / given.similarity_steps;
  // share of pairs of tracks by different artists that are less alike, or null
  found.percentile = (similarity) => {
    const steps = given.similarity_quantiles;
    if (!steps) return null;
    const above = steps.findIndex((step) => step > similarity);
    return (above < 0 ? steps.length : above) / steps.length;
  };
  found.usualSimilarity = given.similarity_quantiles?.[Math.floor(given.similarity_quantiles.length / 2)] ?? 0;
  found.add = (file) => {
    own.push(file);
    for (const name of ["x", "y", "path", "title", "artist", "link"]) found[name].push(file[name]);
    found.groupOf.push(-1);
    found.n += 1;
    return found.n - 1;
  };
  found.groupName = (track) => found.isOwn(track) ? "your file"
    : found.groupNames[found.groupOf[track]] ?? (found.color ? `no ${found.color}` : "");
  found.name = (track) =>
    found.artist[track] ? `${found.title[track]} by ${found.artist[track]}` : found.title[track];
  return found;
})();

const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) {
    element.textContent = text; // never markup: titles may hold anything
    element.dir = "auto";
  }
  return element;
};
const makeButton = (className, onClick, ...parts) => {
  const button = make("button", className);
  button.type = "button";
  button.append(...parts);
  button.addEventListener("click", onClick);
  return button;
};
const byId = (id) => document.getElementById(id);
const say = (text) => { byId("live").textContent = text; };
