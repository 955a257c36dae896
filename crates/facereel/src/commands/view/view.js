// The page of `facereel view`: the video of a result with its faces.

import { differences, isTurned, mismatch, unplayable, unreadable } from "./player/compare.js";
import { get, Unreachable } from "./player/files.js";
import { Follow } from "./player/follow.js";
import { Lanes } from "./player/lanes.js";
import { List } from "./player/list.js";
import { facesAt, turned, uprightTurn } from "./player/moment.js";
import { Playback } from "./player/playback.js";
import { Samples } from "./player/samples.js";
import { Server } from "./player/server.js";
import { Stage } from "./player/stage.js";
import { clock, readLink, writeLink } from "./player/time.js";
import { Timeline } from "./player/timeline.js";
import { Tracks } from "./player/tracks.js";

const USUAL_FRAME_RATE = 25; // if the results do not state it
const RATES = [0.25, 0.5, 1, 1.5, 2, 4];

const $ = (id) => document.getElementById(id);
const video = $("video");
const playback = new Playback(video);
const stage = new Stage($("stage"), choose, () => playback.toggle());
const list = new List($("list"), choose);
const timeline = new Timeline($("timeline"), $("axis"), $("tip"), (time) => playback.seek(time));
const server = new Server(() => ($("ended").hidden = false), () => location.reload());

// Set when the documents of the result were read.
let samples = null;
let tracks = null;
let lanes = null;
let follow = null;
let summary = null;
let manifest = null;
let session = null; // what the server knows: { command, video_bytes }

// ---------------------------------------------------------------------------------------------------- messages

let ofFiles = false; // whether the message is about a file, which may be read later

function complain(error) {
  // A server that has ended is not an error of the result.
  if (error instanceof Unreachable) {
    server.check().then((answers) => answers && alarm(error, true));
  } else {
    alarm(error, false);
  }
}

function alarm(error, aboutFiles) {
  ofFiles = aboutFiles;
  $("alert").textContent = error.message ?? String(error);
  $("alert").hidden = false;
}

function failed(error) {
  if (error instanceof Unreachable) complain(error);
  else alarm(error, true);
}

function arrived() {
  if (ofFiles) $("alert").hidden = true;
  ofFiles = false;
}

// ---------------------------------------------------------------------------------------------------- the moment

const threshold = () => Number($("threshold").value);
const shows = ({ Confidence: confidence }) => !(confidence < threshold());
const frame = () => 1000 / (summary?.metadata.frame_rate || USUAL_FRAME_RATE); // milliseconds
const turn = () => Number($("turn").value); // degrees by which boxes are turned
const marked = ({ track }) => track !== null && track === follow?.id;

function aspect() {
  const { width, height } = playback.size ?? { width: summary?.metadata.frame_width, height: summary?.metadata.frame_height };
  return width / height || 16 / 9;
}

function draw() {
  const time = playback.shown;
  let faces = samples ? facesAt(time, samples, tracks, frame() / 2, aspect()) : [];
  faces = faces.filter(({ face }) => shows(face)).map((shown) => ({ ...shown, face: turned(shown.face, turn()) }));
  stage.draw(faces, { marked, labels: $("show-confidence").checked, landmarks: $("show-landmarks").checked });
  list.draw(faces, marked);
  $("none").hidden = faces.length > 0;
  const count = faces.length === 1 ? "1 face" : `${faces.length} faces`;
  $("now").textContent = `${clock(time)} · ${count}`;
  timeline.move(time, `${clock(time)}, ${count}`);
  lanes?.move(time);
  return faces;
}

// ---------------------------------------------------------------------------------------------------- following a track

function choose({ track, time }) {
  if (track === null) return goTo(time);
  followTrack(track === follow.id ? null : track);
}

function followTrack(id) {
  follow.set(id);
  showFollowed();
  lanes.reveal(id);
  draw();
  link();
}

function showFollowed() {
  $("followed").hidden = follow.id === null;
  if (follow.id !== null && $("followed-words").textContent !== follow.words) $("followed-words").textContent = follow.words;
  lanes.look({ followed: follow.id, dimmed: ({ confidence }) => confidence < threshold() });
}

