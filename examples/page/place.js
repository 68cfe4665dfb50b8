// Where a vector belongs: its nearest tracks, its place among them, and which files sound the same.

const K = 10; // neighbours, as on the map
const NEAR = 0.08; // of the map's half width: neighbours so close to each other are one place
const STEP = 0.02; // how far from a track of the corpus an own file may stand
// One recording in two files: a cosine similarity that no two recordings of the open corpus have,
// or a high one of segments that rise and fall together. Errors: benchmarks/README.md.
const SAME = 0.99, ALIKE = 0.85, AGREE = 0.8, LEAST_SEGMENTS = 6;

export function unit(vector) {
  const length = Math.hypot(...vector);
  return Float32Array.from(vector, (value) => value / length);
}

function product(rows, row, vector) {
  let sum = 0;
  for (let at = 0, place = row * vector.length; at < vector.length; at += 1, place += 1)
    sum += rows[place] * vector[at];
  return sum;
}

// Numbers and cosine similarities of the nearest rows, nearest first; rows and vector of length 1.
export function nearest(rows, vector) {
  const n = rows.length / vector.length, best = [];
  for (let row = 0; row < n; row += 1) {
    const similarity = product(rows, row, vector);
    if (best.length === K && similarity <= best[K - 1].similarity) continue;
    const place = best.findIndex((other) => other.similarity < similarity);
    best.splice(place < 0 ? best.length : place, 0, { row, similarity });
    best.length = Math.min(best.length, K);
  }
  return { neighbours: best.map(({ row }) => row), similarities: best.map(({ similarity }) => similarity) };
}

// A place on the map beside the neighbour that most others are close to, never in empty space.
// `nBefore` is how many own files stand at that neighbour already.
export class Places {
  constructor(x, y) {
    Object.assign(this, { x, y, taken: new Map() });
  }

  of({ neighbours, similarities }) {
    const { x, y } = this, least = Math.min(...similarities);
    const weights = similarities.map((similarity) => similarity - least + 0.02);
    const gap = (one, other) => Math.hypot(x[one] - x[other], y[one] - y[other]);
    const support = neighbours.map((one, place) => weights[place]
      * neighbours.reduce((sum, other, at) => sum + weights[at] * Math.exp(-((gap(one, other) / NEAR) ** 2)), 0));
    const anchor = neighbours[support.indexOf(Math.max(...support))];
    let dx = 0, dy = 0, whole = 0;
    neighbours.forEach((other, place) => {
      if (gap(anchor, other) > NEAR) return;
      dx += weights[place] * (x[other] - x[anchor]);
      dy += weights[place] * (y[other] - y[anchor]);
      whole += weights[place];
    });
    const nth = this.taken.get(anchor) ?? 0;
    this.taken.set(anchor, nth + 1);
    // several at one track stand in a spiral (the golden angle), so that each can be seen
    const away = Math.min(STEP, 0.007 * Math.sqrt(nth)), turn = nth * 2.39996;
    dx = dx / whole + away * Math.cos(turn);
    dy = dy / whole + away * Math.sin(turn);
    const shrink = Math.min(1, STEP / (Math.hypot(dx, dy) || 1));
    return { x: x[anchor] + dx * shrink, y: y[anchor] + dy * shrink };
  }
}

// How two courses agree: correlation of what their segments, in order, are beyond the average.
function agreement(one, other) {
  const n = Math.min(one.length, other.length);
  if (n < LEAST_SEGMENTS) return 0;
  const mean = (course, band) => course.slice(0, n).reduce((sum, bands) => sum + bands[band], 0) / n;
  let both = 0, square = 0, otherSquare = 0;
  for (let band = 0; band < one[0].length; band += 1) {
    const middle = mean(one, band), otherMiddle = mean(other, band);
    for (let at = 0; at < n; at += 1) {
      const a = one[at][band] - middle, b = other[at][band] - otherMiddle;
      [both, square, otherSquare] = [both + a * b, square + a * a, otherSquare + b * b];
    }
  }
  return both / Math.sqrt(square * otherSquare) || 0;
}

// Groups of files that may hold the same recording, joined as files come.
export class Same {
  constructor() {
    this.files = []; // { vector, course, group }
    this.groups = []; // lists of keys, of one or more
  }

  // vector: of length 1; course: short forms of the first segments
  add(key, vector, course) {
    const group = [key], mine = { vector, course, group };
    this.groups.push(group);
    for (const other of this.files) {
      if (other.group === mine.group || !same(other, mine)) continue;
      const gone = mine.group;
      other.group.push(...gone);
      this.groups.splice(this.groups.indexOf(gone), 1);
      for (const file of [...this.files, mine]) if (file.group === gone) file.group = other.group;
    }
    this.files.push(mine);
  }

  several() { return this.groups.filter((group) => group.length > 1); }
}

function same(one, other) {
  const similarity = product(one.vector, 0, other.vector);
  return similarity >= SAME || (similarity >= ALIKE && agreement(one.course, other.course) >= AGREE);
}
