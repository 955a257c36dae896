// The lanes: one line for each track, below the timeline. Of a long video they show the part around the player.
//
// They are drawn on a canvas, because there can be thousands of tracks.

import { drawAxis, hover, shareAt } from "./timeline.js";
import { clock } from "./time.js";
import { MOST_FILES_SHOWN } from "./tracks.js";

const LEVELS = [30_000, 120_000, 600_000, 1_800_000, 3_600_000, 7_200_000]; // milliseconds that can be shown instead of the whole video
const LANE = 10; // pixels from one lane to the next
const BAR = 7; // pixels
const SHORTEST = 3; // pixels
const MOST_LANES = 600; // more tracks than that at the same time share the last lane

export class Lanes {
  #part; // of the document: { section, box, canvas, playhead, axis, tip, words, closer, farther }
  #tracks;
  #duration = 0;
  #center = 0; // milliseconds
  #levels = LEVELS; // those that are shorter than the video
  #level = LEVELS.length; // an index of LEVELS; its length is the whole video
  #from = 0;
  #to = 0;
  #bars = []; // { id, first, last, confidence, parts, lane }, in the order of their first detections
  #dimmed = () => false;
  #followed = null;
  #moved;
  #pending = false;

  /** `chosen(bar, time)` is called for a click on a track, `seek(time)` for one elsewhere, and `moved(from, to)` for another range. */
  constructor(part, tracks, { chosen, seek, moved }) {
    [this.#part, this.#tracks, this.#moved] = [part, tracks, moved];
    part.canvas.addEventListener("click", (event) => {
      const bar = this.#barAt(event);
      const time = this.#timeAt(event);
      if (bar) chosen(bar, Math.max(bar.first, Math.min(time, bar.last)));
      else seek(time);
    });
    hover(part.canvas, part.tip, (event) => {
      const bar = this.#barAt(event);
      part.canvas.style.cursor = bar ? "pointer" : "";
      return bar ? wordsOf(bar) : clock(this.#timeAt(event));
    });
    part.closer.addEventListener("click", () => this.zoom(-1));
    part.farther.addEventListener("click", () => this.zoom(1));
    new ResizeObserver(() => this.redraw()).observe(part.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  #timeAt(event) {
    return this.#from + shareAt(this.#part.canvas, event) * (this.#to - this.#from);
  }

  #barAt(event) {
    const { top } = this.#part.canvas.getBoundingClientRect();
    const lane = Math.floor((event.clientY - top) / LANE);
    const slack = (SHORTEST * (this.#to - this.#from)) / this.#part.canvas.clientWidth;
    const time = this.#timeAt(event);
    return this.#bars.findLast((bar) => bar.lane === lane && bar.first - slack <= time && bar.last + slack >= time);
  }

  /** The tracks that are shown, in the order of their first detections. */
  get shown() {
    return this.#bars;
  }

  /** Sets the length of the video in milliseconds. */
  set duration(milliseconds) {
    // Browsers report the same length repeatedly, and what the user has chosen stays then.
    if (milliseconds === this.#duration) return;
    this.#duration = milliseconds;
    this.#to = 0;
    // Levels that are longer than the video are the same as the whole video.
    const longer = LEVELS.findIndex((level) => level >= milliseconds);
    this.#level = LEVELS.length;
    this.#levels = longer < 0 ? LEVELS : LEVELS.slice(0, longer);
  }

  /** Shows a longer (1) or a shorter (-1) part of the video. */
  zoom(direction) {
    const now = this.#levelAt(this.#from, this.#level);
    const next = Math.max(0, Math.min(now + direction, this.#levels.length));
    this.#level = this.#levelAt(this.#center, next);
    this.#place(this.#center);
    this.layOut();
  }

  // The level, or the longest shorter one whose tracks are in few enough files.
  #levelAt(time, level) {
    let fitting = Math.min(level, this.#levels.length);
    while (fitting > 0) {
      const [from, to] = this.#window(time, fitting);
      if (this.#tracks.filesBetween(from, to) <= MOST_FILES_SHOWN) break;
      fitting -= 1;
    }
    return fitting;
  }

  #window(time, level) {
    const length = this.#levels[level] ?? this.#duration;
    const from = Math.max(0, Math.min(time - length * 0.2, this.#duration - length));
    return [from, from + length];
  }

  #place(time) {
    [this.#from, this.#to] = this.#window(time, this.#levelAt(time, this.#level));
    this.#moved(this.#from, this.#to);
  }

  /** Follows the player. */
  move(time) {
    this.#center = time;
    if (!this.#duration) return;
    if (this.#to === 0 || time < this.#from || time > this.#to) {
      this.#place(time);
      this.layOut();
    }
    this.#part.playhead.style.left = `${((time - this.#from) / (this.#to - this.#from)) * 100}%`;
  }

  /** Which tracks to draw faintly, and which to mark. */
  look({ dimmed, followed }) {
    [this.#dimmed, this.#followed] = [dimmed, followed];
    this.redraw();
  }

  /** Distributes the tracks on the lanes, after other files were read or the range has changed. */
  layOut() {
    const bars = new Map();
    for (const part of this.#tracks.between(this.#from, this.#to)) {
      const bar = bars.get(part.id);
      if (bar) {
        bar.last = Math.max(bar.last, part.last);
        bar.first = Math.min(bar.first, part.first);
        bar.parts.push(part);
      } else {
        bars.set(part.id, { id: part.id, first: part.first, last: part.last, parts: [part] });
      }
    }
    this.#bars = [...bars.values()];
    const gap = (SHORTEST * 2 * (this.#to - this.#from)) / Math.max(this.#part.box.clientWidth, 1);
    const ends = []; // of the last track in each lane
    for (const bar of this.#bars) {
      const free = ends.findIndex((end) => end + gap < bar.first);
      bar.lane = free >= 0 ? free : Math.min(ends.length, MOST_LANES - 1);
      ends[bar.lane] = Math.max(ends[bar.lane] ?? 0, bar.last);
      const detections = bar.parts.reduce((sum, { times }) => sum + times.length, 0);
      bar.detections = detections;
      bar.confidence = bar.parts.reduce((sum, { times, confidence }) => sum + times.length * confidence, 0) / detections;
    }
    this.#part.canvas.style.height = `${Math.max(ends.length, 1) * LANE}px`;
    this.redraw();
  }

  redraw() {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      this.#draw();
    });
  }

  #draw() {
    const { section, box, canvas, words, axis, closer, farther } = this.#part;
    section.hidden = !this.#tracks.exist;
    if (section.hidden || this.#to <= this.#from) return;
    const whole = this.#from <= 0 && this.#to >= this.#duration;
    axis.hidden = whole;
    if (!whole) drawAxis(axis, this.#from, this.#to);
    const level = this.#levelAt(this.#from, this.#level);
    closer.parentElement.hidden = this.#levels.length === 0;
    closer.disabled = level === 0;
    farther.disabled = level === this.#levels.length || this.#levelAt(this.#center, level + 1) === level;
    const count = this.#bars.length === 1 ? "1 track" : `${this.#bars.length.toLocaleString("en")} tracks`;
    const range = whole ? "" : ` from ${clock(this.#from)} to ${clock(this.#to)}`;
    words.textContent = this.#tracks.isComplete(this.#from, this.#to) ? count + range : `reading the tracks${range} …`;
    canvas.setAttribute("aria-label", words.textContent);

    const scale = devicePixelRatio || 1;
    const [width, height] = [box.clientWidth, parseFloat(canvas.style.height) || LANE];
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const colours = { plain: style.getPropertyValue("--accent"), followed: style.getPropertyValue("--followed") };
    const x = (time) => ((time - this.#from) / (this.#to - this.#from)) * width;
    for (const bar of this.#bars) {
      const followed = bar.id === this.#followed;
      context.fillStyle = followed ? colours.followed : colours.plain;
      context.globalAlpha = followed ? 1 : this.#dimmed(bar) ? 0.25 : this.#followed === null ? 1 : 0.6;
      const [left, right] = [x(bar.first), x(bar.last)];
      const top = bar.lane * LANE + (LANE - BAR) / 2;
      context.fillRect(left, top, Math.max(right - left, SHORTEST), BAR);
    }
  }

  /** Scrolls the lane of a track into view. */
  reveal(id) {
    const bar = this.#bars.find((bar) => bar.id === id);
    const { box } = this.#part;
    if (!bar) return;
    const top = bar.lane * LANE;
    if (top < box.scrollTop || top + LANE > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 2;
  }
}

/** A track in words. */
export function wordsOf({ id, parts, first, last, detections, confidence }) {
  const [begins, ends] = [parts.some(({ part }) => part === 0), !parts.toSorted((a, b) => a.part - b.part).at(-1).continues];
  const from = begins ? clock(first) : `before ${clock(first)}`;
  const to = ends ? clock(last) : `after ${clock(last)}`;
  const count = detections === 1 ? "1 detection" : `${detections.toLocaleString("en")} detections`;
  return `Track ${id}: from ${from} to ${to}, ${count}, mean confidence ${confidence.toFixed(1)} %`;
}
