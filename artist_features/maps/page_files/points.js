"use strict";
// Draws the points on a canvas: a point's look depends on what is chosen. 50,000 take some 20 ms.
const points = (() => {
  const canvas = byId("canvas"), context = canvas.getContext("2d");
  const MANY = 20000; // points that are squares of a few pixels
  let colors = null, sprites = new Map();

  function readColors() {
    const own = Object.fromEntries(["accent", "faint", "faint-own", "grey", "quiet", "canvas", "ink"].map(
      (name) => [name, theme.color(`--${name}`)]));
    colors = { ...own, groups: tracks.palette[theme.name()] };
    // for what is no canvas: dots and borders change with the theme by themselves
    colors.groups.forEach((color, group) => document.documentElement.style.setProperty(`--group-${group}`, color));
    sprites = new Map();
  }

  // the colour of a group: those beyond the palette are grey; their names stand in the legend
  const colorOf = (group) => (group < 0 ? colors.accent : colors.groups[group] ?? colors.grey);

  function look(track, { chosen, only }) {
    const faint = tracks.isOwn(track) ? colors["faint-own"] : colors.faint;
    if (chosen?.has(track)) {
      const color = colorOf(tracks.groupOf[track]);
      return color === colors.grey ? colors.quiet : color; // nearer than the grey of all others
    }
    if (chosen) return faint;
    if (only >= 0) return tracks.groupOf[track] === only ? colors.accent : faint;
    return colorOf(tracks.groupOf[track]);
  }

  const base = () => (tracks.n > MANY ? 1.2 : tracks.n > 3000 ? 2 : tracks.n > 700 ? 3.2 : 4.5);

  // view: { x, y, unit, width, height, zoom }; state: { chosen: Set or null, only: group or -1 }
  function draw(view, state) {
    const ratio = devicePixelRatio || 1, { width, height } = view;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      sprites = new Map();
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const radius = Math.round(4 * base() * Math.min(2.2, view.zoom ** 0.4)) / 4;
    const front = [], behind = [];
    for (let track = 0; track < tracks.n; track += 1) {
      const color = look(track, state);
      const raised = state.chosen ? state.chosen.has(track) : tracks.groupOf[track] === state.only;
      if (raised) front.push(track);
      else if (tracks.isOwn(track)) behind.push(track);
      else put(track, color, radius, view);
    }
    for (const track of [...behind, ...front]) put(track, look(track, state), state.chosen?.has(track) ? radius + 1 : radius, view);
  }

  function put(track, color, radius, view) {
    const x = view.width / 2 + (tracks.x[track] - view.x) * view.unit;
    const y = view.height / 2 - (tracks.y[track] - view.y) * view.unit;
    if (x < -20 || y < -20 || x > view.width + 20 || y > view.height + 20) return;
    const own = track >= tracks.nGiven;
    if (tracks.n > MANY && !own) {
      if (context.fillStyle !== color) context.fillStyle = color;
      context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
      return;
    }
    const image = sprite(color, radius, own), side = image.width / (devicePixelRatio || 1);
    context.drawImage(image, x - side / 2, y - side / 2, side, side);
  }

  // a disc, or for an own file a diamond, with a rim that parts it from those behind it
  function sprite(color, radius, own) {
    const key = `${color} ${radius} ${own}`;
    if (sprites.has(key)) return sprites.get(key);
    const ratio = devicePixelRatio || 1, size = own ? radius + 4 : radius, middle = size + 2;
    const image = document.createElement("canvas"), brush = image.getContext("2d");
    image.width = image.height = Math.ceil(2 * middle * ratio);
    brush.scale(ratio, ratio);
    if (own) {
      brush.moveTo(middle, middle - size), brush.lineTo(middle + size, middle);
      brush.lineTo(middle, middle + size), brush.lineTo(middle - size, middle), brush.closePath();
    } else brush.arc(middle, middle, size, 0, 2 * Math.PI);
    brush.fillStyle = color;
    brush.strokeStyle = colors.canvas;
    brush.lineWidth = own ? 3 : 1;
    brush.stroke();
    brush.fill();
    sprites.set(key, image);
    return image;
  }

  // lines from numbers to the points that they had to move away from
  function drawLines(lines) {
    context.strokeStyle = colors.ink;
    context.lineWidth = 1.25;
    context.beginPath();
    for (const [from, to] of lines) context.moveTo(...from), context.lineTo(...to);
    context.stroke();
  }

  // the same for style sheets
  const variable = (group) => (group < 0 ? "var(--accent)" : `var(--group-${group}, var(--grey))`);

  readColors();
  theme.onChange(readColors);
  return { draw, drawLines, variable };
})();
