// The timeline of the whole video: its faces, an axis, where the player is, and which part the lanes show.

import { resize, svg } from "./stage.js";
import { clock, ticks, wholeSeconds } from "./time.js";

const BARS = 600; // maximum number of bars
const TICK_WIDTH = 72; // pixels that the label of a tick needs

/** Marks the times of an axis. */
export function drawAxis(axis, from, to) {
  const { step, times } = to > from ? ticks(from, to, Math.max(2, Math.floor(axis.clientWidth / TICK_WIDTH))) : { times: [] };
  resize(axis, times.length, () => document.createElement("span"));
  times.forEach((time, index) => {
    const mark = axis.children[index];
    const share = (time - from) / (to - from);
    mark.style.left = `${share * 100}%`;
    // The labels at the ends stay inside of the axis.
    mark.className = share < 0.02 ? "first" : share > 0.95 ? "last" : "";
    mark.textContent = step < 1000 ? clock(time) : wholeSeconds(time);
  });
}

/** Shows a text above a place of an element while the pointer is over it. */
export function hover(element, tip, describe) {
  const hide = () => (tip.hidden = true);
  const show = (event) => {
    const text = describe(event);
    if (!text) return hide();
    tip.textContent = text;
    tip.hidden = false;
    const outer = tip.parentElement.getBoundingClientRect();
    const inside = Math.max(0, Math.min(event.clientX - outer.left - tip.offsetWidth / 2, outer.width - tip.offsetWidth));
    tip.style.left = `${inside}px`;
    tip.style.top = `${element.getBoundingClientRect().top - outer.top - tip.offsetHeight - 4}px`;
  };
  element.addEventListener("pointermove", show);
  element.addEventListener("pointerleave", hide);
}

/** The share of an element's width at which an event happened. */
export function shareAt(element, event) {
  const { left, width } = element.getBoundingClientRect();
  return Math.max(0, Math.min((event.clientX - left) / width, 1));
}

export class Timeline {
  #element;
  #axis;
  #seconds = new Map(); // second → the most faces in one of its moments
  #duration = 0;

  /** `seek(time)` is called for a click or a drag. */
  constructor(element, axis, tip, seek) {
    [this.#element, this.#axis] = [element, axis];
    const at = (event) => shareAt(element, event) * this.#duration;
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      seek(at(event));
    });
    element.addEventListener("pointermove", (event) => {
      if (element.hasPointerCapture(event.pointerId)) seek(at(event));
    });
    hover(element, tip, (event) => {
      const most = this.#seconds.get(Math.floor(at(event) / 1000)) ?? 0;
      return `${clock(at(event))} · ${most === 0 ? "no face" : most === 1 ? "1 face" : `up to ${most} faces`}`;
    });
    new ResizeObserver(() => drawAxis(axis, 0, this.#duration)).observe(axis);
  }

  /** Draws the faces per second of the summary over a length in milliseconds. */
  draw(seconds, duration) {
    this.#seconds = new Map(seconds.map(({ second, most_faces: most }) => [second, most]));
    this.#duration = duration;
    const width = Math.ceil(Math.max(Math.ceil(duration / 1000), 1) / BARS);
    const bars = new Map();
    for (const [second, most] of this.#seconds) {
      const bar = Math.floor(second / width);
      bars.set(bar, Math.max(bars.get(bar) ?? 0, most));
    }
    const most = Math.max(...bars.values(), 1);
    const chart = this.#element.querySelector("svg");
    chart.setAttribute("viewBox", `0 0 ${duration / 1000 || 1} ${most}`);
    chart.replaceChildren(
      ...[...bars].map(([bar, count]) => svg("rect", { x: bar * width, y: most - count, width: width * 0.92, height: count })),
    );
    this.#element.setAttribute("aria-valuemax", Math.round(duration / 1000));
    drawAxis(this.#axis, 0, duration);
  }

  /** Moves the playhead. */
  move(time, text) {
    const share = this.#duration ? Math.min(time / this.#duration, 1) : 0;
    this.#element.querySelector(".playhead").style.left = `${share * 100}%`;
    this.#element.setAttribute("aria-valuenow", Math.round(time / 1000));
    this.#element.setAttribute("aria-valuetext", text);
  }

  /** Marks the part that the lanes show, unless it is the whole video. */
  mark(from, to) {
    const range = this.#element.querySelector("#range");
    range.hidden = !this.#duration || (from <= 0 && to >= this.#duration);
    range.style.left = `${(from / this.#duration) * 100}%`;
    range.style.width = `${((to - from) / this.#duration) * 100}%`;
  }
}
