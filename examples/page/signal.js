// From decoded samples to the model's segments, as the Python package makes them: average of the
// channels, 22,050 Hz, reflected ends, overlapping cuts. Everything works in blocks.

const PASS = 0.9136; // of the lower Nyquist frequency: soxr's "HQ"
const ATTENUATION_DB = 90;

// Average of the channels, Float32Array.
export function mix(channels) {
  if (channels.length === 1) return channels[0];
  const mono = Float32Array.from(channels[0]);
  for (const channel of channels.slice(1))
    for (let at = 0; at < mono.length; at += 1) mono[at] += channel[at];
  const share = Math.fround(1 / channels.length);
  for (let at = 0; at < mono.length; at += 1) mono[at] *= share;
  return mono;
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

// Windows of a sinc (Kaiser) are kept for each of `up` positions between two input samples.
export class Resampler {
  constructor(rateIn, rateOut) {
    const common = gcd(rateIn, rateOut);
    this.up = rateOut / common;
    this.down = rateIn / common;
    const nyquist = Math.min(rateIn, rateOut) / 2;
    const width = (2 * Math.PI * (1 - PASS) * nyquist) / rateIn; // of the transition, in radians
    // Source: Kaiser's formulae for order and shape, Oppenheim and Schafer, section 7.6
    this.half = Math.ceil((ATTENUATION_DB - 8) / (2.285 * width) / 2);
    this.bank = this.windows((((1 + PASS) / 2) * nyquist) / rateIn);
    this.pending = new Float64Array(this.half); // zeros before the first sample
    this.first = -this.half; // index of pending[0] among the input samples
    this.nIn = 0;
    this.nOut = 0;
  }

  windows(cutoff) {
    const { up, half } = this, bank = new Float64Array(up * 2 * half);
    const beta = 0.1102 * (ATTENUATION_DB - 8.7), scale = 2 * cutoff;
    for (let phase = 0; phase < up; phase += 1) {
      for (let tap = 0; tap < 2 * half; tap += 1) {
        const distance = phase / up + half - 1 - tap, inside = 1 - (distance / half) ** 2;
        const angle = Math.PI * scale * distance;
        const sinc = Math.abs(angle) < 1e-9 ? 1 : Math.sin(angle) / angle;
        bank[phase * 2 * half + tap] = inside < 0 ? 0
          : scale * sinc * bessel(beta * Math.sqrt(inside)) / bessel(beta);
      }
    }
    return bank;
  }

  // Samples of the new rate that are known after this block.
  push(block) {
    if (this.up === this.down) return block;
    this.nIn += block.length;
    this.append(block);
    const known = this.first + this.pending.length - this.half; // inputs with all neighbours
    return this.make(Math.max(this.nOut, Math.ceil((known * this.up) / this.down)));
  }

  // The rest, as many as the new rate has for the length of the whole.
  finish() {
    if (this.up === this.down) return new Float32Array(0);
    this.append(new Float32Array(2 * this.half + 2));
    return this.make(Math.round((this.nIn * this.up) / this.down));
  }

  append(block) {
    const joined = new Float64Array(this.pending.length + block.length);
    joined.set(this.pending);
    joined.set(block, this.pending.length);
    this.pending = joined;
  }

  make(stop) {
    const { up, down, half, bank, pending, first } = this;
    const made = new Float32Array(Math.max(0, stop - this.nOut));
    for (let at = 0; at < made.length; at += 1) {
      const time = (this.nOut + at) * down, base = Math.floor(time / up);
      made[at] = up === 1
        ? symmetric(pending, base - first, bank, half)
        : weighted(pending, base - first - half + 1, bank, (time - base * up) * 2 * half, 2 * half);
    }
    this.nOut += made.length;
    const keep = Math.floor((this.nOut * down) / up) - half + 1 - first;
    if (keep > 0) {
      this.pending = pending.slice(keep);
      this.first += keep;
    }
    return made;
  }
}

function weighted(samples, start, bank, offset, n) {
  let one = 0, two = 0;
  for (let tap = 0; tap < n; tap += 2) {
    one += samples[start + tap] * bank[offset + tap];
    two += samples[start + tap + 1] * bank[offset + tap + 1];
  }
  return one + two;
}

// a whole ratio (44,100 to 22,050 Hz) has one window, the same to both sides: half the products
function symmetric(samples, middle, bank, half) {
  let sum = samples[middle] * bank[half - 1], other = 0;
  const n = half - 1 - ((half - 1) % 2);
  for (let away = 1; away < n; away += 2) {
    sum += (samples[middle - away] + samples[middle + away]) * bank[half - 1 - away];
    other += (samples[middle - away - 1] + samples[middle + away + 1]) * bank[half - 2 - away];
  }
  for (let away = n + 1; away < half; away += 1)
    sum += (samples[middle - away] + samples[middle + away]) * bank[half - 1 - away];
  return sum + other;
}

// modified Bessel function of order 0
function bessel(x) {
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-12 * sum; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

// Segments of a clip: see artist_features' `Segmenter`.
export class Segmenter {
  constructor({ size, hop, pad }) {
    Object.assign(this, { size, hop, pad });
    this.pending = new Float32Array(0);
    this.nSamples = 0;
    this.started = false;
  }

  get short() { return this.nSamples + 2 * this.pad < this.size; }

  // Float32Array of whole segments, one after the other; `pad + 1` samples wait for the end.
  push(block) {
    this.nSamples += block.length;
    this.pending = join(this.pending, block);
    if (this.pending.length <= this.size + this.pad) return new Float32Array(0);
    if (!this.started) {
      this.pending = join(mirrored(this.pending, 1, this.pad), this.pending);
      this.started = true;
    }
    return this.cut(this.pending.length - this.pad - 1);
  }

  finish() {
    let all = this.pending;
    if (!all.length) return all;
    if (!this.started) {
      if (this.short) all = looped(all, this.size - 2 * this.pad);
      all = join(mirrored(all, 1, this.pad), all);
    }
    this.pending = join(all, mirrored(all, all.length - 1 - this.pad, this.pad));
    return this.cut(this.pending.length);
  }

  cut(available) {
    const count = Math.max(0, Math.floor((available - this.size) / this.hop) + 1);
    const segments = new Float32Array(count * this.size);
    for (let number = 0; number < count; number += 1) {
      const start = number * this.hop;
      segments.set(this.pending.subarray(start, start + this.size), number * this.size);
    }
    this.pending = this.pending.slice(count * this.hop);
    return segments;
  }
}

function join(first, second) {
  const joined = new Float32Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}

const mirrored = (samples, start, n) => samples.slice(start, start + n).reverse();

function looped(samples, n) {
  const all = new Float32Array(n);
  for (let at = 0; at < n; at += samples.length) all.set(samples.subarray(0, n - at), at);
  return all;
}