// Follows the next (1) or the previous (-1) track among those that are shown in the lanes, and goes to its start.
function otherTrack(direction) {
  const ordered = lanes?.shown ?? [];
  if (ordered.length === 0) return;
  const now = playback.time;
  const index = ordered.findIndex(({ id }) => id === follow.id);
  let next = ordered[index + direction];
  if (index < 0) {
    const margin = samples.interval / 2; // milliseconds for which a box is shown before and after its track
    const here = ordered.find(({ first, last }) => first - margin <= now && last + margin >= now);
    next = here ?? (direction > 0 ? ordered.find(({ first }) => first > now) : ordered.findLast(({ last }) => last < now));
  }
  if (!next) return;
  followTrack(next.id);
  if (next.first > now || next.last + samples.interval / 2 < now) goTo(next.first);
}

// ---------------------------------------------------------------------------------------------------- moving

// Goes to a sample. Timestamps are rounded; one millisecond later, its frame is certainly on the screen.
const goTo = (time) => playback.seek(time + 1);

// Goes to the nearest sample with a face, or, if a track is followed, to its nearest detection.
async function step(direction) {
  if (!samples) return;
  const now = playback.time;
  const found = follow.id === null ? await samples.next(now, direction, shows) : await follow.next(now, direction);
  if (found !== null) goTo(found);
}

// Goes to the middle of the next or previous frame, where rounding does not lead to another one.
function stepFrame(direction) {
  playback.pause();
  const now = Math.floor(playback.time / frame() + 1e-3);
  playback.seek((Math.max(0, now + direction) + 0.5) * frame());
}

function changeRate(direction) {
  const index = RATES.indexOf(playback.rate) + direction;
  if (RATES[index]) setRate(RATES[index]);
}

function setRate(rate) {
  playback.rate = rate;
  $("rate").value = String(rate);
}

// ---------------------------------------------------------------------------------------------------- the link

let linking = null;

// Browsers refuse an address that changes too often.
function link() {
  clearTimeout(linking);
  linking = setTimeout(() => history.replaceState(null, "", writeLink(playback.time, follow?.id ?? null)), 200);
}

function openLink() {
  const { time, track } = readLink(location.hash);
  if (track !== null && tracks.exist) followTrack(track);
  if (time !== null) playback.seek(time);
}

async function copyLink() {
  const { href } = new URL(writeLink(playback.time, follow?.id ?? null), location.href);
  try {
    await navigator.clipboard.writeText(href);
    $("copy").textContent = "Copied";
  } catch {
    // Without the permission to write to the clipboard, the link can be copied from the address.
    history.replaceState(null, "", href);
    $("copy").textContent = "See the address";
  }
  setTimeout(() => ($("copy").textContent = "Copy link"), 2000);
}

// ---------------------------------------------------------------------------------------------------- sound and full screen

function showSound() {
  $("mute").textContent = video.muted ? "Sound on" : "Mute";
  $("volume").value = video.muted ? 0 : video.volume;
}

function toggleSound() {
  video.muted = !video.muted;
  if (!video.muted && video.volume === 0) video.volume = 1;
}

function toggleFullScreen() {
  if (!document.fullscreenEnabled) return;
  if (document.fullscreenElement) document.exitFullscreen();
  else $("screen").requestFullscreen().catch(complain);
}

// ---------------------------------------------------------------------------------------------------- keys

const actions = {
  " ": () => playback.toggle(),
  ArrowLeft: ({ shiftKey }) => playback.seek(playback.time - (shiftKey ? 10_000 : 1000)),
  ArrowRight: ({ shiftKey }) => playback.seek(playback.time + (shiftKey ? 10_000 : 1000)),
  Home: () => playback.seek(0),
  End: () => playback.seek(playback.duration),
  ",": () => stepFrame(-1),
  ".": () => stepFrame(1),
  "<": () => changeRate(-1),
  ">": () => changeRate(1),
  "[": () => step(-1).catch(complain),
  "]": () => step(1).catch(complain),
  t: () => otherTrack(1),
  T: () => otherTrack(-1),
  b: () => follow?.best != null && goTo(follow.best),
  Escape: () => follow?.id != null && followTrack(null),
  "+": () => lanes?.zoom(-1),
  "-": () => lanes?.zoom(1),
  m: toggleSound,
  f: toggleFullScreen,
  c: () => $("show-confidence").click(),
  l: () => $("show-landmarks").click(),
  "?": () => $("help").showModal(),
};
actions.p = actions["["];
actions.n = actions["]"];

