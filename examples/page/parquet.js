// A table as Parquet, of the format as little as readers need: one row group, a page a column,
// nothing compressed. Source of ids and layout: parquet-format 2.10, parquet.thrift, Encodings.md.

const I32 = 5, I64 = 6, BINARY = 8, LIST = 9, STRUCT = 12; // Thrift's compact protocol
const PHYSICAL = { int64: 2, float: 4, double: 5, text: 6, bytes: 6 }, TEXT = 0, LISTED = 3;
const encode = (text) => new TextEncoder().encode(text);

function varint(n) {
  const bytes = [];
  for (; n > 127; n = Math.floor(n / 128)) bytes.push((n % 128) | 128);
  return [...bytes, n];
}

const int = (n) => varint(2 * n); // no number here is negative
const binary = (text) => { const bytes = encode(text); return [...varint(bytes.length), ...bytes]; };
const list = (kind, items) =>
  [...(items.length < 15 ? [(items.length << 4) | kind] : [0xf0 | kind, ...varint(items.length)]), ...items.flat()];

// fields: [id, kind, bytes] by rising id, or nothing
function struct(...fields) {
  let last = 0;
  return [...fields.filter(Boolean).flatMap(([id, kind, bytes]) => {
    const head = ((id - last) << 4) | kind;
    last = id;
    return [head, ...bytes];
  }), 0];
}

const sizeOf = (parts) => parts.reduce((sum, part) => sum + part.byteLength, 0);
const required = 0, repeated = 2;
const element = (name, { physical, repetition = required, children, converted }) => struct(
  physical !== undefined && [1, I32, int(physical)], [3, I32, int(repetition)], [4, BINARY, binary(name)],
  children && [5, I32, int(children)], converted !== undefined && [6, I32, int(converted)]);

function elements(name, kind) {
  if (kind !== "floats") return [element(name, { physical: PHYSICAL[kind], converted: kind === "text" ? TEXT : undefined })];
  return [element(name, { children: 1, converted: LISTED }), element("list", { repetition: repeated, children: 1 }),
    element("element", { physical: PHYSICAL.float })];
}

function plain(kind, values) {
  if (kind === "int64") return [BigInt64Array.from(values, BigInt)];
  if (kind === "double") return [Float64Array.from(values)];
  if (kind === "floats") return [...levels(values), ...values];
  return values.map(encode).flatMap((bytes) => [Uint32Array.of(bytes.length), bytes]);
}

// where lists begin (a 0, then 1s) and that all numbers are there (1s), in runs
function levels(vectors) {
  const n = vectors[0].length, row = [2, 0, ...varint(2 * (n - 1)), 1];
  return [Uint8Array.from(vectors.flatMap(() => row)), Uint8Array.from([...varint(2 * n * vectors.length), 1])]
    .flatMap((runs) => [Uint32Array.of(runs.length), runs]);
}

// Parts of a Blob. columns: [name, "int64" | "double" | "text" | "bytes" | "floats", values];
// facts: { key: text } about the whole.
export function parquet(columns, facts) {
  const file = [encode("PAR1")], chunks = [], n = columns[0][2].length;
  for (const [name, kind, values] of columns) {
    const body = plain(kind, values), size = sizeOf(body), isList = kind === "floats";
    const count = isList ? n * values[0].length : n;
    const header = Uint8Array.from(struct([1, I32, int(0)], [2, I32, int(size)], [3, I32, int(size)],
      [5, STRUCT, struct([1, I32, int(count)], [2, I32, int(0)], [3, I32, int(3)], [4, I32, int(3)])]));
    const start = sizeOf(file), whole = header.length + size;
    file.push(header, ...body);
    const path = (isList ? [name, "list", "element"] : [name]).map(binary);
    chunks.push(struct([2, I64, int(start)], [3, STRUCT, struct(
      [1, I32, int(isList ? PHYSICAL.float : PHYSICAL[kind])], [2, LIST, list(I32, [int(0), int(3)])],
      [3, LIST, list(BINARY, path)], [4, I32, int(0)], [5, I64, int(count)], [6, I64, int(whole)],
      [7, I64, int(whole)], [9, I64, int(start)])]));
  }
  const schema = columns.flatMap(([name, kind]) => elements(name, kind));
  const about = Object.entries(facts).map(([key, text]) => struct([1, BINARY, binary(key)], [2, BINARY, binary(text)]));
  const footer = Uint8Array.from(struct([1, I32, int(1)],
    [2, LIST, list(STRUCT, [element("table", { children: columns.length }), ...schema])], [3, I64, int(n)],
    [4, LIST, list(STRUCT, [struct([1, LIST, list(STRUCT, chunks)], [2, I64, int(sizeOf(file))], [3, I64, int(n)])])],
    [5, LIST, list(STRUCT, about)]));
  return [...file, footer, Uint32Array.of(footer.length), encode("PAR1")];
}
