// The inner loop of resampling as WebAssembly: plain JavaScript has no vectors of four, and takes
// four times as long. It is written out here in the order in which it runs.

const I32 = 0x7f, V128 = 0x7b;
const get = (local) => [0x20, local], set = (local) => [0x21, local], tee = (local) => [0x22, local];
const constant = (value) => [0x41, value]; // below 64
const add = 0x6a, subtract = 0x6b, multiply = 0x6c, isBelow = 0x49, isNotBelow = 0x4f; // of i32
const vector = {
  load: (offset) => [0xfd, 0x00, 2, offset], zero: [0xfd, 0x0c, ...Array(16).fill(0)],
  multiply: [0xfd, 0xe6, 1], add: [0xfd, 0xe4, 1], lane: (number) => [0xfd, 0x1f, number],
};
const addFloats = 0x92, storeFloat = [0x38, 2, 0];
const loop = (...body) => [0x03, 0x40, ...body.flat(), 0x0b];
const again = [0x0d, 0]; // while the number on the stack is not 0
const when = (...body) => [0x04, 0x40, ...body.flat(), 0x0b];

// parameters: addresses and sizes in bytes; `phase` counts positions between two samples
const [out, count, at, bank, row, positions, whole, part, phase] = Array(9).keys();
const tap = 9, window = 10, sums = [11, 12, 13, 14];

const body = [
  1 + 1, 2, I32, 4, V128, // locals: two integers, four vectors
  ...loop(
    get(bank), get(phase), get(row), [multiply, add], set(window), // where this phase's window is
    ...sums.map((sum) => [...vector.zero, ...set(sum)]),
    constant(0), set(tap),
    loop( // 16 products at a time
      ...sums.map((sum, number) => [
        ...get(sum),
        ...get(at), ...get(tap), add, ...vector.load(16 * number),
        ...get(window), ...get(tap), add, ...vector.load(16 * number),
        ...vector.multiply, ...vector.add, ...set(sum),
      ]),
      get(tap), [0x41, 0xc0, 0], [add], tee(tap), get(row), [isBelow], again, // 64 bytes on
    ),
    get(sums[0]), get(sums[1]), vector.add, get(sums[2]), get(sums[3]), vector.add, vector.add, set(sums[0]),
    get(out),
    get(sums[0]), vector.lane(0), get(sums[0]), vector.lane(1), [addFloats],
    get(sums[0]), vector.lane(2), get(sums[0]), vector.lane(3), [addFloats, addFloats],
    storeFloat,
    get(out), constant(4), [add], set(out),
    get(at), get(whole), [add], set(at), // to the next output
    get(phase), get(part), [add], tee(phase), get(positions), [isNotBelow],
    when(get(phase), get(positions), [subtract], set(phase), get(at), constant(4), [add], set(at)),
    get(count), constant(1), [subtract], tee(count), again,
  ),
  0x0b,
];

const size = (n) => (n < 128 ? [n] : [(n & 127) | 128, n >> 7]);
const section = (number, ...content) => [number, ...size(content.length), ...content];
const name = (text) => [text.length, ...new TextEncoder().encode(text)];
const program = new WebAssembly.Module(Uint8Array.from([
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
  ...section(1, 1, 0x60, 9, ...Array(9).fill(I32), 0),
  ...section(3, 1, 0),
  ...section(5, 1, 0, 1), // memory: a page, and more when it is asked for
  ...section(7, 2, ...name("run"), 0, 0, ...name("memory"), 2, 0),
  ...section(10, 1, ...size(body.length), ...body),
]));

// Weighted sums of samples: one window of weights for each position between two samples.
export class Kernel {
  // windows: Float32Array, `positions` rows of a multiple of 16 weights
  constructor(windows, positions, nSamples, nOut) {
    const { run, memory } = new WebAssembly.Instance(program).exports;
    const bytes = windows.byteLength + 4 * (nSamples + nOut);
    memory.grow(Math.ceil(bytes / 65536));
    this.run = run;
    this.positions = positions;
    this.row = windows.byteLength / positions;
    new Float32Array(memory.buffer, 0, windows.length).set(windows);
    this.samples = new Float32Array(memory.buffer, windows.byteLength, nSamples);
    this.out = new Float32Array(memory.buffer, windows.byteLength + 4 * nSamples, nOut);
  }

  // `n` sums of `samples`, the first from index `start` at `phase`, each `step` positions on
  sums(n, start, phase, step) {
    if (!n) return new Float32Array(0);
    const { positions, samples, out } = this;
    this.run(out.byteOffset, n, samples.byteOffset + 4 * start, 0, this.row, positions,
      4 * Math.floor(step / positions), step % positions, phase);
    return out.slice(0, n);
  }
}
