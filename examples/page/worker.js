// One recording after the other: blocks of decoded samples in, the mean embedding out.
import * as ort from "./vendor/ort.wasm.min.mjs";
import { mix, Resampler, Segmenter } from "./signal.js";

const BATCH = 8; // segments at once
const MAX_AMPLITUDE = 16; // 24 dB above full scale; more is a scaling mistake
const COURSE = 64, BANDS = 16; // segments of which a short form is kept, numbers of each
let session, facts, clip = null, work = Promise.resolve();

async function start(given) {
  facts = given;
  ort.env.wasm.numThreads = 1; // a recording for each core needs no shared memory
  ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
  ort.env.logLevel = "error";
  session = await ort.InferenceSession.create(new URL("./model.onnx", import.meta.url).href, {
    executionProviders: ["wasm"], graphOptimizationLevel: "all",
  });
}

function open() {
  clip = {
    segmenter: new Segmenter({ size: facts.segment_samples, hop: facts.segment_hop_samples, pad: facts.pad_samples }),
    resampler: null, sum: new Float64Array(facts.embedding_dim),
    course: [], nSegments: 0, peak: 0, seconds: 0,
  };
}

async function block({ channels, rate }) {
  const mono = mix(channels);
  if (!mono.length) return;
  for (let at = 0; at < mono.length; at += 1) {
    const size = Math.abs(mono[at]);
    if (!(size <= MAX_AMPLITUDE)) throw new Error("holds samples that are no audio"); // NaN, too
    if (size > clip.peak) clip.peak = size;
  }
  clip.rate = rate;
  clip.seconds += mono.length / rate;
  clip.resampler ??= new Resampler(rate, facts.sample_rate);
  await embed(clip.segmenter.push(clip.resampler.push(mono)));
}

async function embed(segments) {
  const size = facts.segment_samples, dim = facts.embedding_dim;
  for (let at = 0; at < segments.length; at += BATCH * size) {
    const data = segments.subarray(at, at + BATCH * size);
    const waveform = new ort.Tensor("float32", data, [data.length / size, size]);
    const { embedding } = await session.run({ waveform });
    embedding.data.forEach((value, place) => { clip.sum[place % dim] += value; });
    for (let start = 0; start < embedding.data.length && clip.course.length < COURSE; start += dim)
      clip.course.push(folded(embedding.data.subarray(start, start + dim)));
    clip.nSegments += data.length / size;
    embedding.dispose();
  }
}

// sums of neighbouring numbers
function folded(vector) {
  const sums = new Float32Array(BANDS);
  vector.forEach((value, place) => { sums[Math.floor((place * BANDS) / vector.length)] += value; });
  return sums;
}

async function finish() {
  if (clip.resampler) await embed(clip.segmenter.push(clip.resampler.finish()));
  await embed(clip.segmenter.finish());
  if (!clip.nSegments) throw new Error("holds no sound");
  if (!clip.peak) throw new Error("is silent from start to end");
  const { course, nSegments, seconds, rate, segmenter: { short } } = clip;
  const vector = Float32Array.from(clip.sum, (sum) => sum / nSegments);
  if (!vector.every(Number.isFinite)) throw new Error("gives numbers that are not finite");
  return { vector, course, nSegments, seconds, rate, short };
}

const answers = { start, open, block, finish };

onmessage = ({ data: { number, name, argument } }) => {
  work = work.then(() => answers[name](argument)).then(
    (result) => postMessage({ number, result }),
    (error) => postMessage({ number, error: error.message }),
  );
};
