"use strict";
// The points, and what lies over them: names of groups, numbers of neighbours, the tip.
const plot = (() => {
  const stage = byId("map"), canvas = byId("canvas"), overlay = byId("overlay"), tip = byId("tip");
  const nColors = tracks.palette.length;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const handlers = { choose() {}, clear() {} };
  let scatterplot = null, renderer = null, marks = [], labels = [], shown = -1;

  const beside = new Map([["ring", [0, 0]], ["badge", [11, -11]]]); // px from the point

  const pointSize = tracks.n > 20000 ? 3 : tracks.n > 3000 ? 4.5 : 8;
  const colors = [...tracks.palette, tracks.grey];

  function start() {
    try {
      // of our own, since the library's is no larger than the screen, and a window may be
      renderer = createRenderer();
      renderer.resize(stage.clientWidth, stage.clientHeight);
      scatterplot = createScatterplot({
        canvas, renderer, ...size(),
        backgroundColor: "#f6f7f8",
        colorBy: "valueA", pointColor: colors, pointColorActive: colors, pointColorHover: "#0b57d0",
        pointSize, pointSizeSelected: 4, pointOutlineWidth: 2,
        opacity: 0.85, opacityBy: tracks.n > 3000 ? "density" : null,
        opacityInactiveScale: 0.4, opacityInactiveMax: 0.4,
        cameraDistance: farther(), actionKeyMap: {}, deselectOnEscape: false, showReticle: false,
      });
    } catch (error) {
      noMap(error);
      return;
    }
    scatterplot.subscribe("pointOver", (track) => { canvas.classList.add("over"); showTip(track); });
    scatterplot.subscribe("pointOut", () => { canvas.classList.remove("over"); hideTip(); });
    scatterplot.subscribe("select", ({ points }) => handlers.choose(points[0]));
    scatterplot.subscribe("deselect", () => handlers.clear());
    scatterplot.subscribe("view", follow);
    const valueA = Array.from(tracks.groupOf, (group) => Math.min(group, nColors));
    const drawn = scatterplot.draw(
      { x: tracks.x, y: tracks.y, valueA },
      { zDataType: "categorical" },
    );
    drawn.then(() => {
      labels = tracks.labelAt.map((track, group) => {
        const label = make("span", "label", tracks.groupNames[group]);
        label.style.borderColor = tracks.palette[group];
        overlay.append(label);
        return { track, group, element: label };
      });
      new ResizeObserver(resize).observe(stage);
      window.addEventListener("resize", resize);
      resize();
      document.documentElement.dataset.ready = "yes";
    }, noMap);
  }

  const size = () => ({ width: stage.clientWidth, height: stage.clientHeight });

  function resize() {
    renderer.resize(stage.clientWidth, stage.clientHeight);
    scatterplot.set(size());
    follow();
  }

  function noMap(error) {
    scatterplot = null;
    stage.hidden = byId("zoom").hidden = true;
    byId("no-map").hidden = false;
    byId("no-map").textContent =
      "The points cannot be drawn: this browser has no WebGL, or it is switched off " +
      `(${error.message}). Search, neighbours and sound work without it.`;
    document.documentElement.dataset.ready = "yes";
  }

  function put(element, track, dx = 0, dy = 0) {
    const at = scatterplot.getScreenPosition(track);
    element.style.transform = `translate(${at[0] + dx}px, ${at[1] + dy}px)`;
    return at;
  }

  // move what lies over the points along with them
  function follow() {
    if (!scatterplot) return;
    for (const { element, track } of marks) put(element, track, ...(beside.get(element.classList[0])));
    const taken = [];
    for (const { element, track } of labels) {
      const width = element.offsetWidth, height = element.offsetHeight;
      const [left, top] = scatterplot.getScreenPosition(track);
      const inside = left > 0 && left < stage.clientWidth && top > 0 && top < stage.clientHeight;
      const x = Math.max(4, Math.min(left - width / 2, stage.clientWidth - width - 4));
      const y = Math.max(4, top - height - 8);
      element.style.transform = `translate(${x}px, ${y}px)`;
      const free = taken.every(([u, v, w]) => x > u + w + 4 || u > x + width + 4 || Math.abs(y - v) > height + 4);
      element.style.opacity = free && inside && !marks.length ? 1 : 0;
      if (free && inside) taken.push([x, y, width]);
    }
    if (shown >= 0) placeTip();
  }

  function showTip(track) {
    shown = track;
    tip.replaceChildren(make("b", "", tracks.title[track]));
    const group = tracks.groupName(track);
    if (tracks.artist[track]) tip.append(make("span", "", tracks.artist[track]));
    if (group && group !== tracks.artist[track]) tip.append(make("span", "", group));
    tip.hidden = false;
    placeTip();
  }

  function placeTip() {
    if (!scatterplot) return;
    const [x, y] = scatterplot.getScreenPosition(shown), { width, height } = size();
    const left = Math.max(4, Math.min(x + 16, width - tip.offsetWidth - 4));
    const above = y - tip.offsetHeight - 16;
    tip.style.transform = `translate(${left}px, ${above < 4 ? Math.min(y + 20, height - 4) : above}px)`;
  }

  function hideTip() {
    shown = -1;
    tip.hidden = true;
  }

  // ring one track, number its neighbours, fade the rest
  function highlight(track) {
    for (const { element } of marks) element.remove();
    marks = [];
    hideTip();
    if (!scatterplot) return;
    if (track < 0) {
      scatterplot.deselect({ preventEvent: true });
    } else {
      const near = tracks.neighboursOf(track);
      scatterplot.select([track, ...near], { preventEvent: true });
      marks = near.map((other, place) => ({ track: other, element: make("span", "badge", String(place + 1)) }));
      marks.reverse(); // the nearest on top
      marks.push({ track, element: make("span", "ring") });
      overlay.append(...marks.map((mark) => mark.element));
    }
    follow();
  }

  // point out one of the neighbours, or none (-1)
  function pointOut(track) {
    for (const mark of marks) mark.element.classList.toggle("now", mark.track === track);
    if (!scatterplot) return;
    if (track >= 0) showTip(track);
    else hideTip();
  }

  function centre(track) {
    if (!scatterplot) return;
    const near = [track, ...tracks.neighboursOf(track)];
    const span = (values) => Math.max(...near.map((other) => Math.abs(values[other] - values[track])));
    const reach = Math.min(1, Math.max(0.12, 1.15 * Math.max(span(tracks.x), span(tracks.y))));
    return scatterplot.zoomToLocation([tracks.x[track], tracks.y[track]], reach * farther(), { transition: !still });
  }

  function zoom(factor) {
    if (!scatterplot) return;
    const target = scatterplot.get("cameraTarget");
    scatterplot.zoomToLocation(target, scatterplot.get("cameraDistance") * factor, {
      transition: !still, transitionDuration: 200,
    });
  }

  function filter(points) {
    if (!scatterplot) return;
    if (points) scatterplot.filter(points, { preventEvent: true });
    else scatterplot.unfilter({ preventEvent: true });
  }

  // the camera's distance is of the height; a narrow stage is looked at from farther away
  const farther = () => Math.max(1, stage.clientHeight / stage.clientWidth);
  const whole = () => scatterplot?.zoomToLocation([0, 0], farther(), { transition: !still });
  const screenPosition = (track) => scatterplot?.getScreenPosition(track);
  return { start, handlers, highlight, pointOut, centre, zoom, whole, filter, screenPosition };
})();
