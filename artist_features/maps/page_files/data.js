"use strict";
// What the page was made with, decoded: `tracks` holds columns, all in the order of the table.
const tracks = (() => {
  const given = JSON.parse(document.getElementById("data").textContent);
  const decode = (text, Kind) =>
    new Kind(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const unpack = ({ start, ends }) => ends.map((end) => start + end);
  const places = decode(given.places, Float32Array);
  const found = {
    n: given.n,
    nNeighbours: given.n_neighbours,
    x: places.filter((_, at) => at % 2 === 0),
    y: places.filter((_, at) => at % 2 === 1),
    neighbours: decode(given.neighbours, Uint32Array),
    similarities: decode(given.similarities, Int16Array),
    groupNames: given.groups,
    groupOf: decode(given.group_of, Uint32Array),
    labelAt: given.label_at,
    palette: given.palette,
    grey: given.grey,
    color: given.color,
    path: unpack(given.path),
    title: unpack(given.title),
    artist: unpack(given.artist),
    link: unpack(given.link),
  };
  found.neighboursOf = (track) =>
    Array.from(found.neighbours.subarray(track * found.nNeighbours, (track + 1) * found.nNeighbours));
  found.similarityTo = (track, place) =>
    found.similarities[track * found.nNeighbours + place] / given.similarity_steps;
  // groups beyond the palette are grey; their names stand in the legend and with each track
  found.colorOf = (group) => found.palette[group] ?? found.grey;
  found.groupName = (track) =>
    found.groupNames[found.groupOf[track]] ?? (found.color ? `no ${found.color}` : "");
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
const byId = (id) => document.getElementById(id);
