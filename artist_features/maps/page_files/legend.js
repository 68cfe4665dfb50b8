"use strict";
// The groups by size, as many as fit; a click colours one and fades the others.
const legend = (() => {
  const FIRST = 12; // rows before "more"
  let only = -1, all = false;
  const handlers = { chosen() {} };
  const names = [...tracks.groupNames, `no ${tracks.color}`];
  const counts = new Uint32Array(names.length);
  for (const group of tracks.groupOf) counts[group] += 1;
  const listed = names.flatMap((_, group) => (counts[group] ? [group] : []));

  // -1 shows all
  function show(group) {
    only = group;
    if (group >= 0 && listed.indexOf(group) >= FIRST && !all) list(true);
    for (const button of byId("groups").querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(Number(button.value) === group));
    byId("show-all").hidden = group < 0;
    plot.showGroup(group);
  }

  function dot(group) {
    const mark = make("span", group < 0 ? "dot own" : "dot");
    mark.style.background = points.variable(group);
    return mark;
  }

  function row(group) {
    const button = makeButton("", () => {
      handlers.chosen();
      show(only === group ? -1 : group);
      say(only < 0 ? "All shown" : `${names[group]} alone: ${counts[group]} tracks`);
    }, dot(group), make("span", "name", names[group]), make("span", "count", String(counts[group])));
    button.value = group;
    button.setAttribute("aria-pressed", String(group === only));
    const item = make("li");
    item.append(button);
    return item;
  }

  function list(everything) {
    all = everything;
    byId("groups").replaceChildren(...listed.slice(0, all ? listed.length : FIRST).map(row));
    const more = byId("more-groups"), rest = listed.length - FIRST;
    more.hidden = rest <= 0;
    more.textContent = all ? "Fewer" : `${rest.toLocaleString("en")} more`;
    more.setAttribute("aria-expanded", String(all));
  }

  function start() {
    if (!tracks.groupNames.length) return;
    byId("legend-title").textContent = tracks.color[0].toUpperCase() + tracks.color.slice(1);
    list(false);
    byId("show-all").addEventListener("click", () => { show(-1); say("All shown"); });
    byId("more-groups").addEventListener("click", () => list(!all));
    byId("legend").hidden = false;
  }

  return { start, show, dot, handlers, only: () => only };
})();