document.addEventListener("keydown", (event) => {
  // AltGr, which some keyboards need for [ and ], is reported as Control and Alt together.
  if (event.metaKey || event.ctrlKey !== event.altKey || $("help").open) return;
  const { key, target } = event;
  // Space on a button or a checkbox activates that control, and the arrows move a slider.
  if (key === " " && target.closest("button, input, a, select, summary")) return;
  if (target.closest("select") && key !== "Escape") return;
  if (target.closest("input[type=range]") && /^(Arrow|Home|End|Page)/.test(key)) return;
  const action = actions[key];
  if (!action) return;
  event.preventDefault();
  action(event);
});

// ---------------------------------------------------------------------------------------------------- controls

const onClick = {
  play: () => playback.toggle(),
  previous: actions["["],
  next: actions["]"],
  "frame-back": actions[","],
  "frame-on": actions["."],
  mute: toggleSound,
  full: toggleFullScreen,
  copy: copyLink,
  "follow-best": actions.b,
  "follow-stop": () => followTrack(null),
  "help-button": () => $("help").showModal(),
  reload: () => location.reload(),
};
for (const [id, action] of Object.entries(onClick)) $(id).addEventListener("click", action);
for (const id of ["show-confidence", "show-landmarks", "turn"]) $(id).addEventListener("change", draw);
$("threshold").addEventListener("input", () => {
  $("threshold-value").textContent = `${threshold()} %`;
  draw();
  if (follow) showFollowed();
});
$("rate").addEventListener("change", () => {
  setRate(Number($("rate").value));
  $("rate").blur();
});
$("volume").addEventListener("input", () => {
  video.volume = Number($("volume").value);
  video.muted = video.volume === 0;
});
$("full").hidden = !document.fullscreenEnabled;
document.addEventListener("fullscreenchange", () => {
  $("full").textContent = document.fullscreenElement ? "Leave full screen" : "Full screen";
});
video.addEventListener("volumechange", showSound);
addEventListener("hashchange", () => tracks && openLink());

// ---------------------------------------------------------------------------------------------------- the player's events

playback.addEventListener("frame", draw);
playback.addEventListener("settled", link);
playback.addEventListener("refused", ({ detail }) => complain(detail));
playback.addEventListener("state", () => ($("play").textContent = playback.paused ? "Play" : "Pause"));
playback.addEventListener("duration", () => {
  timeline.draw(summary?.timeline ?? [], playback.duration);
  if (lanes) lanes.duration = playback.duration;
  compare();
  draw();
});
// Without an edit list, results count from the first frame, and some browsers from the time that the file states for it.
playback.addEventListener("late", ({ detail: first }) => {
  if (samples?.first != null && playback.shift === 0 && samples.first < first - frame() / 2) playback.shift = first;
});
playback.addEventListener("unplayable", ({ detail }) => showUnplayable(detail));
video.addEventListener("error", async () => {
  const { message } = video.error ?? {};
  // The player reports the same error if the server has ended, and if it cannot read the video.
  if (!(await server.check())) return;
  const problem = await get("video", { headers: { Range: "bytes=0-0" } }).then(() => null, (error) => error);
  playback.useClock({ reason: message ?? "", problem });
});

function showUnplayable({ reason, problem }) {
  $("no-picture").hidden = false;
  for (const id of ["mute", "volume"]) $(id).disabled = playback.usesClock;
  // The name of the codec is in the summary, which may not be read yet.
  if (!summary) whenKnown.push(() => showUnplayable({ reason, problem }));
  else complain(new Error(problem ? unreadable(problem) : unplayable(summary.metadata, reason)));
}
const whenKnown = [];

