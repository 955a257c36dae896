// Times: how they are written, and how a link contains one.

/** A time in milliseconds as minutes, seconds and tenths: `1:02.5`. */
export function clock(time) {
  const tenths = Math.floor(time / 100);
  return `${wholeSeconds(time)}.${tenths % 10}`;
}

/** A time in milliseconds in whole seconds: `1:02`, or `1:00:02`. */
export function wholeSeconds(time) {
  const seconds = Math.floor(time / 1000);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds % 60)}`;
}

const STEPS = [100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000];

/** The times to mark on an axis: at most `most`, at multiples of a round step. Returns { step, times } in milliseconds. */
export function ticks(from, to, most) {
  const step = STEPS.find((step) => (to - from) / step <= most) ?? Math.ceil((to - from) / most / 3_600_000) * 3_600_000;
  const times = [];
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) times.push(time);
  return { step, times };
}

/** What a link such as `#t=12.5&track=3` or `#t=1:02.5` names: { time (milliseconds), track }, each null if it is absent. */
export function readLink(hash) {
  const values = new URLSearchParams(hash.replace(/^#/, ""));
  const parts = (values.get("t") ?? "").split(":");
  const valid = parts.length <= 3 && parts.every((part) => /^\d+(\.\d+)?$/.test(part));
  const track = values.get("track") ?? "";
  return {
    time: valid ? parts.reduce((sum, part) => sum * 60 + Number(part), 0) * 1000 : null,
    track: /^\d+$/.test(track) ? Number(track) : null,
  };
}

/** The link of a time in milliseconds and of a track, which can be null. */
export function writeLink(time, track) {
  return `#t=${Math.round(time) / 1000}${track === null ? "" : `&track=${track}`}`;
}
