// The faces at a moment. At a sample they are Rekognition's; between two samples their boxes are estimated.
//
// A face is { track (id, or null), kind, time (of the nearest detection), face (as in the page) }. Its kind is
// "detected":      Rekognition found it in this frame;
// "interpolated":  between two detections of one face;
// "extrapolated":  just before the first or after the last detection of a face.

import { detectionAt } from "./tracks.js";

/**
 * The faces at a time in milliseconds. `tolerance` is half the time of a frame: a detection so near is in the frame that is shown.
 * `aspect` is the width of the picture divided by its height.
 *
 * Boxes that stay until the next sample would lag: in every third frame of the sample clip, boxes along the tracks match 92 % of the
 * faces, and boxes that stay match 47 %.
 */
export function facesAt(time, samples, tracks, tolerance, aspect) {
  samples.readAhead(time);
  tracks.readAhead(time);
  const reach = samples.interval * 1.5;
  const near = samples.between(time - reach, time + reach);
  const parts = tracks.exist ? tracks.near(time) : null;
  return parts ? alongTracks(time, parts, near, samples, tolerance) : byMatching(time, near, samples.interval, tolerance, aspect);
}

function alongTracks(time, parts, near, samples, tolerance) {
  const tracks = new Map(); // id → the detections before and after the time, which can be in two parts of one track
  for (const part of parts) {
    const index = detectionAt(part, time + tolerance);
    const around = tracks.get(part.id) ?? { before: null, after: null, beyond: null };
    const before = detection(part, index);
    const after = detection(part, index + 1);
    if (before && !(around.before?.time > before.time)) around.before = before;
    if (after && !(around.after?.time < after.time)) around.after = after;
    around.beyond ??= before ? detection(part, index - 1) : detection(part, index + 2);
    tracks.set(part.id, around);
  }
  const faces = [];
  const shown = new Set(); // the lines of the faces that are detected now
  for (const [track, { before, after, beyond }] of tracks) {
    if (before && Math.abs(time - before.time) <= tolerance) {
      shown.add(before.line);
      faces.push({ track, kind: "detected", time: before.time, face: faceOf(before, samples) });
    } else if (before && after) {
      const share = (time - before.time) / (after.time - before.time);
      const face = between(faceOf(before, samples), faceOf(after, samples), share);
      faces.push({ track, kind: "interpolated", time: share <= 0.5 ? before.time : after.time, face });
    } else {
      const only = before ?? after;
      if (only && Math.abs(time - only.time) <= samples.interval / 2) {
        faces.push({ track, kind: "extrapolated", time: only.time, face: extrapolated(only, beyond, time, samples) });
      }
    }
  }
  faces.sort((one, two) => one.track - two.track);
  // A face without a box, or with an empty one, is in no track.
  for (const sample of near.filter((sample) => Math.abs(sample.time - time) <= tolerance)) {
    for (const { line, face } of sample.faces) {
      if (!shown.has(line)) faces.push({ track: null, kind: "detected", time: sample.time, face });
    }
  }
  return faces;
}

function detection(part, index) {
  if (index < 0 || index >= part.times.length) return null;
  const [Left, Top, Width, Height] = part.boxes.subarray(index * 4, index * 4 + 4);
  return { time: part.times[index], line: part.lines[index], box: { Left, Top, Width, Height } };
}

// A face next to the end of its track moves on as it has moved between its last two detections, and keeps its confidence.
function extrapolated(end, beyond, time, samples) {
  const face = faceOf(end, samples);
  if (!beyond) return face;
  const share = Math.min((time - end.time) / (end.time - beyond.time), 0.5);
  return { ...between(faceOf(beyond, samples), face, 1 + share), Confidence: face.Confidence };
}

// The track has the box; the page has everything else.
const faceOf = ({ line, box }, samples) => samples.face(line) ?? { BoundingBox: box };

