// Reads exported WebVTT with webvtt-parser, which reports every violation of the specification, and compares the cues with
// expected.json, which check.py writes: for each file its kind and its cues.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import parser from "webvtt-parser";

const folder = new URL("out/", import.meta.url);
const expected = JSON.parse(await readFile(new URL("expected.json", folder), "utf8"));
for (const { file, kind, cues } of expected) {
  const text = await readFile(new URL(file, folder), "utf8");
  const { cues: read, errors } = new parser.WebVTTParser().parse(text, kind);
  assert.deepEqual(errors, [], file);
  // Times in milliseconds; a metadata cue is the JSON that a script reads.
  const content = (cue) => (kind === "metadata" ? JSON.parse(cue.text) : cue.text);
  const times = (cue) => [cue.startTime, cue.endTime].map((seconds) => Math.round(seconds * 1000));
  // The parser checks that the cues are in order, and then sorts those that start together as a browser does: the longest first.
  cues.sort((one, other) => one[1] - other[1] || other[2] - one[2]);
  assert.deepEqual(read.map((cue) => [cue.id, ...times(cue), content(cue)]), cues, file);
}
console.log(`WebVTT: ${expected.length} files, ${expected.reduce((sum, { cues }) => sum + cues.length, 0)} cues`);
