// Tests that the WebVTT of `facereel export` plays beside the sample clip, in a real Chromium.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";
import { launch, results, serve } from "./browser.mjs";

const lines = async (name) => (await readFile(new URL(name, results), "utf8")).trim().split("\n").map((line) => JSON.parse(line));
const exported = (of) => execFileSync(process.env.FACEREEL, ["export", fileURLToPath(results), "--to", "vtt", "--of", of]);

let browser, served;
before(async () => ([browser, served] = await Promise.all([launch(), serve()])));
after(() => Promise.all([browser?.close(), served?.stop()]));

test("the cues are active while the faces are on the screen", async () => {
  const page = await browser.newPage();
  const player = `<video src="video" muted></video><script>
    for (const of of ["tracks", "detections"]) {
      const track = document.createElement("track");
      Object.assign(track, { kind: of === "tracks" ? "subtitles" : "metadata", src: of + ".vtt" });
      document.querySelector("video").append(track);
      track.track.mode = "showing";
    }
  </script>`;
  // The video, with its ranges, comes from `facereel view`.
  const result = new URL("results/0/", served.url);
  for (const [name, contentType, body] of [
    ["player", "text/html", player],
    ["tracks.vtt", "text/vtt", exported("tracks")],
    ["detections.vtt", "text/vtt", exported("detections")],
  ]) {
    await page.route(new URL(name, result).href, (route) => route.fulfill({ contentType, body }));
  }
  await page.goto(new URL("player", result).href);
  await page.waitForFunction(() => document.querySelector("video").readyState >= 2);
  await page.waitForFunction(() => [...document.querySelectorAll("track")].every((track) => track.readyState === HTMLTrackElement.LOADED));

  const tracks = await lines("tracks/00000.jsonl");
  const faces = await lines("faces/00000.jsonl");
  assert.ok(tracks.length > 1 && faces.length > 10);
  const counts = await page.evaluate(() => [...document.querySelector("video").textTracks].map(({ cues }) => cues.length));
  assert.deepEqual(counts, [tracks.length, new Set(faces.map(({ Timestamp }) => Timestamp)).size]);

  for (let ms = 300; ms < 12_000; ms += 500) {
    const expected = tracks.filter(({ first_ms, last_ms }) => first_ms <= ms && ms < last_ms + 500).map(({ id }) => `track-${id}`);
    await page.evaluate((seconds) => (document.querySelector("video").currentTime = seconds), ms / 1000);
    // The browser updates the active cues soon after the seek.
    const active = (ids) => {
      const video = document.querySelector("video");
      const shown = [...video.textTracks[0].activeCues].map(({ id }) => id).sort();
      return !video.seeking && JSON.stringify(shown) === ids;
    };
    await page.waitForFunction(active, JSON.stringify(expected.sort()), { timeout: 5000 }).catch(() => assert.fail(`at ${ms} ms the cues are not ${expected}`));
    const data = await page.evaluate(() => [...document.querySelector("video").textTracks[1].activeCues].map(({ text }) => ({ text })));
    assert.equal(data.length > 0, faces.some(({ Timestamp }) => Timestamp <= ms && ms < Timestamp + 500), `at ${ms} ms`);
    for (const { text } of data) {
      const { timestamp_ms, faces: drawn } = JSON.parse(text);
      assert.ok(timestamp_ms <= ms && ms < timestamp_ms + 500, `${timestamp_ms} is active at ${ms} ms`);
      const boxes = faces.filter(({ Timestamp }) => Timestamp === timestamp_ms).map(({ Face: { BoundingBox: box } }) => [box.Left, box.Top, box.Width, box.Height]);
      assert.deepEqual(drawn.map(({ box }) => box), boxes);
    }
  }
  await page.close();
});
