// The vectors of a visitor's files as a table.

const quoted = (text) => `"${text.replaceAll('"', '""')}"`;

// Parts of a Blob: one line a file, path, seconds, segments, then the 256 numbers.
export function csv(items) {
  const dim = items[0].vector.length;
  const names = Array.from({ length: dim }, (_, at) => `e${at}`).join();
  const line = ({ path, seconds, nSegments, vector }) =>
    `${quoted(path)},${seconds.toFixed(3)},${nSegments},${vector.join()}\r\n`;
  return [`path,duration_s,n_segments,${names}\r\n`, ...items.map(line)];
}

export function download(parts, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
