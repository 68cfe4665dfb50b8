// What must be known of a file before it is decoded: its sample rate, and for a long one where it
// can be cut. A browser decodes a whole file at once: an hour would take 1.3 GB.

const HEAD = 1 << 16; // bytes that are looked at for the header
const WHOLE = 6e6; // bytes of a compressed file that is decoded at once: some minutes
const PIECE = 2e6; // bytes of a piece of a longer one
const PCM_S = 60; // seconds of a piece without compression
const WARM_UP = 10; // MP3 frames that a decoder needs before it is exact
const MAX_UP = 1000; // positions between samples that are worth a table

// Return { rate, pieces }: Hz or undefined, and what yields { bytes, keep, done }: an ArrayBuffer
// to decode, how many samples at its end are to be kept (undefined: all), share of the file.
export async function plan(file) {
  const head = await read(file, 0, HEAD);
  const found = kinds.reduce((known, kind) => known ?? kind(head, file), null) ?? {};
  const rate = usable(found.rate) ? found.rate : undefined;
  const long = file.size > (found.limit ?? WHOLE);
  return { rate, pieces: long && rate && found.pieces ? found.pieces(file, found) : whole(file, head) };
}

async function* whole(file, head) {
  yield { bytes: file.size > head.byteLength ? await file.arrayBuffer() : head.buffer, done: 1 };
}

async function read(file, start, stop) {
  return new DataView(await file.slice(start, stop).arrayBuffer());
}

function usable(rate) {
  let [a, b] = [rate, 22050];
  while (b) [a, b] = [b, a % b];
  return rate >= 4000 && rate <= 384000 && 22050 / a <= MAX_UP;
}

const text = (view, at, n) =>
  at + n > view.byteLength ? "" : String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, n));

// --- WAV: chunks; a piece is the same header before some of the samples

function wav(head) {
  if (!["RIFF", "RF64"].includes(text(head, 0, 4)) || text(head, 8, 4) !== "WAVE") return null;
  let at = 12, format = null;
  while (at + 8 <= head.byteLength) {
    const name = text(head, at, 4), size = head.getUint32(at + 4, true);
    if (name === "fmt ") format = { start: at, stop: at + 8 + size, rate: head.getUint32(at + 12, true), align: head.getUint16(at + 20, true) };
    if (name === "data" && format) {
      const limit = PCM_S * format.rate * format.align;
      return { rate: format.rate, limit, pieces: wavPieces, head, format, start: at + 8, size };
    }
    at += 8 + size + (size % 2);
  }
  return format && { rate: format.rate, limit: Infinity };
}

async function* wavPieces(file, { head, format, start, size, limit }) {
  const fmt = new Uint8Array(head.buffer, format.start, format.stop - format.start);
  const end = size && size < 0xffffffff ? Math.min(file.size, start + size) : file.size;
  for (let at = start; at < end; at += limit) {
    const stop = Math.min(end, at + limit), n = stop - at - ((stop - at) % format.align);
    const bytes = new Uint8Array(20 + fmt.length + n), view = new DataView(bytes.buffer);
    put(bytes, 0, "RIFF"), view.setUint32(4, bytes.length - 8, true), put(bytes, 8, "WAVE");
    bytes.set(fmt, 12);
    put(bytes, 12 + fmt.length, "data"), view.setUint32(16 + fmt.length, n, true);
    bytes.set(new Uint8Array(await file.slice(at, at + n).arrayBuffer()), 20 + fmt.length);
    yield { bytes: bytes.buffer, done: stop / end };
  }
}

function put(bytes, at, letters) { for (const letter of letters) bytes[at++] = letter.charCodeAt(0); }

// --- FLAC: frames decode on their own; a piece is STREAMINFO before whole frames

