"use strict";

// Shows the faces over the video. A sample contains the faces that Rekognition found at one timestamp:
// { time (milliseconds), faces: [{ box, confidence, landmarks, … }] }.

const PAGES_KEPT = 12; // pages in memory, at up to 3.3 MB each
const READ_AHEAD = 15_000; // milliseconds for which samples are fetched before they are shown
const USUAL_INTERVAL = 500; // milliseconds between two samples, unless the samples of a page are closer
const BARS = 600; // maximum number of bars in the timeline

const $ = (id) => document.getElementById(id);
const video = $("video");
let pages = []; // from the manifest
let timeline = []; // from the summary
let duration = 0; // milliseconds
let interval = USUAL_INTERVAL;
let shown = 0; // the time whose boxes are drawn, in milliseconds

// ---------------------------------------------------------------------------------------------------- samples

const cache = new Map(); // page number → { samples } or { loading }, the least recently used first

function page(number) {
  const entry = cache.get(number) ?? { samples: null, loading: load(number) };
  cache.delete(number);
  cache.set(number, entry);
  for (const oldest of cache.keys()) {
    if (cache.size <= PAGES_KEPT) break;
    cache.delete(oldest);
  }
  return entry;
}

async function get(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`cannot read ${name}: ${(await response.text()) || response.statusText}`);
  return response;
}

async function load(number) {
  const response = await get(`faces/${String(number).padStart(5, "0")}.jsonl`);
  const samples = [];
  for (const line of (await response.text()).split("\n")) {
    if (!line) continue;
    const { Timestamp: time, Face: face } = JSON.parse(line);
    if (samples.at(-1)?.time !== time) samples.push({ time, faces: [] });
    samples.at(-1).faces.push(face);
  }
  const gaps = samples.slice(1).map((sample, index) => sample.time - samples[index].time).sort((a, b) => a - b);
  // The median gap, because times without a face cause longer gaps.
  if (gaps.length) interval = Math.min(interval, gaps[gaps.length >> 1]);
  const entry = cache.get(number);
  if (entry) entry.samples = samples;
  return samples;
}

// The numbers of the pages that overlap a range of time. Pages are ordered by time; there can be tens of thousands.
function pagesBetween(from, to) {
  let [low, high] = [0, pages.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (pages[middle].last_ms < from) low = middle + 1;
    else high = middle;
  }
  const numbers = [];
  for (let number = low; number < pages.length && pages[number].first_ms <= to; number += 1) numbers.push(number);
  return numbers;
}

// The loaded samples in a range of time. Missing ones are fetched, and drawn when they arrive.
function samplesBetween(from, to) {
  const samples = [];
  for (const number of pagesBetween(from, to)) {
    const entry = page(number);
    if (entry.samples) append(samples, entry.samples.filter(({ time }) => time >= from && time <= to));
    else entry.loading.then(() => draw(shown)).catch(complain);
  }
  return samples;
}

// The faces of one timestamp can be on two pages.
function append(samples, more) {
  for (const sample of more) {
    const last = samples.at(-1);
    if (last?.time === sample.time) last.faces = [...last.faces, ...sample.faces];
    else samples.push({ ...sample });
  }
}

// ---------------------------------------------------------------------------------------------------- boxes

// The faces at a time. At a sample, its own faces are returned; between two samples they are interpolated. Boxes that stay
// until the next sample would lag: in every third frame of the sample clip, interpolated boxes match 89 % of the faces, and
// boxes that stay match 47 %. A face in only one of the two samples is shown up to the middle. There are no samples without
// faces, so two samples with a longer gap than usual are not interpolated.
function facesAt(time) {
  const reach = interval * 1.5;
  const samples = samplesBetween(time - reach, time + reach);
  pagesBetween(time, time + READ_AHEAD).slice(0, PAGES_KEPT - 2).forEach((number) => page(number).loading.catch(complain));
  const before = samples.findLast((sample) => sample.time <= time);
  const after = samples.find((sample) => sample.time > time);
  const near = (sample) => sample && Math.abs(sample.time - time) <= interval / 2;
  if (!before || !after || after.time - before.time > reach) {
    const sample = [before, after].find(near);
    return sample ? sample.faces : [];
  }
  const share = (time - before.time) / (after.time - before.time);
  const { pairs, left, right } = match(before.faces, after.faces);
  return [...pairs.map(([a, b]) => between(a, b, share)), ...(share <= 0.5 ? left : right)];
}

// Pairs the faces of two samples, nearest first. Faces that are far apart, or differ in size, are not paired.
function match(before, after) {
  const ratio = video.videoWidth / video.videoHeight || 16 / 9;
  const candidates = before.flatMap((a) => after.map((b) => {
    const [one, two] = [a.BoundingBox, b.BoundingBox];
    const across = (one.Left + one.Width / 2 - two.Left - two.Width / 2) * ratio;
    const down = one.Top + one.Height / 2 - two.Top - two.Height / 2;
    const scale = Math.max(one.Height, two.Height) / Math.min(one.Height, two.Height);
    return { a, b, far: Math.hypot(across, down) / Math.max(one.Height, two.Height), scale };
  }));
  const pairs = [];
  const [left, right] = [new Set(before), new Set(after)];
  for (const { a, b, far, scale } of candidates.sort((one, two) => one.far - two.far)) {
    if (far < 1.2 && scale < 1.6 && left.has(a) && right.has(b)) {
      pairs.push([a, b]);
      left.delete(a);
      right.delete(b);
    }
  }
  return { pairs, left, right };
}

