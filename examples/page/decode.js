// A file to blocks of samples by the browser's own decoder, at the file's own rate.
import { plan } from "./containers.js";

const USUAL_RATE = 44100; // where the rate cannot be read or is too odd to resample by

export class NotAudio extends Error {}

// Yield { channels, rate, done }: Float32Arrays, and the share of the file that is behind them.
export async function* decoded(file) {
  const { rate, pieces } = await plan(file);
  for await (const { bytes, keep, done } of pieces) {
    const audio = await decode(bytes, rate);
    const start = keep === undefined ? 0 : Math.max(0, audio.length - keep);
    const channels = Array.from({ length: audio.numberOfChannels }, (_, number) => {
      const samples = audio.getChannelData(number);
      return start ? samples.slice(start) : samples;
    });
    yield { channels, rate: audio.sampleRate, done };
  }
}

async function decode(bytes, rate) {
  if (!bytes.byteLength) throw new NotAudio("is empty");
  try {
    return await context(rate).decodeAudioData(bytes);
  } catch {
    throw new NotAudio("is in no format that this browser plays, or damaged");
  }
}

const contexts = new Map(); // by rate

// decodeAudioData resamples to the rate of its context: with the file's rate it does nothing
function context(rate = USUAL_RATE) {
  if (contexts.has(rate)) return contexts.get(rate);
  let made;
  try {
    made = new OfflineAudioContext({ numberOfChannels: 1, length: 1, sampleRate: rate });
  } catch { // a rate that this browser does not know
    made = context();
  }
  contexts.set(rate, made);
  return made;
}
