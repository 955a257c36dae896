// The tracks: one face through time. They are read from the files whose time overlaps what is shown.
//
// A track is shown as its parts, which are the lines of the files: { id, part, continues, first, last (milliseconds), confidence, best,
// times, lines, boxes }. The last three have an element (of boxes: four) for each detection.

import { Files, lines } from "./files.js";

const FILES_KEPT = 12; // files in memory, at up to 4 MB each as text
/** The most files that are read for the lanes. */
export const MOST_FILES_SHOWN = 8;
/** The longest time between two detections of one track in milliseconds, as the workflow joins them. */
export const LONGEST_GAP = 1250;
const READ_AHEAD = 15_000; // milliseconds
const BUCKET = 1000; // milliseconds of one entry of the index

export class Tracks {
  #files; // from the manifest; empty in results without tracks
  #read;

  constructor(files, arrived, failed) {
    this.#files = files ?? [];
    this.#read = new Files(FILES_KEPT, readFile, arrived, failed);
  }

  /** Whether the result has tracks. Results of before there were tracks have none. */
  get exist() {
    return this.#files.length > 0;
  }

  /** The numbers of the files that overlap a range of time. */
  #between(from, to) {
    return this.#files.flatMap(({ first_ms: first, last_ms: last }, number) => (first <= to && last >= from ? [number] : []));
  }

  /** The number of files that overlap a range of time. */
  filesBetween(from, to) {
    return this.#between(from, to).length;
  }

  /** Requests the files that are shown next. */
  readAhead(time) {
    for (const number of this.#between(time, time + READ_AHEAD).slice(0, FILES_KEPT - MOST_FILES_SHOWN)) this.#read.peek(number);
  }

  /** The files of a range of time, each null if it was not read. Missing files are requested. */
  #peekBetween(from, to) {
    return this.#between(from, to).map((number) => this.#read.peek(number));
  }

  /** The parts near a time; null if one of their files was not read. */
  near(time) {
    const files = this.#peekBetween(time - LONGEST_GAP, time + LONGEST_GAP);
    if (files.includes(null)) return null;
    return files.flatMap(({ index }) => index.get(Math.floor(time / BUCKET)) ?? []);
  }

  /** The parts in a range of time whose files were read, in the order of their first detections. */
  between(from, to) {
    const files = this.#peekBetween(from, to).filter(Boolean);
    const parts = files.flatMap(({ parts }) => parts.filter(({ first, last }) => first <= to && last >= from));
    return parts.sort((one, two) => one.first - two.first || one.id - two.id);
  }

  /** Whether all files of a range of time were read. */
  isComplete(from, to) {
    return !this.#peekBetween(from, to).includes(null);
  }

  /** As `between`, after all files of the range were read. */
  async load(from, to) {
    const files = await Promise.all(this.#between(from, to).map((number) => this.#read.load(number)));
    return files.flatMap(({ parts }) => parts.filter(({ first, last }) => first <= to && last >= from));
  }

  /** The parts of a track in memory. */
  partsOf(id) {
    return this.#read.loaded().flatMap(({ parts }) => parts.filter((part) => part.id === id));
  }
}

async function readFile(number) {
  const parts = (await lines("tracks", number)).map((track) => ({
    id: track.id,
    part: track.part,
    continues: track.continues,
    first: track.first_ms,
    last: track.last_ms,
    confidence: track.mean_confidence,
    best: track.best.timestamp_ms,
    // Typed arrays need a tenth of the memory.
    times: Float64Array.from(track.timestamps_ms),
    lines: Uint32Array.from(track.faces),
    boxes: Float32Array.from(track.boxes.flat()),
  }));
  const index = new Map(); // bucket → the parts that are near it
  for (const part of parts) {
    const last = Math.floor((part.last + LONGEST_GAP) / BUCKET);
    for (let bucket = Math.floor((part.first - LONGEST_GAP) / BUCKET); bucket <= last; bucket += 1) {
      if (!index.has(bucket)) index.set(bucket, []);
      index.get(bucket).push(part);
    }
  }
  return { parts, index };
}

/** The index of the last detection of a part at or before a time, -1 before the first. */
export function detectionAt({ times }, time) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