// Shows whether this is the video that was analysed, and whether its picture is turned.
function compare() {
  if (!summary) return;
  const { metadata } = summary;
  const { size } = playback;
  if (video.readyState > 0 && !playback.usesClock && !size) showUnplayable({ reason: "only its sound can be played", problem: null });
  stage.shape(size ?? { width: metadata.frame_width || 16, height: metadata.frame_height || 9 });
  const bytes = session?.video_bytes ?? null;
  const range = samples.first === null ? null : [samples.first, samples.last];
  const found = differences(summary, { bytes, size, length: playback.playableLength, range });
  const sameBytes = bytes !== null && bytes === summary.video.bytes;
  const alike = bytes !== null && !sameBytes && size !== null && playback.playableLength !== null;
  const text = mismatch(found, sameBytes, alike, summary.video.key);
  $("mismatch").hidden = !text;
  if (text && $("mismatch").textContent !== text) $("mismatch").textContent = text;
  if (isTurned(size, metadata) && $("turned").hidden) {
    $("turned").hidden = false;
    guessTurn();
  }
}

// Chooses how boxes are turned: the faces of the first page are upright then.
async function guessTurn() {
  const { first } = samples;
  if (first === null) return;
  const next = await samples.next(first - 1000, 1, () => true).catch(() => null);
  if (next === null) return;
  const faces = samples.between(first, first + 60_000).flatMap((sample) => sample.faces.map(({ face }) => face));
  const { frame_width: width, frame_height: height } = summary.metadata;
  $("turn").value = String(uprightTurn(faces, width / height) ?? 0);
  draw();
}

// ---------------------------------------------------------------------------------------------------- start

async function start() {
  const read = async (name) => (await get(name)).json();
  [manifest, summary] = await Promise.all(["manifest.json", "summary.json"].map(read));
  const redraw = () => {
    arrived();
    draw();
  };
  samples = new Samples(manifest.pages, redraw, failed);
  tracks = new Tracks(manifest.tracks, () => {
    follow.collect();
    lanes.layOut();
    showFollowed();
    redraw();
  }, failed);
  follow = new Follow(tracks);
  const part = {
    section: $("tracks"), box: $("lanes"), canvas: $("lanes-canvas"), playhead: $("lanes-playhead"), axis: $("lanes-axis"),
    tip: $("tip"), words: $("lanes-words"), closer: $("closer"), farther: $("farther"),
  };
  lanes = new Lanes(part, tracks, {
    chosen: ({ id }, time) => {
      if (id !== follow.id) followTrack(id);
      playback.seek(time);
    },
    seek: (time) => playback.seek(time),
    moved: (from, to) => timeline.mark(from, to),
  });

  const { key } = summary.video;
  document.title = `Faces in ${key.split("/").at(-1)}`;
  $("facts").textContent = factsOf(summary);
  for (const [name, fact] of [["Execution", manifest.execution_arn], ["Rekognition job", manifest.job.job_id]]) {
    const [term, description] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    description.textContent = fact;
    $("made").append(term, description);
  }
  for (const known of whenKnown.splice(0)) known();
  const { time, track } = readLink(location.hash);
  // One millisecond after the timestamp of the first face, which is rounded, its frame is certainly on the screen.
  playback.begin(time ?? (samples.first === null ? 0 : samples.first + 1));
  playback.length = summary.metadata.duration_ms ?? (samples.last ?? 0) + 500;
  if (track !== null && tracks.exist) followTrack(track);
  $("title").textContent = key;

  session = await read("session.json");
  $("command").textContent = session.command;
  compare();
}

function factsOf({ faces, frames_with_faces: moments, most_faces: most, tracks: count }) {
  if (!faces) return "No faces were found.";
  const tracks = typeof count === "number" ? `, ${count.toLocaleString("en")} ${count === 1 ? "track" : "tracks"}` : "";
  return (
    `${faces.toLocaleString("en")} faces in ${moments.toLocaleString("en")} moments${tracks}; ` +
    `at most ${most.faces} at the same time, at ${clock(most.timestamp_ms)}`
  );
}

showSound();
// Set after all listeners are registered, so that no event of the player is missed.
video.src = "video";
start().catch(complain);
