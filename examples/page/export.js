// The vectors of a visitor's files as a table.
import { parquet } from "./parquet.js";

const quoted = (text) => `"${text.replaceAll('"', '""')}"`;

// Parts of a Blob: one line a file, path, seconds, segments, then the 256 numbers.
export function csv(items) {
  const dim = items[0].vector.length;
  const names = Array.from({ length: dim }, (_, at) => `e${at}`).join();
  const line = ({ path, seconds, nSegments, vector }) =>
    `${quoted(path)},${seconds.toFixed(3)},${nSegments},${vector.join()}\r\n`;
  return [`path,duration_s,n_segments,${names}\r\n`, ...items.map(line)];
}

// The same with the columns of `artist-features extract`, so that its other commands read it.
export function table(items, { name, weights_sha256 }) {
  const columns = [
    ["path", "text", ({ path }) => path], ["path_bytes", "bytes", ({ path }) => path],
    ["embedding", "floats", ({ vector }) => vector], ["start_s", "double", () => NaN], // of whole files
    ["name", "text", ({ path }) => path], ["status", "text", ({ short }) => (short ? "short" : "ok")],
    ["error", "text", () => ""], ["decoder", "text", () => "browser"],
    ["n_segments", "int64", ({ nSegments }) => nSegments], ["duration_s", "double", ({ seconds }) => seconds],
    ["sample_rate", "int64", ({ rate }) => rate], ["size_bytes", "int64", ({ file }) => file.size],
    ["mtime_ns", "int64", ({ file }) => 1e6 * file.lastModified], ["content_sha256", "text", () => ""],
    ["model", "text", () => name], ["weights_sha256", "text", () => weights_sha256],
  ];
  return parquet(columns.map(([title, kind, value]) => [title, kind, items.map(value)]),
    { made_with: JSON.stringify({ model: name, weights_sha256, decoder: "browser" }) });
}

export function download(parts, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