function between(a, b, share) {
  const mix = (from, to) => from + (to - from) * share;
  const box = {};
  for (const side of ["Left", "Top", "Width", "Height"]) box[side] = mix(a.BoundingBox[side], b.BoundingBox[side]);
  const others = new Map((b.Landmarks ?? []).map((landmark) => [landmark.Type, landmark]));
  const landmarks = (a.Landmarks ?? []).flatMap((one) => {
    const two = others.get(one.Type);
    return two ? [{ Type: one.Type, X: mix(one.X, two.X), Y: mix(one.Y, two.Y) }] : [];
  });
  return { ...(share <= 0.5 ? a : b), BoundingBox: box, Landmarks: landmarks };
}

function draw(time) {
  shown = time;
  const faces = facesAt(time);
  const layer = $("faces");
  while (layer.children.length > faces.length) layer.lastChild.remove();
  while (layer.children.length < faces.length) {
    const box = document.createElement("div");
    box.className = "face";
    box.append(document.createElement("span"));
    layer.append(box);
  }
  faces.forEach((face, index) => {
    const { Left, Top, Width, Height } = face.BoundingBox;
    const box = layer.children[index];
    for (const [side, ratio] of Object.entries({ left: Left, top: Top, width: Width, height: Height })) {
      box.style[side] = `${ratio * 100}%`;
    }
    box.firstChild.hidden = !$("show-confidence").checked;
    box.firstChild.textContent = percent(face.Confidence);
  });
  const dots = $("show-landmarks").checked ? faces.flatMap((face) => face.Landmarks ?? []) : [];
  $("landmarks").firstElementChild.setAttribute("d", dots.map(({ X, Y }) => `M${X} ${Y}h0`).join(""));
  describe(time, faces);
}

function describe(time, faces) {
  const count = faces.length === 1 ? "1 face" : `${faces.length} faces`;
  $("now").textContent = `${clock(time)} · ${count}`;
  $("playhead").style.left = `${duration ? Math.min(time / duration, 1) * 100 : 0}%`;
  $("timeline").setAttribute("aria-valuenow", Math.round(time / 1000));
  $("timeline").setAttribute("aria-valuetext", `${clock(time)}, ${count}`);
  const list = $("list");
  while (list.children.length > faces.length) list.lastChild.remove();
  while (list.children.length < faces.length) list.append(document.createElement("li"));
  faces.forEach((face, index) => (list.children[index].textContent = words(face)));
}

function words(face) {
  const parts = [`confidence ${percent(face.Confidence)}`];
  if (face.Pose) parts.push(`turned ${Math.round(face.Pose.Yaw)}°, tilted ${Math.round(face.Pose.Roll)}°`);
  if (face.AgeRange) parts.push(`age ${face.AgeRange.Low} to ${face.AgeRange.High}`);
  const [emotion] = [...(face.Emotions ?? [])].sort((a, b) => b.Confidence - a.Confidence);
  if (emotion) parts.push(emotion.Type.toLowerCase());
  return parts.join(", ");
}

const percent = (confidence) => `${confidence.toFixed(1)} %`;