// For results without tracks, and until the tracks are read. A face in only one of two samples is shown up to the middle. There are
// no samples without faces, so two samples with a longer gap than usual are not interpolated.
function byMatching(time, samples, interval, tolerance, aspect) {
  const shown = (kind, sample) => ({ face }) => ({ track: null, kind, time: sample.time, face });
  const now = samples.find((sample) => Math.abs(sample.time - time) <= tolerance);
  if (now) return now.faces.map(shown("detected", now));
  const before = samples.findLast((sample) => sample.time <= time);
  const after = samples.find((sample) => sample.time > time);
  if (!before || !after || after.time - before.time > interval * 1.5) {
    const sample = [before, after].find((sample) => sample && Math.abs(sample.time - time) <= interval / 2);
    return sample ? sample.faces.map(shown("extrapolated", sample)) : [];
  }
  const share = (time - before.time) / (after.time - before.time);
  const { pairs, left, right } = match(before.faces, after.faces, aspect);
  const nearer = share <= 0.5 ? before : after;
  return [
    ...pairs.map(([one, two]) => ({ track: null, kind: "interpolated", time: nearer.time, face: between(one.face, two.face, share) })),
    ...[...(share <= 0.5 ? left : right)].map(shown("extrapolated", nearer)),
  ];
}

// Pairs the faces of two samples, nearest first. Faces that are far apart, or differ in size, are not paired.
function match(before, after, aspect) {
  const candidates = before.flatMap((a) => after.flatMap((b) => {
    const [one, two] = [a.face.BoundingBox, b.face.BoundingBox];
    if (!one || !two) return [];
    const across = (one.Left + one.Width / 2 - two.Left - two.Width / 2) * aspect;
    const down = one.Top + one.Height / 2 - two.Top - two.Height / 2;
    const scale = Math.max(one.Height, two.Height) / Math.min(one.Height, two.Height);
    return [{ a, b, far: Math.hypot(across, down) / Math.max(one.Height, two.Height), scale }];
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
  const nearer = share <= 0.5 ? a : b;
  const known = typeof a.Confidence === "number" && typeof b.Confidence === "number";
  return { ...nearer, BoundingBox: box, Landmarks: landmarks, Confidence: known ? mix(a.Confidence, b.Confidence) : nearer.Confidence };
}

/**
 * A face whose box refers to the stored frame, as it is displayed: turned clockwise by 0, 90, 180 or 270 degrees.
 */
export function turned(face, degrees) {
  const point = {
    0: (x, y) => [x, y],
    90: (x, y) => [1 - y, x],
    180: (x, y) => [1 - x, 1 - y],
    270: (x, y) => [y, 1 - x],
  }[degrees];
  if (!degrees) return face;
  const result = { ...face };
  if (face.BoundingBox) {
    const { Left, Top, Width, Height } = face.BoundingBox;
    const [[x1, y1], [x2, y2]] = [point(Left, Top), point(Left + Width, Top + Height)];
    result.BoundingBox = { Left: Math.min(x1, x2), Top: Math.min(y1, y2), Width: Math.abs(x2 - x1), Height: Math.abs(y2 - y1) };
  }
  result.Landmarks = (face.Landmarks ?? []).map((landmark) => {
    const [X, Y] = point(landmark.X, landmark.Y);
    return { ...landmark, X, Y };
  });
  return result;
}

/**
 * By how many degrees the frame must be turned clockwise so that most of these faces are upright: from the eyes down to the mouth.
 * `aspect` is the width of the stored frame divided by its height. null, if no face has these landmarks.
 */
export function uprightTurn(faces, aspect) {
  const votes = new Map();
  for (const { Landmarks: landmarks = [] } of faces) {
    const place = (...types) => {
      const found = landmarks.filter(({ Type }) => types.includes(Type));
      if (found.length !== types.length) return null;
      const mean = (axis) => found.reduce((sum, landmark) => sum + landmark[axis], 0) / found.length;
      return [mean("X") * aspect, mean("Y")];
    };
    const [eyes, mouth] = [place("eyeLeft", "eyeRight"), place("mouthLeft", "mouthRight")];
    if (!eyes || !mouth) continue;
    const [across, down] = [mouth[0] - eyes[0], mouth[1] - eyes[1]];
    // A mouth on the right of the eyes is below them after a quarter turn clockwise.
    const turn = Math.abs(down) >= Math.abs(across) ? (down >= 0 ? 0 : 180) : across > 0 ? 90 : 270;
    votes.set(turn, (votes.get(turn) ?? 0) + 1);
  }
  return [...votes].sort((one, two) => two[1] - one[1])[0]?.[0] ?? null;
}
