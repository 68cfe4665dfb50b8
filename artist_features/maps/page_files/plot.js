"use strict";
// The map: moving and zooming, and what lies over the points: names, numbers, the tip.
const plot = (() => {
  const stage = byId("map"), canvas = byId("canvas"), overlay = byId("overlay"), tip = byId("tip");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const handlers = { choose() {}, clear() {} };
  const view = { x: 0, y: 0, zoom: 1, unit: 1, width: 1, height: 1, buttons: null };
  const state = { chosen: null, only: -1 };
  const MOVE_MS = 350, NEAR_PX = 9, FINGER_PX = 22, MAX_ZOOM = 200, EDGE_PX = 14, FAR_PX = 300;
  let marks = [], labels = [], shown = -1, asked = 0, moving = 0;

  function start() {
    labels = tracks.labelAt.map((track, group) => addLabel(track, group));
    new ResizeObserver(resize).observe(stage);
    theme.onChange(redraw);
    colorLabels();
    resize();
    listen();
    document.documentElement.dataset.ready = "yes";
  }

  function resize() {
    [view.width, view.height] = [stage.clientWidth || 1, stage.clientHeight || 1];
    const map = stage.getBoundingClientRect(), { left, top, right, bottom } = byId("zoom").getBoundingClientRect();
    view.buttons = { left: left - map.left, right: right - map.left, top: top - map.top, bottom: bottom - map.top };
    redraw();
  }

  function redraw() {
    asked ||= requestAnimationFrame(() => { asked = 0; drawNow(); });
  }

  function drawNow() {
    view.unit = (view.zoom * Math.min(view.width, view.height)) / 2;
    points.draw(view, state);
    points.drawLines(placeMarks());
    placeLabels();
    if (shown >= 0) placeTip();
  }

  // pixels from the map's left and top
  function screenPosition(track) {
    view.unit = (view.zoom * Math.min(view.width, view.height)) / 2;
    return [
      view.width / 2 + (tracks.x[track] - view.x) * view.unit,
      view.height / 2 - (tracks.y[track] - view.y) * view.unit,
    ];
  }

  // --- moving

  function moveTo({ x, y, zoom }, milliseconds = MOVE_MS) {
    cancelAnimationFrame(moving);
    const from = { ...view }, to = { x, y, zoom: Math.max(0.6, Math.min(MAX_ZOOM, zoom)) };
    const begun = performance.now();
    const step = (now) => {
      const share = still ? 1 : Math.min(1, Math.max(0, (now - begun) / milliseconds));
      const eased = 1 - (1 - share) ** 3;
      view.zoom = from.zoom * (to.zoom / from.zoom) ** eased;
      // the place follows the zoom, so that the way there is straight on the screen
      const part = Math.abs(to.zoom - from.zoom) < 1e-9 ? eased
        : (1 / from.zoom - 1 / view.zoom) / (1 / from.zoom - 1 / to.zoom);
      view.x = from.x + (to.x - from.x) * part;
      view.y = from.y + (to.y - from.y) * part;
      redraw();
      if (share < 1) moving = requestAnimationFrame(step);
    };
    moving = requestAnimationFrame(step);
  }

  // look at a track and most of its neighbours
  function centre(track) {
    const reach = (values) => {
      const away = tracks.neighboursOf(track).map((other) => Math.abs(values[other] - values[track]));
      return away.sort((a, b) => a - b)[Math.ceil(0.8 * away.length) - 1] ?? 0;
    };
    const [wide, high] = [view.width, view.height].map((side) => side / Math.min(view.width, view.height));
    const half = Math.max(0.1, 1.3 * Math.max(reach(tracks.x) / wide, reach(tracks.y) / high));
    moveTo({ x: tracks.x[track], y: tracks.y[track], zoom: Math.max(1, 1 / half) });
  }

  const zoom = (factor) => moveTo({ ...view, zoom: view.zoom / factor }, 200);
  const whole = () => moveTo({ x: 0, y: 0, zoom: 1 });

  function zoomAt(px, py, factor) {
    cancelAnimationFrame(moving);
    const zoomed = Math.max(0.6, Math.min(MAX_ZOOM, view.zoom * factor)), unit = view.unit * (zoomed / view.zoom);
    view.x += (px - view.width / 2) * (1 / view.unit - 1 / unit);
    view.y -= (py - view.height / 2) * (1 / view.unit - 1 / unit);
    view.zoom = zoomed;
    view.unit = unit;
    redraw();
  }

  function nearest(px, py, reach) {
    let best = -1, least = reach ** 2;
    for (let track = 0; track < tracks.n; track += 1) {
      const dx = view.width / 2 + (tracks.x[track] - view.x) * view.unit - px;
      const dy = view.height / 2 - (tracks.y[track] - view.y) * view.unit - py;
      const far = dx * dx + dy * dy;
      if (far <= least) [best, least] = [track, far];
    }
    return best;
  }

  function listen() {
    const fingers = new Map();
    let moved = 0;
    const at = (event) => {
      const { left, top } = canvas.getBoundingClientRect();
      return [event.clientX - left, event.clientY - top];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, at(event));
      moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const here = at(event), before = fingers.get(event.pointerId);
      if (!before) return hover(...here);
      const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
      const dx = here[0] - before[0], dy = here[1] - before[1];
      moved += Math.abs(dx) + Math.abs(dy);
      fingers.set(event.pointerId, here);
      if (other) {
        const gap = ([x, y]) => Math.hypot(x - other[0], y - other[1]);
        zoomAt((here[0] + other[0]) / 2, (here[1] + other[1]) / 2, gap(here) / Math.max(1, gap(before)));
      } else if (moved > 4) {
        cancelAnimationFrame(moving);
        view.x -= dx / view.unit;
        view.y += dy / view.unit;
        redraw();
      }
    });
    const up = (event) => {
      if (!fingers.delete(event.pointerId) || moved > 4 || event.type === "pointercancel") return;
      const track = nearest(...at(event), event.pointerType === "mouse" ? NEAR_PX : FINGER_PX);
      if (track >= 0) handlers.choose(track);
      else handlers.clear();
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => hover(-1e9, 0));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoomAt(...at(event), Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)));
    }, { passive: false });
  }

  function hover(px, py) {
    const track = nearest(px, py, NEAR_PX);
    canvas.classList.toggle("over", track >= 0);
    if (track >= 0) showTip(track);
    else hideTip();
  }

  // --- what lies over the points

  function addLabel(track, group) {
    const element = make("span", "label", tracks.groupNames[group]);
    overlay.append(element);
    return { track, group, element };
  }

  function colorLabels() {
    for (const { group, element } of labels)
      element.style.borderColor = group === state.only ? "" : points.variable(group);
  }

  function placeLabels() {
    const taken = [];
    for (const label of labels) {
      const { element, track, group } = label;
      const [width, height] = label.size ??= [element.offsetWidth, element.offsetHeight];
      const [left, top] = screenPosition(track);
      const inside = left > 0 && left < view.width && top > 0 && top < view.height;
      const x = Math.max(4, Math.min(left - width / 2, view.width - width - 4));
      const y = Math.max(4, top - height - 8);
      element.style.transform = `translate(${x}px, ${y}px)`;
      const free = taken.every(([u, v, w]) => x > u + w + 4 || u > x + width + 4 || Math.abs(y - v) > height + 4);
      const wanted = inside && free && !marks.length && (state.only < 0 || state.only === group);
      element.style.opacity = wanted ? 1 : 0;
      if (wanted) taken.push([x, y, width]);
    }
  }

  // numbers beside their points, moved apart where they would cover each other
  function placeMarks() {
    const lines = [], taken = [];
    for (const mark of marks) {
      const { element, track } = mark, isRing = element.classList.contains("ring");
      let [x, y] = screenPosition(track);
      const away = x < 0 || y < 0 || x > view.width || y > view.height;
      element.hidden = away && isRing;
      if (element.hidden) continue;
      if (away) [x, y] = inside(x, y, EDGE_PX); // a number at the map's edge, on the way there
      element.classList.toggle("away", away);
      const free = ([u, v]) => taken.every(([s, t, reach]) => Math.hypot(u - s, v - t) > reach);
      const places = away ? [[x, y], ...around(x, y, FAR_PX)].filter(isOpen) : around(x, y);
      const at = isRing ? [x, y] : places.find(free) ?? [x, y];
      element.style.transform = `translate(${at[0]}px, ${at[1]}px)`;
      taken.push([...at, isRing ? 30 : 21]);
      if (isRing) taken.push(...placeName(mark, x, y));
      if (!away && Math.hypot(at[0] - x, at[1] - y) > 17) lines.push([[x, y], at]);
    }
    return lines;
  }

  // the name of the chosen one, above its ring or below, where it hides fewer points; [x, y, reach]s
  function placeName(mark, x, y) {
    const element = mark.element.firstElementChild;
    const half = mark.half ??= element.offsetWidth / 2; // once: to ask is to lay the page out
    const away = 34, places = marks.map(({ track }) => screenPosition(track));
    const hidden = (top) => places.filter(([u, v]) => Math.abs(u - x) < half + 8 && Math.abs(v - top) < 20).length;
    const top = hidden(y + away) < hidden(y - away) ? y + away : y - away;
    element.classList.toggle("below", top > y);
    return Array.from({ length: Math.ceil(half / 10) + 1 }, (_, at) => [x - half + 20 * at, top, 22]);
  }

  function around(x, y, most = 90) {
    const found = [];
    for (let far = 15; far < most; far *= 1.35)
      for (let turn = 0; turn < 12; turn += 1) {
        const angle = -Math.PI / 4 + (turn % 2 ? 1 : -1) * Math.ceil(turn / 2) * (Math.PI / 6);
        const place = [x + far * Math.cos(angle), y + far * Math.sin(angle)];
        if (isOpen(place)) found.push(place);
      }
    return found;
  }

  const inside = (x, y, margin) => [
    Math.max(margin, Math.min(x, view.width - margin)), Math.max(margin, Math.min(y, view.height - margin))];

  // on the map, and not under the buttons of the zoom
  function isOpen([x, y]) {
    const { left, top, right, bottom } = view.buttons, gap = 12;
    return x > 10 && y > 10 && x < view.width - 10 && y < view.height - 10
      && !(x > left - gap && x < right + gap && y > top - gap && y < bottom + gap);
  }

  function showTip(track) {
    if (shown === track) return;
    shown = track;
    tip.replaceChildren(make("b", "", tracks.title[track]));
    const group = tracks.groupName(track);
    if (tracks.artist[track]) tip.append(make("span", "", tracks.artist[track]));
    if (group && group !== tracks.artist[track]) tip.append(make("span", "", group));
    tip.hidden = false;
    placeTip();
  }

  function placeTip() {
    const [x, y] = inside(...screenPosition(shown), 0);
    const left = Math.max(4, Math.min(x + 16, view.width - tip.offsetWidth - 4));
    const above = y - tip.offsetHeight - 16;
    tip.style.transform = `translate(${left}px, ${above < 4 ? Math.min(y + 20, view.height - 4) : above}px)`;
  }

  function hideTip() {
    shown = -1;
    tip.hidden = true;
  }

  // ring one track, number its neighbours, fade the rest; -1: nothing
  function highlight(track) {
    for (const { element } of marks) element.remove();
    marks = [];
    hideTip();
    state.chosen = null;
    if (track >= 0) {
      const near = tracks.neighboursOf(track);
      state.chosen = new Set([track, ...near]);
      const ring = make("span", "ring");
      ring.append(make("span", "here", tracks.title[track]));
      marks = [{ track, element: ring }];
      marks.push(...near.map((other, place) => ({ track: other, element: make("span", "badge", String(place + 1)) })));
      overlay.append(...marks.map((mark) => mark.element).reverse()); // the nearest on top
    }
    redraw();
  }

  // point out one of the neighbours, or none (-1)
  function pointOut(track) {
    for (const { element, track: other } of marks) element.classList.toggle("now", other === track);
    if (track >= 0) showTip(track);
    else hideTip();
  }

  // one group in the accent colour, the rest faint; -1: all as they are
  function showGroup(group) {
    state.only = group;
    if (group >= 0 && !labels.some((label) => label.group === group) && tracks.groupNames[group])
      labels.push(addLabel(middle(group), group));
    colorLabels();
    redraw();
  }

  // the member that is nearest to the mean of all: there the group's name stands
  function middle(group) {
    const members = tracks.groupOf.flatMap((other, track) => (other === group ? [track] : []));
    const mean = (values) => members.reduce((sum, track) => sum + values[track], 0) / members.length;
    const x = mean(tracks.x), y = mean(tracks.y);
    const far = (track) => Math.hypot(tracks.x[track] - x, tracks.y[track] - y);
    return members.reduce((best, track) => (far(track) < far(best) ? track : best));
  }

  return { start, handlers, highlight, pointOut, showGroup, centre, zoom, whole, redraw, screenPosition };
})();
