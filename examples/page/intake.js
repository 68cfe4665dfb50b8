// Files that a visitor drops or chooses, folders searched.

const AUDIO = /\.(mp3|wav|flac|ogg|oga|opus|m4a|mp4|aac|webm|aiff?)$/i;

// Lists of { file, path } of audio files, as they are found; the first list comes at once.
export async function* dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) yield chosen(transfer.files);
  for (const entry of entries) yield* walked(entry);
}

export const chosen = (files) => [...files].filter(isAudio)
  .map((file) => ({ file, path: file.webkitRelativePath || file.name }))
  .sort((a, b) => a.path.localeCompare(b.path));

async function* walked(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null);
    if (file && isAudio(file)) yield [{ file, path: entry.fullPath.replace(/^\//, "") }];
    return;
  }
  const reader = entry.createReader(); // hands out some hundred entries at a time
  const read = () => new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
  for (let part; (part = await read()).length;)
    for (const inside of part.sort((a, b) => a.name.localeCompare(b.name))) yield* walked(inside);
}

const LIST = /mpegurl|scpls/i; // types of playlists
const isAudio = ({ name, type }) =>
  !name.startsWith(".") && (AUDIO.test(name) || (type.startsWith("audio/") && !LIST.test(type)));
