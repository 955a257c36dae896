// The track that is followed: its box and its lane are marked, and "previous" and "next" go from one of its detections to another.

import { wordsOf } from "./lanes.js";
import { LONGEST_GAP } from "./tracks.js";

export class Follow {
  /** The id of the followed track, null without one. */
  id = null;
  #parts = new Map(); // number of the part → part; kept, because the files can be dropped
  #tracks;

  constructor(tracks) {
    this.#tracks = tracks;
  }

  /** Follows a track, or none with null. */
  set(id) {
    this.id = id;
    this.#parts.clear();
    this.collect();
  }

  /** Adds the parts of the track that were read in the meantime. */
  collect() {
    if (this.id === null) return;
    for (const part of this.#tracks.partsOf(this.id)) this.#parts.set(part.part, part);
  }

  /** The parts that are known, in order. */
  get #known() {
    return [...this.#parts.values()].sort((one, two) => one.part - two.part);
  }

  /** The time of the best view of the face in milliseconds, null if the track was not read. */
  get best() {
    return this.#known[0]?.best ?? null;
  }

  /** The time of the first detection that is known, null if the track was not read. */
  get first() {
    return this.#known[0]?.first ?? null;
  }

  /** The track in words. */
  get words() {
    const parts = this.#known;
    if (parts.length === 0) return `Track ${this.id}`;
    const detections = parts.reduce((sum, { times }) => sum + times.length, 0);
    const confidence = parts.reduce((sum, { times, confidence }) => sum + times.length * confidence, 0) / detections;
    return wordsOf({ id: this.id, parts, first: parts[0].first, last: parts.at(-1).last, detections, confidence });
  }

  /** The time of the nearest detection before (direction -1) or after (1) a time in milliseconds, null at the end of the track. */
  async next(time, direction) {
    const known = this.#known;
    if (known.length === 0) return null;
    const found = nearest(known, time, direction);
    if (found !== null) return found;
    const end = direction > 0 ? known.at(-1) : known[0];
    if (direction > 0 ? !end.continues : end.part === 0) return null;
    // The other part begins or ends at most a gap away.
    const range = direction > 0 ? [end.last, end.last + LONGEST_GAP] : [end.first - LONGEST_GAP, end.first];
    const more = (await this.#tracks.load(...range)).filter(({ id }) => id === this.id);
    for (const part of more) this.#parts.set(part.part, part);
    return nearest(this.#known, time, direction);
  }
}

function nearest(parts, time, direction) {
  const times = parts.flatMap(({ times }) => [...times]);
  // Timestamps are rounded, so a detection that is less than a frame away is the one that is shown.
  return (direction > 0 ? times.find((one) => one > time + 20) : times.findLast((one) => one < time - 20)) ?? null;
}