function flac(head) {
  const start = afterId3(head);
  if (text(head, start, 4) !== "fLaC") return null;
  const rate = (head.getUint32(start + 18) >>> 12) & 0xfffff;
  const info = new Uint8Array(head.buffer.slice(start, start + 42));
  return { rate, limit: 4 * WHOLE, pieces: flacPieces, info };
}

async function* flacPieces(file, { info }) {
  const header = Uint8Array.from(info);
  header[4] = 0x80; // the last block of metadata
  header[21] &= 0xf0; // length and checksum of the whole: unknown
  header.fill(0, 22, 42);
  const size = 4 * PIECE;
  let start = await nextFrame(file, 42);
  while (start < file.size) {
    const stop = await nextFrame(file, start + size);
    const frames = new Uint8Array(await file.slice(start, stop).arrayBuffer());
    yield { bytes: joined([header, frames]), done: stop / file.size };
    start = stop;
  }
}

async function nextFrame(file, from) {
  for (let start = from; start < file.size; start += HEAD - 16) {
    const bytes = new Uint8Array(await file.slice(start, start + HEAD).arrayBuffer());
    for (let at = 0; at + 16 < bytes.length; at += 1)
      if (bytes[at] === 0xff && (bytes[at + 1] & 0xfe) === 0xf8 && headerFits(bytes, at)) return start + at;
  }
  return file.size;
}

// a frame's header ends in a checksum of its own (CRC-8)
function headerFits(bytes, at) {
  const block = bytes[at + 2] >> 4, rate = bytes[at + 2] & 15, coded = bytes[at + 4];
  if (!block || rate === 15 || bytes[at + 3] >> 4 > 10 || bytes[at + 3] & 1) return false;
  let n = 5 + (coded < 0x80 ? 0 : Math.clz32(~(coded << 24)) - 1);
  n += block === 6 ? 1 : block === 7 ? 2 : 0;
  n += rate === 12 ? 1 : rate > 12 ? 2 : 0;
  let sum = 0;
  for (let place = 0; place < n; place += 1) {
    sum ^= bytes[at + place];
    for (let bit = 0; bit < 8; bit += 1) sum = sum & 0x80 ? ((sum << 1) ^ 7) & 255 : sum << 1;
  }
  return sum === bytes[at + n];
}

// --- Ogg: pages; a piece is the header pages before some others, one of them to warm up

function ogg(head) {
  if (text(head, 0, 4) !== "OggS") return null;
  const start = 27 + head.getUint8(26);
  if (text(head, start + 1, 6) === "vorbis") return { rate: head.getUint32(start + 12, true), pieces: oggPieces };
  if (text(head, start, 8) === "OpusHead") return { rate: 48000, pieces: oggPieces };
  if (text(head, start, 5) === "\x7fFLAC") return { rate: (head.getUint32(start + 27) >>> 12) & 0xfffff };
  return {};
}

async function* oggPieces(file) {
  const first = pages(new Uint8Array(await file.slice(0, PIECE).arrayBuffer()));
  const nHeaders = first.findIndex(({ granule }) => granule > 0);
  const header = first.slice(0, nHeaders).map(({ bytes }) => bytes);
  let before = first[nHeaders - 1], start = first[nHeaders].start, played = 0;
  while (start < file.size) {
    const here = pages(new Uint8Array(await file.slice(start, start + PIECE).arrayBuffer()));
    if (!here.length) return;
    const ends = here.filter(({ granule }) => granule > 0);
    const granule = ends.length ? ends.at(-1).granule : played;
    const warm = played ? [before.bytes] : [];
    start += here.at(-1).stop;
    const bytes = joined([...header, ...warm, ...here.map((page) => page.bytes)]);
    yield { bytes, keep: played ? granule - played : undefined, done: start / file.size };
    [played, before] = [granule, here.at(-1)];
  }
}

