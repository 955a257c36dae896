// The samples: the faces that Rekognition found at one timestamp. They are read from the pages, which are ordered by time.

import { Files, lines } from "./files.js";

const PAGES_KEPT = 12; // pages in memory, at up to 3.3 MB each
const READ_AHEAD = 15_000; // milliseconds for which samples are requested before they are shown
const USUAL_INTERVAL = 500; // milliseconds between two samples, unless the samples of a page are closer
const MOST_PAGES_SEARCHED = 50; // of one search for the next face

export class Samples {
  /** Milliseconds between two samples. */
  interval = USUAL_INTERVAL;
  #pages; // from the manifest
  #firstLines = []; // for each page, the number of its first line over all pages
  #files;

  constructor(pages, arrived, failed) {
    this.#pages = pages;
    let line = 0;
    for (const { faces } of pages) {
      this.#firstLines.push(line);
      line += faces;
    }
    this.#files = new Files(PAGES_KEPT, (number) => this.#read(number), arrived, failed);
  }

  /** The time of the first face in milliseconds, null without faces. */
  get first() {
    return this.#pages.find((page) => typeof page.first_ms === "number")?.first_ms ?? null;
  }

  /** The time of the last face in milliseconds, null without faces. */
  get last() {
    return this.#pages.findLast((page) => typeof page.last_ms === "number")?.last_ms ?? null;
  }

  async #read(number) {
    const samples = [];
    const faces = [];
    for (const { Timestamp: time, Face: face } of await lines("faces", number)) {
      if (samples.at(-1)?.time !== time) samples.push({ time, faces: [] });
      samples.at(-1).faces.push({ line: this.#firstLines[number] + faces.length, face });
      faces.push(face);
    }
    const gaps = samples.slice(1).map((sample, index) => sample.time - samples[index].time).sort((a, b) => a - b);
    // The median gap, because times without a face cause longer gaps.
    if (gaps.length) this.interval = Math.min(this.interval, gaps[gaps.length >> 1]);
    return { samples, faces };
  }

  /** The numbers of the pages that overlap a range of time. There can be tens of thousands of pages. */
  #pagesBetween(from, to) {
    let [low, high] = [0, this.#pages.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#pages[middle].last_ms < from) low = middle + 1;
      else high = middle;
    }
    const numbers = [];
    for (let number = low; number < this.#pages.length && this.#pages[number].first_ms <= to; number += 1) numbers.push(number);
    return numbers;
  }

  /** The samples in a range of time whose pages were read: { time, faces: [{ line, face }] }. Missing pages are requested. */
  between(from, to) {
    const found = [];
    for (const number of this.#pagesBetween(from, to)) {
      for (const sample of this.#files.peek(number)?.samples ?? []) {
        if (sample.time < from || sample.time > to) continue;
        // The faces of one timestamp can be on two pages.
        const last = found.at(-1);
        if (last?.time === sample.time) last.faces = [...last.faces, ...sample.faces];
        else found.push({ ...sample });
      }
    }
    return found;
  }

  /** Requests the pages that are shown next. */
  readAhead(time) {
    for (const number of this.#pagesBetween(time, time + READ_AHEAD).slice(0, PAGES_KEPT - 2)) this.#files.peek(number);
  }

  /** The face in a line, if its page was read, else null. */
  face(line) {
    let [low, high] = [0, this.#firstLines.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#firstLines[middle] <= line) low = middle;
      else high = middle - 1;
    }
    return this.#files.peek(low)?.faces[line - this.#firstLines[low]] ?? null;
  }

  /**
   * The time of the nearest sample before (direction -1) or after (1) a time, with a face for which `wanted(face)` is true; null if
   * there is none. The search reads at most MOST_PAGES_SEARCHED pages.
   */
  async next(time, direction, wanted) {
    const ahead = (sample) => direction * (sample.time - time) > 20 && sample.faces.some(({ face }) => wanted(face));
    const numbers = direction > 0 ? this.#pagesBetween(time, Infinity) : this.#pagesBetween(0, time).reverse();
    for (const number of numbers.slice(0, MOST_PAGES_SEARCHED)) {
      const { samples } = await this.#files.load(number);
      const found = direction > 0 ? samples.find(ahead) : samples.findLast(ahead);
      if (found) return found.time;
    }
    return null;
  }
}
