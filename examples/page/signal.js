// From decoded samples to the model's segments, as the Python package makes them: average of the
// channels, 22,050 Hz, reflected ends, overlapping cuts. Everything works in blocks.
import { Kernel } from "./kernel.js";

const PASS = 0.9136; // of the lower Nyquist frequency: soxr's "HQ"
const ATTENUATION_DB = 90;
const BLOCK = 1 << 17; // samples that are resampled at once

// Average of the channels, Float32Array.
export function mix(channels) {
  if (channels.length === 1) return channels[0];
  const mono = channels[0].slice();
  for (const channel of channels.slice(1))
    for (let at = 0; at < mono.length; at += 1) mono[at] += channel[at];
  const share = Math.fround(1 / channels.length);
  for (let at = 0; at < mono.length; at += 1) mono[at] *= share;
  return mono;
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

// Windows of a sinc (Kaiser), one for each of `up` positions between two input samples.
class Filter {
  constructor(rateIn, rateOut) {
    const common = gcd(rateIn, rateOut), nyquist = Math.min(rateIn, rateOut) / 2;
    this.up = rateOut / common;
    this.down = rateIn / common;
    const width = (2 * Math.PI * (1 - PASS) * nyquist) / rateIn; // of the transition, in radians
    // Source: Kaiser's formulae for order and shape, Oppenheim and Schafer, section 7.6
    this.half = 8 * Math.ceil((ATTENUATION_DB - 8) / (2.285 * width) / 16); // samples to each side
    const nSamples = BLOCK + 2 * this.half + 16, nOut = Math.ceil((nSamples * this.up) / this.down) + 1;
    this.kernel = new Kernel(this.windows((((1 + PASS) / 2) * nyquist) / rateIn), this.up, nSamples, nOut);
  }

  windows(cutoff) {
    const { up, half } = this, windows = new Float32Array(up * 2 * half);
    const beta = 0.1102 * (ATTENUATION_DB - 8.7), scale = 2 * cutoff;
    for (let phase = 0; phase < up; phase += 1) {
      for (let tap = 0; tap < 2 * half; tap += 1) {
        const distance = phase / up + half - 1 - tap, inside = 1 - (distance / half) ** 2;
        const angle = Math.PI * scale * distance;
        const sinc = Math.abs(angle) < 1e-9 ? 1 : Math.sin(angle) / angle;
        windows[phase * 2 * half + tap] = inside < 0 ? 0
          : (scale * sinc * bessel(beta * Math.sqrt(inside))) / bessel(beta);
      }
    }
    return windows;
  }
}

const filters = new Map(); // by rates: a folder's files mostly have one

export class Resampler {
  constructor(rateIn, rateOut) {
    const name = `${rateIn} ${rateOut}`;
    if (rateIn !== rateOut && !filters.has(name)) filters.set(name, new Filter(rateIn, rateOut));
    this.filter = filters.get(name); // undefined: nothing to do
    this.pending = new Float32Array(this.filter?.half ?? 0); // zeros before the first sample
    this.first = -this.pending.length; // index of pending[0] among the input samples
    this.nIn = 0;
    this.nOut = 0;
  }

  // Samples of the new rate that are known after this block.
  push(block) {
    if (!this.filter) return block;
    this.nIn += block.length;
    return this.parts(block, Infinity);
  }

  // The rest, as many as the new rate has for the length of the whole.
  finish() {
    if (!this.filter) return new Float32Array(0);
    const { up, down, half } = this.filter;
    return this.parts(new Float32Array(2 * half + 2), Math.round((this.nIn * up) / down));
  }

  parts(block, limit) {
    const made = [];
    for (let at = 0; at < block.length; at += BLOCK) made.push(this.make(block.subarray(at, at + BLOCK), limit));
    return joined(made);
  }

  make(block, limit) {
    const { up, down, half, kernel } = this.filter;
    const samples = joined([this.pending, block]);
    kernel.samples.set(samples);
    const known = this.first + samples.length - half; // inputs whose neighbours are all there
    const stop = Math.min(limit, Math.max(this.nOut, Math.ceil((known * up) / down)));
    const base = Math.floor((this.nOut * down) / up), phase = this.nOut * down - base * up;
    const made = kernel.sums(stop - this.nOut, base - half + 1 - this.first, phase, down);
    this.nOut = stop;
    const gone = Math.max(0, Math.min(samples.length, Math.floor((stop * down) / up) - half + 1 - this.first));
    this.pending = samples.slice(gone);
    this.first += gone;
    return made;
  }
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
    this.pending = joined([this.pending, block]);
    if (this.pending.length <= this.size + this.pad) return new Float32Array(0);
    if (!this.started) {
      this.pending = joined([mirrored(this.pending, 1, this.pad), this.pending]);
      this.started = true;
    }
    return this.cut(this.pending.length - this.pad - 1);
  }

  finish() {
    let all = this.pending;
    if (!all.length) return all;
    if (!this.started) {
      if (this.short) all = looped(all, this.size - 2 * this.pad);
      all = joined([mirrored(all, 1, this.pad), all]);
    }
    this.pending = joined([all, mirrored(all, all.length - 1 - this.pad, this.pad)]);
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

function joined(parts) {
  if (parts.length === 1) return parts[0];
  const all = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  parts.reduce((at, part) => { all.set(part, at); return at + part.length; }, 0);
  return all;
}

const mirrored = (samples, start, n) => samples.slice(start, start + n).reverse();

function looped(samples, n) {
  const all = new Float32Array(n);
  for (let at = 0; at < n; at += samples.length) all.set(samples.subarray(0, n - at), at);
  return all;
}