// whole pages of some bytes; the granule is how many samples are done at their end
function pages(bytes) {
  const view = new DataView(bytes.buffer), found = [];
  for (let at = 0; at + 27 < bytes.length && text(view, at, 4) === "OggS";) {
    const n = bytes[at + 26];
    let stop = at + 27 + n;
    for (let lace = 0; lace < n; lace += 1) stop += bytes[at + 27 + lace];
    if (stop > bytes.length) break;
    found.push({ start: at, stop, bytes: bytes.subarray(at, stop), granule: Number(view.getBigInt64(at + 6, true)) });
    at = stop;
  }
  return found;
}

// --- MP3: frames; a piece starts some frames early, since a frame uses bits of those before it

const BIT_RATES = {
  1: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  2: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
};

function mp3(head, file) {
  const start = afterId3(head);
  if (start + 4 > head.byteLength) return start > 10 ? mp3Far(file) : null;
  for (let at = start; at + 4 < Math.min(head.byteLength, start + 8192); at += 1) {
    const frame = mp3Frame(head, at);
    if (frame && (at + frame.size + 4 > head.byteLength || mp3Frame(head, at + frame.size)?.rate === frame.rate))
      return { rate: frame.rate, pieces: mp3Pieces };
  }
  return null;
}

// a cover larger than what was read: the rate stays unknown, the browser resamples
const mp3Far = () => ({});

function afterId3(head) {
  if (text(head, 0, 3) !== "ID3" || head.byteLength < 10) return 0;
  return 10 + [6, 7, 8, 9].reduce((size, at) => (size << 7) | (head.getUint8(at) & 127), 0);
}

function mp3Frame(view, at) {
  if (at + 4 > view.byteLength) return null;
  const word = view.getUint32(at), version = (word >> 19) & 3;
  if (word >>> 21 !== 0x7ff || version === 1 || ((word >> 17) & 3) !== 1) return null; // layer III
  const bits = BIT_RATES[version === 3 ? 1 : 2][(word >> 12) & 15], base = [44100, 48000, 32000][(word >> 10) & 3];
  if (!bits || !base) return null;
  const rate = base / { 3: 1, 2: 2, 0: 4 }[version], samples = version === 3 ? 1152 : 576;
  return { rate, samples, size: Math.floor((samples / 8) * bits * 1000 / rate) + ((word >> 9) & 1) };
}

async function* mp3Pieces(file, { rate }) {
  let start = 0;
  while (start < file.size) {
    const view = await read(file, start, start + PIECE), frames = mp3Frames(view, rate);
    const last = start + view.byteLength >= file.size;
    if (frames.length <= 2 * WARM_UP) return;
    const stop = last ? view.byteLength : frames.at(-1).at + frames.at(-1).size;
    const kept = frames.length - WARM_UP;
    const keep = start && !last ? kept * frames[0].samples : undefined;
    yield start
      ? { bytes: view.buffer.slice(frames[0].at, stop), keep: keep ?? kept * frames[0].samples, done: (start + stop) / file.size }
      : { bytes: view.buffer.slice(0, stop), done: stop / file.size };
    if (last) return;
    start += frames.at(-WARM_UP).at;
  }
}

function mp3Frames(view, rate) {
  const frames = [];
  for (let at = frames.length ? 0 : afterId3(view); at + 4 < view.byteLength;) {
    const frame = mp3Frame(view, at);
    if (frame?.rate === rate) {
      if (at + frame.size > view.byteLength) break;
      frames.push({ at, ...frame });
      at += frame.size;
    } else at += 1;
  }
  return frames;
}

// --- MP4: the rate of an AAC track stands in its description; never cut

function mp4(head) {
  if (text(head, 4, 4) !== "ftyp") return null;
  for (let at = 8; at + 36 < head.byteLength; at += 1)
    if (text(head, at, 4) === "mp4a") return { rate: head.getUint16(at + 28) };
  return {};
}

function joined(parts) {
  const all = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) { all.set(part, at); at += part.length; }
  return all.buffer;
}

const kinds = [wav, flac, ogg, mp4, mp3]; // MP3 last: any bytes may look like a frame
