"use strict";
// Tracks by the words of their titles, artists and paths.
const finder = (() => {
  const box = byId("search"), results = byId("results");
  const N_SHOWN = 100; // results in the list; the count says how many there are
  const handlers = { chosen() {} };
  let found = [], current = -1;
  // neither case nor accents tell texts apart
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLocaleLowerCase();
  const texts = [];

  function find() {
    const words = plain(box.value).split(/\s+/).filter(Boolean);
    while (texts.length < tracks.n) {
      const track = texts.length;
      texts.push(plain(`${tracks.title[track]}\n${tracks.artist[track]}\n${tracks.path[track]}`));
    }
    found = [];
    if (words.length) texts.forEach((text, track) => {
      if (words.every((word) => text.includes(word))) found.push(track);
    });
    current = -1;
    results.replaceChildren(...found.slice(0, N_SHOWN).map(option));
    const more = found.length > N_SHOWN ? `, the first ${N_SHOWN} listed` : "";
    const count = found.length === 1 ? "1 track" : `${found.length.toLocaleString("en")} tracks`;
    const text = words.length ? (found.length ? count + more : "Nothing found") : "";
    byId("found").textContent = text;
    byId("found").hidden = !text;
    results.hidden = !found.length;
    box.setAttribute("aria-expanded", String(found.length > 0));
    box.removeAttribute("aria-activedescendant");
    say(text);
  }

  function option(track, place) {
    const item = make("li");
    item.id = `result-${place}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", "false");
    item.append(make("b", "", tracks.title[track]), make("span", "", tracks.artist[track] || tracks.path[track]));
    item.addEventListener("mousedown", (event) => event.preventDefault()); // the box keeps the focus
    item.addEventListener("click", () => toResult(place, true));
    return item;
  }

  function toResult(place, play = false) {
    results.children[current]?.setAttribute("aria-selected", "false");
    current = place;
    const item = results.children[place];
    item.setAttribute("aria-selected", "true");
    item.scrollIntoView({ block: "nearest" });
    box.setAttribute("aria-activedescendant", item.id);
    handlers.chosen(found[place], play);
    say(`${place + 1} of ${found.length}: ${tracks.name(found[place])}`);
  }

  // true if there was something to clear
  function clear() {
    if (!box.value) return false;
    box.value = "";
    find();
    return true;
  }

  box.addEventListener("input", find);
  box.addEventListener("keydown", (event) => {
    const n = results.children.length;
    if (event.key === "ArrowDown" && n) toResult((current + 1) % n);
    else if (event.key === "ArrowUp" && n) toResult(current < 0 ? n - 1 : (current - 1 + n) % n);
    else if (event.key === "Enter" && n) toResult(Math.max(current, 0), true);
    else return;
    event.preventDefault();
  });
  return { handlers, clear, focus: () => box.focus() };
})();
