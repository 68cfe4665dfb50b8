// Files through the workers: as many at a time as there are cores, as many others being decoded.
import { decoded } from "./decode.js";

class Lane {
  constructor() {
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.waiting = new Map();
    this.number = 0;
    this.turn = Promise.resolve();
    this.worker.onmessage = ({ data: { number, result, error } }) => {
      const { resolve, reject } = this.waiting.get(number);
      this.waiting.delete(number);
      if (error === undefined) resolve(result);
      else reject(new Error(error));
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error(event.message || "the worker stopped"));
      this.waiting.clear();
    };
  }

  ask(name, argument, transfer = []) {
    return new Promise((resolve, reject) => {
      this.waiting.set(++this.number, { resolve, reject });
      this.worker.postMessage({ number: this.number, name, argument }, transfer);
    });
  }
}

export class Pool {
  // facts: of the model, from facts.json
  constructor(facts, nLanes = Math.max(1, Math.min(4, navigator.hardwareConcurrency || 2))) {
    this.lanes = Array.from({ length: nLanes }, () => new Lane());
    this.ready = Promise.all(this.lanes.map((lane) => lane.ask("start", facts)));
    this.queue = [];
    this.nRunning = 0;
    this.nLoops = 2 * nLanes; // a file is decoded while another is embedded
  }

  // Embed a file; resolves to { vector, nSegments, seconds, rate, short }. `onProgress` hears shares.
  embed(file, onProgress = () => {}) {
    return new Promise((resolve, reject) => {
      this.queue.push({ file, onProgress, resolve, reject });
      if (this.nRunning < this.nLoops) this.run();
    });
  }

  // Forget what has not begun.
  stop() {
    for (const { reject } of this.queue.splice(0)) reject(new Error("stopped"));
  }

  async run() {
    this.nRunning += 1;
    await this.ready.catch(() => {});
    for (let job; (job = this.queue.shift());) await this.one(job).then(job.resolve, job.reject);
    this.nRunning -= 1;
  }

  async one({ file, onProgress }) {
    await this.ready;
    onProgress(0);
    const blocks = decoded(file);
    let block = await blocks.next(), release, lane;
    // a worker holds one recording at a time; the next is decoded meanwhile
    lane = this.lanes.reduce((best, other) => ((other.load ?? 0) < (best.load ?? 0) ? other : best));
    lane.load = (lane.load ?? 0) + 1;
    const before = lane.turn;
    lane.turn = new Promise((done) => { release = done; });
    await before;
    try {
      await lane.ask("open");
      while (!block.done) {
        const { channels, rate, done } = block.value;
        const taken = lane.ask("block", { channels, rate }, channels.map(({ buffer }) => buffer));
        [block] = await Promise.all([blocks.next(), taken]);
        onProgress(done);
      }
      return await lane.ask("finish");
    } finally {
      lane.load -= 1;
      release();
      blocks.return?.();
    }
  }
}