function clock(time) {
  const tenths = Math.floor(time / 100);
  const [hours, minutes, seconds] = [Math.floor(tenths / 36_000), Math.floor(tenths / 600) % 60, Math.floor(tenths / 10) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds)}.${tenths % 10}`;
}

// ---------------------------------------------------------------------------------------------------- playing

// Uses the time of the frame on the screen if the browser reports it, or else the current time of the player.
if ("requestVideoFrameCallback" in HTMLVideoElement.prototype) {
  const frame = (_, { mediaTime }) => {
    draw(mediaTime * 1000);
    video.requestVideoFrameCallback(frame);
  };
  video.requestVideoFrameCallback(frame);
} else {
  const frame = () => {
    if (!video.paused) draw(video.currentTime * 1000);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  video.addEventListener("seeked", () => draw(video.currentTime * 1000));
}

function seek(time) {
  video.currentTime = Math.max(0, Math.min(time, duration || Infinity)) / 1000;
}

function toggle() {
  if (video.paused) video.play().catch(complain);
  else video.pause();
}

// Seeks to the nearest sample, forward or backward.
async function step(direction) {
  const now = video.currentTime * 1000;
  const ahead = direction > 0 ? ({ time }) => time > now + 20 : ({ time }) => time < now - 20;
  const numbers = direction > 0 ? pagesBetween(now, Infinity) : pagesBetween(0, now).reverse();
  for (const number of numbers) {
    const samples = await page(number).loading;
    const found = direction > 0 ? samples.find(ahead) : samples.findLast(ahead);
    // Timestamps are rounded; one millisecond later, the frame of the sample is certainly on the screen.
    if (found) return seek(found.time + 1);
  }
}

function drawTimeline() {
  const seconds = Math.max(Math.ceil(duration / 1000), 1);
  const width = Math.ceil(seconds / BARS);
  const bars = new Map();
  for (const { second, most_faces: most } of timeline) {
    const bar = Math.floor(second / width);
    bars.set(bar, Math.max(bars.get(bar) ?? 0, most));
  }
  const most = Math.max(...bars.values(), 1);
  const svg = $("timeline").querySelector("svg");
  svg.setAttribute("viewBox", `0 0 ${duration / 1000 || 1} ${most}`);
  for (const [bar, count] of bars) {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const attributes = { x: bar * width, y: most - count, width: width * 0.92, height: count };
    for (const [name, value] of Object.entries(attributes)) rect.setAttribute(name, value);
    svg.append(rect);
  }
  $("timeline").setAttribute("aria-valuemax", Math.round(duration / 1000));
}

function complain(error) {
  $("alert").hidden = false;
  $("alert").textContent = error.message ?? String(error);
}

// ---------------------------------------------------------------------------------------------------- controls

const actions = {
  " ": toggle,
  ArrowLeft: (event) => seek(video.currentTime * 1000 - (event.shiftKey ? 10_000 : 1000)),
  ArrowRight: (event) => seek(video.currentTime * 1000 + (event.shiftKey ? 10_000 : 1000)),
  Home: () => seek(0),
  End: () => seek(duration),
  "[": () => step(-1).catch(complain),
  "]": () => step(1).catch(complain),
  c: () => $("show-confidence").click(),
  l: () => $("show-landmarks").click(),
  "?": () => $("help").showModal(),
};
actions.p = actions["["];
actions.n = actions["]"];

document.addEventListener("keydown", (event) => {
  // AltGr, which some keyboards need for [ and ], is reported as Control and Alt together.
  if (event.metaKey || event.ctrlKey !== event.altKey || $("help").open) return;
  // Space on a button or a checkbox activates that control.
  if (event.key === " " && event.target.closest("button, input, a")) return;
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action(event);
});

function seekTo(event) {
  const { left, width } = $("timeline").getBoundingClientRect();
  seek(((event.clientX - left) / width) * duration);
}
$("timeline").addEventListener("pointerdown", (event) => {
  $("timeline").setPointerCapture(event.pointerId);
  seekTo(event);
});
$("timeline").addEventListener("pointermove", (event) => {
  if ($("timeline").hasPointerCapture(event.pointerId)) seekTo(event);
});

$("play").addEventListener("click", toggle);
$("stage").addEventListener("click", toggle);
$("previous").addEventListener("click", () => step(-1).catch(complain));
$("next").addEventListener("click", () => step(1).catch(complain));
$("help-button").addEventListener("click", () => $("help").showModal());
for (const id of ["show-confidence", "show-landmarks"]) $(id).addEventListener("change", () => draw(shown));
for (const event of ["play", "pause"]) {
  video.addEventListener(event, () => ($("play").textContent = video.paused ? "Play" : "Pause"));
}
video.addEventListener("error", () => {
  complain(new Error(`This browser cannot play the video (${video.error?.message || "no reason given"}). Chrome, Edge and Safari play H.264; some builds of Chromium and Firefox do not.`));
});
video.addEventListener("loadedmetadata", () => {
  shape(video.videoWidth, video.videoHeight);
  duration = video.duration * 1000;
  draw(video.currentTime * 1000);
});

function shape(width, height) {
  if (!width || !height) return;
  $("stage").style.setProperty("--shape", `${width} / ${height}`);
  $("stage").style.setProperty("--ratio", width / height);
}

async function start() {
  const documents = ["manifest.json", "summary.json"].map(async (name) => (await get(name)).json());
  const [manifest, summary] = await Promise.all(documents);
  pages = manifest.pages;
  timeline = summary.timeline;
  const { key } = summary.video;
  const { duration_ms: length, frame_width: width, frame_height: height } = summary.metadata;
  document.title = `Faces in ${key.split("/").at(-1)}`;
  $("title").textContent = key;
  $("facts").textContent = summary.faces
    ? `${summary.faces.toLocaleString("en")} faces in ${summary.frames_with_faces.toLocaleString("en")} moments; ` +
      `at most ${summary.most_faces.faces} at the same time, at ${clock(summary.most_faces.timestamp_ms)}`
    : "No faces were found.";
  duration ||= length ?? 0;
  shape(width, height);
  for (const [name, fact] of [["Execution", manifest.execution_arn], ["Rekognition job", manifest.job.job_id]]) {
    const [term, description] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    description.textContent = fact;
    $("made").append(term, description);
  }
  drawTimeline();
  draw(shown);
}

// Set after all listeners are registered, so that no event of the player is missed.
video.src = "video";
start().catch(complain);
