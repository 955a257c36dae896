// Tests of the player of `facereel view`, in a real Chromium: with the sample clip, and with small results that are made here.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, open, results, root, serve } from "./browser.mjs";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const videos = `${root}/tests/fixtures/videos`;
const sample = `${root}/tests/fixtures/sample-clip/sample.mp4`;
const FRAME = 40; // milliseconds a frame of the sample clip

let browser;
before(async () => (browser = await launch()));
const servers = []; // of the tests, which are stopped here too if a test fails
after(async () => {
  await browser?.close();
  for (const served of servers) await served.stop();
});

/// The violations that axe finds, of serious or critical impact.
async function violationsOf(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  return serious.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(" ")}`);
}

/// Waits until the page has read the result and shows a frame of the video.
async function ready(page) {
  await page.waitForFunction(() => document.getElementById("title").textContent !== "facereel");
  await page.waitForFunction(() => video.readyState >= 2 && !video.seeking);
}

const at = (page) => page.evaluate(() => Math.round(video.currentTime * 1000));
/// Waits until the page shows a time and what follows it.
const shows = (page, text) => page.waitForFunction((text) => document.getElementById("now").textContent.startsWith(text), text);
/// Waits until the video is at a time, to a millisecond or two.
const arrive = (page, time, within = 3) =>
  page.waitForFunction(([time, within]) => !video.seeking && Math.abs(video.currentTime * 1000 - time) <= within, [time, within]);

/// Goes to a time with the page's own means, and waits for the frame.
async function go(page, time) {
  await page.evaluate(
    (time) =>
      new Promise((resolve) => {
        video.requestVideoFrameCallback(() => requestAnimationFrame(resolve));
        // A frame that is on the screen already is not reported again.
        video.addEventListener("seeked", () => setTimeout(resolve, 250), { once: true });
        video.currentTime = time / 1000;
      }),
    time,
  );
}

/// The boxes in percent of the stage, with their classes.
const boxes = (page) =>
  page.locator(".face").evaluateAll((faces) =>
    faces.map(({ style, className }) => ({
      left: parseFloat(style.left), top: parseFloat(style.top), width: parseFloat(style.width), height: parseFloat(style.height), className,
    })),
  );

// ---------------------------------------------------------------------------------------------------- small results

/// A line of a page.
const line = (Timestamp, [Left, Top, Width, Height], Confidence = 90, more = {}) => ({
  Timestamp,
  Face: { BoundingBox: { Left, Top, Width, Height }, Confidence, ...more },
});

/// The track of some lines of the pages, which are given by their numbers.
function trackOf(id, lines, numbers) {
  const chosen = numbers.map((number) => lines[number]);
  const boxOf = ({ Face: { BoundingBox: box } }) => [box.Left, box.Top, box.Width, box.Height];
  const times = chosen.map(({ Timestamp }) => Timestamp);
  return {
    id, part: 0, continues: false, first_ms: times[0], last_ms: times.at(-1), detections: times.length,
    mean_confidence: chosen.reduce((sum, { Face }) => sum + Face.Confidence, 0) / chosen.length,
    best: { timestamp_ms: times[0], face: numbers[0], box: boxOf(chosen[0]) },
    timestamps_ms: times, faces: numbers, boxes: chosen.map(boxOf),
  };
}

/// Writes a result of a video with these lines, and these files with tracks unless they are undefined. Returns its folder.
async function make(name, { video, bytes, metadata, lines, tracks: files }) {
  const folder = new URL(`made/${name}/`, import.meta.url);
  await rm(folder, { recursive: true, force: true });
  for (const kind of ["faces", "tracks"]) await mkdir(new URL(`${kind}/`, folder), { recursive: true });
  const about = {
    video: { bucket: "uploads", key: video.split("/").at(-1), etag: "e", bytes: bytes ?? (await stat(video)).size },
    job: { job_id: "j", idempotency_key: "t", attempt: 0, face_attributes: "DEFAULT" },
  };
  const times = lines.map(({ Timestamp }) => Timestamp);
  const bounds = (times) => ({ first_ms: times[0] ?? null, last_ms: times.at(-1) ?? null });
  const file = (name) => ({ key: `results/k/t/${name}`, bytes: 1 });
  const manifest = {
    ...about, execution_arn: "arn", faces: lines.length, summary: file("summary.json"), report: file("report.html"),
    pages: [{ ...file("faces/00000.jsonl"), faces: lines.length, ...bounds(times) }],
    tracks: files?.map((tracks, index) => ({
      ...file(`tracks/0000${index}.jsonl`), lines: tracks.length,
      first_ms: Math.min(...tracks.map((track) => track.first_ms)), last_ms: Math.max(...tracks.map((track) => track.last_ms)),
    })),
  };
  const moments = [...new Set(times)];
  const summary = {
    ...about, metadata, faces: lines.length, tracks: files?.flat().length, frames_with_faces: moments.length,
    most_faces: { faces: 1, timestamp_ms: times[0] },
    timeline: [...new Set(times.map((time) => Math.floor(time / 1000)))].map((second) => ({ second, faces: 1, frames: 1, most_faces: 1, mean_confidence: 90 })),
  };
  const jsonl = (values) => values.map((value) => `${JSON.stringify(value)}\n`).join("");
  for (const [name, text] of Object.entries({
    "manifest.json": JSON.stringify(manifest), "summary.json": JSON.stringify(summary), "report.html": "<!doctype html>",
    "faces/00000.jsonl": jsonl(lines), ...Object.fromEntries((files ?? []).map((tracks, index) => [`tracks/0000${index}.jsonl`, jsonl(tracks)])),
  })) await writeFile(new URL(name, folder), text);
  return folder;
}

const usual = { codec: "h264", duration_ms: 12_000, frame_rate: 25, frame_width: 1280, frame_height: 720 };

// Two faces of the same size that have crossed after half a second: each is then where the other was.
const crossing = [
  line(1000, [0.4, 0.3, 0.1, 0.2], 60), line(1000, [0.5, 0.3, 0.1, 0.2], 95),
  line(1520, [0.41, 0.3, 0.1, 0.2], 95), line(1520, [0.49, 0.3, 0.1, 0.2], 60),
];
const crossed = [[trackOf(0, crossing, [0, 3]), trackOf(1, crossing, [1, 2])]];

/// Serves a result, and opens its page.
async function view(folder, video, options) {
  const served = await serve(folder, video);
  servers.push(served);
  const opened = await open(browser, served.url, options);
  return { ...opened, served, close: async () => (await opened.page.context().close(), await served.stop()) };
}

// ---------------------------------------------------------------------------------------------------- the sample clip

describe("the player", () => {
  let served;
  let first; // the time of the first face
  before(async () => {
    served = await serve();
    first = JSON.parse(await readFile(new URL("manifest.json", results), "utf8")).pages[0].first_ms;
  });
  after(() => served?.stop());

  async function openView(hash = "", options = {}) {
    const opened = await open(browser, served.url + hash, options);
    await ready(opened.page);
    return opened;
  }

  test("opens at the first face, muted, or at the time of the link", async () => {
    const { page, problems } = await openView();
    await arrive(page, first + 1);
    await page.locator(".face.detected").waitFor();
    assert.equal(await page.evaluate(() => video.muted && video.paused), true);
    await page.evaluate(() => (location.hash = "#t=6.2"));
    await arrive(page, 6200);
    await page.evaluate(() => (location.hash = "#t=0:08.5&track=2"));
    await arrive(page, 8500);
    assert.match(await page.locator("#followed-words").textContent(), /^Track 2: from 0:06\.0 to/);
    assert.deepEqual(problems, []);
    await page.context().close();

    const linked = await openView("#t=10.2");
    await arrive(linked.page, 10_200);
    await linked.page.context().close();
  });

  test("the address names the time when the video is paused or sought, and can be copied", async () => {
    const { page } = await openView("", { permissions: ["clipboard-read", "clipboard-write"] });
    await go(page, 3000);
    await page.waitForFunction(() => location.hash === "#t=3");
    await page.keyboard.press("Space");
    await page.waitForFunction(() => video.currentTime > 3.2);
    await page.keyboard.press("Space");
    const now = await at(page);
    await page.waitForFunction((now) => Math.abs(Number(location.hash.slice(3)) * 1000 - now) < 2, now);
    await page.keyboard.press("t");
    await page.locator("#copy").click();
    await page.locator("#copy", { hasText: "Copied" }).waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(copied, new RegExp(`^${served.url}results/0/#t=[0-9.]+&track=\\d$`));
    await page.context().close();
  });

  test("the keys of sound, speed, frames and full screen have the documented effects", async () => {
    const { page, problems } = await openView("#t=6.001");
    const state = (name) => page.evaluate((name) => video[name], name);
    await page.keyboard.press("m");
    assert.equal(await state("muted"), false);
    assert.equal(await page.locator("#mute").textContent(), "Mute");
    await page.locator("#volume").focus();
    await page.keyboard.press("Home");
    assert.equal(await state("muted"), true);
    await page.keyboard.press("ArrowRight");
    assert.deepEqual([await state("muted"), await state("volume")], [false, 0.05]);
    assert.ok(Math.abs((await at(page)) - 6001) < 2, "an arrow on the volume has moved the video");
    await page.locator("#volume").blur();

    for (const [key, rate] of [[">", 1.5], [">", 2], ["<", 1.5], ["<", 1], ["<", 0.5]]) {
      await page.keyboard.press(key);
      assert.equal(await state("playbackRate"), rate);
    }
    await page.locator("#rate").selectOption("4");
    assert.equal(await state("playbackRate"), 4);

    await go(page, 6001);
    for (const [key, frame] of [[".", 151], [".", 152], [",", 151], [",", 150], [",", 149]]) {
      await page.keyboard.press(key);
      await arrive(page, (frame + 0.5) * FRAME);
      await shows(page, `0:0${(Math.floor((frame * FRAME) / 100) / 10).toFixed(1)}`);
    }

    await page.keyboard.press("f");
    await page.waitForFunction(() => document.fullscreenElement?.id === "screen");
    await page.locator("#full", { hasText: "Leave full screen" }).waitFor();
    await go(page, 6001);
    // The stage has the shape of the picture, so the boxes are on the faces there too.
    const { width, height } = await page.locator("#stage").boundingBox();
    assert.ok(Math.abs(width / height - 16 / 9) < 0.01, `${width} × ${height}`);
    assert.equal((await boxes(page)).length, 3);
    assert.ok(await page.locator("#play").isVisible());
    await page.keyboard.press("f");
    await page.waitForFunction(() => !document.fullscreenElement);
    assert.deepEqual(problems, []);
    await page.context().close();
  });

  test("an axis marks the times, and the pointer shows the time and the faces", async () => {
    const { page } = await openView();
    const ticks = await page.locator("#axis span").allTextContents();
    assert.deepEqual([ticks[0], ticks.at(-1)], ["0:00", "0:12"]);
    assert.ok(ticks.length >= 5 && ticks.length <= 13, ticks.join());
    const { x, y, width, height } = await page.locator("#timeline").boundingBox();
    await page.mouse.move(x + (width * 6.5) / 12, y + height / 2);
    assert.match(await page.locator("#tip").textContent(), /^0:06\.[45] · up to 3 faces$/);
    await page.mouse.move(x + (width * 5) / 12, y + height / 2);
    assert.match(await page.locator("#tip").textContent(), /· no face$/);
    await page.mouse.move(x, y - 100);
    assert.equal(await page.locator("#tip").isVisible(), false);
    await page.context().close();
  });

  /// The middle of a track's lane on the screen.
  async function lane(page, id) {
    const tracks = (await readFile(new URL("tracks/00000.jsonl", results), "utf8")).trim().split("\n").map((line) => JSON.parse(line));
    const { first_ms: from, last_ms: to } = tracks.find((track) => track.id === id);
    const { x, y, width, height } = await page.locator("#lanes-canvas").boundingBox();
    const middle = x + (width * (from + to)) / 2 / 12_000;
    for (let across = y + 5; across < y + height; across += 10) {
      await page.mouse.move(middle, across);
      if ((await page.locator("#tip").textContent()).startsWith(`Track ${id}:`)) return { x: middle, y: across, time: (from + to) / 2 };
    }
    throw new Error(`there is no lane of track ${id}`);
  }

  test("a click on a lane follows its track: box, list, previous and next", async () => {
    const { page, problems } = await openView();
    assert.equal(await page.locator("#lanes-words").textContent(), "6 tracks");
    const { x, y, time } = await lane(page, 3);
    await page.mouse.click(x, y);
    await arrive(page, time, 15);
    assert.equal(await page.locator(".face.followed").count(), 1);
    assert.match(await page.locator('#list button[aria-pressed="true"]').textContent(), /^Track 3,/);
    assert.equal(await page.locator("#followed-words").textContent(), "Track 3: from 0:06.0 to 0:09.5, 8 detections, mean confidence 90.6 %");

    // Between its detections the box stays marked, and the steps are those of the track.
    await go(page, 9250);
    assert.equal(await page.locator(".face.followed.interpolated").count(), 1);
    await page.keyboard.press("]");
    await arrive(page, 9521);
    await page.keyboard.press("]");
    await page.waitForTimeout(100);
    assert.equal(await at(page), 9521, "the last detection of the track is not the last step");
    await page.keyboard.press("[");
    await arrive(page, 9001);
    await page.keyboard.press("b");
    await arrive(page, 8001);

    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#followed").isVisible(), false);
    assert.equal(await page.locator(".followed.face").count(), 0);
    await go(page, 9521);
    await page.keyboard.press("]");
    await arrive(page, 10_001);

    // Track by track, with the keyboard.
    await page.keyboard.press("Home");
    for (const id of [0, 1, 2]) {
      await page.keyboard.press("t");
      assert.match(await page.locator("#followed-words").textContent(), new RegExp(`^Track ${id}:`));
    }
    await page.keyboard.press("T");
    assert.match(await page.locator("#followed-words").textContent(), /^Track 1:/);
    assert.deepEqual(problems, []);
    await page.context().close();
  });

  test("a click on a box or on an entry of the list follows its track, and elsewhere it plays", async () => {
    const { page } = await openView("#t=7.001");
    await page.waitForFunction(() => document.querySelectorAll(".face").length === 3);
    await page.locator(".face").nth(2).click();
    assert.match(await page.locator("#followed-words").textContent(), /^Track 4:/);
    assert.equal(await page.evaluate(() => video.paused), true);
    await page.locator("#list button").nth(0).click();
    assert.match(await page.locator("#followed-words").textContent(), /^Track 2:/);
    await page.locator("#list button").nth(0).click();
    assert.equal(await page.locator("#followed").isVisible(), false);
    await page.locator("#stage").click({ position: { x: 5, y: 5 } });
    await page.waitForFunction(() => !video.paused);
    await page.context().close();
  });

  test("the threshold hides faces of less confidence, in the boxes and in the list", async () => {
    const { page } = await openView("#t=7.001");
    await page.waitForFunction(() => document.querySelectorAll(".face").length === 3);
    const confidences = (await page.locator(".face span").allTextContents()).map(parseFloat);
    const middle = Math.ceil(confidences.toSorted((one, two) => one - two)[0]);
    await page.locator("#threshold").fill(String(middle));
    const left = confidences.filter((confidence) => confidence >= middle);
    assert.ok(left.length < 3);
    assert.equal(await page.locator(".face").count(), left.length);
    assert.equal(await page.locator("#list li").count(), left.length);
    assert.equal(await page.locator("#threshold-value").textContent(), `${middle} %`);
    await page.locator("#threshold").fill("100");
    assert.ok(await page.getByText("No face.").isVisible());
    await page.context().close();
  });

  for (const colorScheme of ["light", "dark"]) {
    test(`is accessible with a followed track, ${colorScheme}, and fits on a phone`, async () => {
      const { page } = await openView("#t=6.2&track=3", { colorScheme });
      await page.locator(".face.followed").waitFor();
      assert.deepEqual(await violationsOf(page), []);
      await page.setViewportSize({ width: 360, height: 740 });
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
      await page.locator("#turned, #mismatch, #ended").evaluateAll((messages) => messages.forEach((message) => (message.hidden = false)));
      assert.deepEqual(await violationsOf(page), []);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
      await page.context().close();
    });
  }

  test("the end of the server is shown with the command that starts it again, and the page continues after that", async () => {
    const folder = await make("short", { video: sample, metadata: usual, lines: crossing, tracks: crossed });
    const { page, served, close } = await view(folder, sample);
    await ready(page);
    await page.waitForFunction(() => document.getElementById("command").textContent.includes("--port"));
    await go(page, 1520);
    await served.stop();
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await page.getByText("has ended").waitFor();
    const command = await page.locator("#command").textContent();
    const port = new URL(served.url).port;
    assert.ok(command.includes(`view --no-open --port ${port} ${fileURLToPath(folder)} ${sample}`), command);
    // What can no longer be loaded is not reported as an error of the result.
    await page.evaluate(() => video.dispatchEvent(new Event("error")));
    await page.waitForTimeout(700);
    assert.equal(await page.locator("#alert").isVisible(), false);
    assert.equal(await page.locator("#no-picture").isVisible(), false);

    const again = spawn("sh", ["-c", `exec ${command}`], { stdio: "ignore" });
    const ended = once(again, "exit");
    try {
      await page.waitForFunction(
        () => {
          // The page asks now instead of in three seconds.
          document.dispatchEvent(new Event("visibilitychange"));
          return document.getElementById("ended").hidden && video.readyState >= 2;
        },
        null,
        { timeout: 15_000, polling: 100 },
      );
    } finally {
      again.kill();
      await ended;
    }
    await close();
  });
});

// ---------------------------------------------------------------------------------------------------- small results

describe("boxes between the samples", () => {
  test("follow the tracks, and are marked as interpolated", async () => {
    const folder = await make("crossing", { video: sample, metadata: usual, lines: crossing, tracks: crossed });
    const { page, close, problems } = await view(folder, sample);
    await ready(page);
    await page.waitForFunction(() => document.querySelectorAll(".face.detected").length === 2);
    const style = (selector) => page.locator(selector).first().evaluate((face) => getComputedStyle(face).borderTopStyle);
    assert.equal(await style(".face"), "solid");
    await go(page, 1260);
    // Half way: without the tracks, each face would stay near its place.
    const shown = await boxes(page);
    assert.deepEqual(shown.map(({ className }) => className), ["face interpolated", "face interpolated"]);
    shown.forEach(({ left }, index) => assert.ok(Math.abs(left - [44.2, 45.8][index]) < 0.5, `${index}: ${left}`));
    assert.equal(await style(".face"), "dashed");
    assert.equal(await style("#legend .interpolated"), "dashed");
    assert.match(await page.locator(".face span").first().textContent(), /^≈ 60\.0 %$/);
    // A face keeps its element when another one disappears, so that a click on it while the video plays counts.
    await page.locator(".face").nth(1).evaluate((box) => (window.second = box));
    await page.locator("#threshold").fill("61");
    assert.equal(await page.locator(".face").count(), 1);
    assert.equal(await page.evaluate(() => document.querySelector(".face") === window.second), true);
    await page.locator("#threshold").fill("0");
    assert.match(await page.locator("#list button").first().textContent(), /between two detections/);
    // After the last detection, the box moves on for half an interval.
    await go(page, 1650);
    assert.deepEqual((await boxes(page)).map(({ className }) => className), ["face extrapolated", "face extrapolated"]);
    assert.ok((await boxes(page))[0].left > 49.5);
    await go(page, 2000);
    assert.equal(await page.locator(".face").count(), 0);
    assert.deepEqual(problems, []);
    await close();
  });

  test("follow a long track from one of its parts to the next, which is in another file", async () => {
    const lines = Array.from({ length: 24 }, (_, index) => line(index * 500, [0.1 + index / 50, 0.3, 0.1, 0.2]));
    const numbers = (from, to) => Array.from({ length: to - from }, (_, index) => from + index);
    const tracks = [[{ ...trackOf(0, lines, numbers(0, 10)), continues: true }], [{ ...trackOf(0, lines, numbers(10, 24)), part: 1 }]];
    const folder = await make("parts", { video: sample, metadata: usual, lines, tracks });
    const { page, close, problems } = await view(folder, sample, { viewport: { width: 1100, height: 900 } });
    await ready(page);
    await page.getByText("1 track", { exact: true }).waitFor();
    await go(page, 4740);
    const [{ left, className }, ...others] = await boxes(page);
    assert.deepEqual([className, others], ["face interpolated", []]);
    // The frame of 4720 ms is on the screen.
    assert.ok(Math.abs(left - 100 * (0.1 + 9.44 / 50)) < 0.2, `${left}`);
    await page.locator(".face").click();
    assert.equal(await page.locator("#followed-words").textContent(), "Track 0: from 0:00.0 to 0:11.5, 24 detections, mean confidence 90.0 %");
    await page.keyboard.press("]");
    await arrive(page, 5001);
    await page.keyboard.press("[");
    await arrive(page, 4501);
    assert.deepEqual(problems, []);
    await close();
  });

  test("join the nearest faces in a result without tracks", async () => {
    const folder = await make("without-tracks", { video: sample, metadata: usual, lines: crossing });
    const { page, close, problems } = await view(folder, sample);
    await ready(page);
    await go(page, 1260);
    const lefts = (await boxes(page)).map(({ left, className }) => (assert.equal(className, "face interpolated"), left)).sort();
    lefts.forEach((left, index) => assert.ok(Math.abs(left - [40.5, 49.5][index]) < 0.5, `${left}`));
    assert.equal(await page.locator("#tracks").isVisible(), false);
    await page.keyboard.press("t");
    // A click leads to the detection instead of a track.
    await page.locator("#list button").first().click();
    await page.waitForFunction(() => [1001, 1521].includes(Math.round(video.currentTime * 1000)));
    assert.deepEqual(problems, []);
    await close();
  });

  test("a face without a box is in the list only", async () => {
    const lines = [{ Timestamp: 1000, Face: { Confidence: 50 } }, line(1000, [0.1, 0.1, 0.1, 0.2])];
    const folder = await make("no-box", { video: sample, metadata: usual, lines, tracks: [[trackOf(0, lines, [1])]] });
    const { page, close, problems } = await view(folder, sample);
    await ready(page);
    await page.locator("#list li").nth(1).waitFor();
    assert.equal(await page.locator(".face").count(), 1);
    assert.match(await page.locator("#list li").nth(1).textContent(), /without a box/);
    assert.deepEqual(problems, []);
    await close();
  });
});

describe("a video that is not played", () => {
  test("everything but the picture works for HEVC, and the codec is named", async () => {
    const lines = [0, 520, 1000, 1520].map((time, index) => line(time, [0.1 + index / 10, 0.3, 0.1, 0.2]));
    const metadata = { codec: "hevc", duration_ms: 2000, frame_rate: 25, frame_width: 320, frame_height: 180 };
    const video = `${videos}/hevc.mp4`;
    const folder = await make("hevc", { video, metadata, lines, tracks: [[trackOf(0, lines, [0, 1, 2, 3])]] });
    const { page, close } = await view(folder, video);
    await page.locator("#alert").waitFor();
    assert.match(await page.locator("#alert").textContent(), /cannot play the video: its codec is HEVC \(H\.265\).*ffmpeg -i/s);
    assert.ok(await page.getByText("No picture").isVisible());
    const { width, height } = await page.locator("#stage").boundingBox();
    assert.ok(Math.abs(width / height - 16 / 9) < 0.01);

    const until = (text) => shows(page, text);
    await until("0:00.0 · 1 face");
    assert.ok(Math.abs((await boxes(page))[0].left - 10) < 0.1);
    await page.keyboard.press("]");
    await until("0:00.5 · 1 face");
    assert.equal((await boxes(page))[0].className, "face detected");
    await page.keyboard.press(".");
    await page.keyboard.press(".");
    const [{ left, className }] = await boxes(page);
    assert.ok(className.includes("interpolated") && left > 21 && left < 23, `${left} ${className}`);
    assert.match(await page.locator("#list button").textContent(), /^Track 0, confidence 90\.0 %, between/);

    await page.keyboard.press("Home");
    await page.keyboard.press("2");
    await page.locator("#rate").selectOption("2");
    const began = Date.now();
    await page.keyboard.press("Space");
    assert.equal(await page.locator("#play").textContent(), "Pause");
    await page.waitForFunction(() => document.getElementById("play").textContent === "Play");
    assert.ok(Date.now() - began > 800 && Date.now() - began < 3000, `${Date.now() - began} ms for 2 s at double speed`);
    await until("0:02.0");
    const { x, y, width: wide, height: high } = await page.locator("#timeline").boundingBox();
    await page.mouse.click(x + wide / 2, y + high / 2);
    await until("0:01.0 · 1 face");
    await page.waitForFunction(() => location.hash.startsWith("#t=1"));
    await page.locator(".face").click();
    assert.match(await page.locator("#followed-words").textContent(), /^Track 0:/);
    assert.deepEqual(await violationsOf(page), []);
    await close();
  });
});

describe("a video of which only the sound is played", () => {
  test("moves the boxes with the sound, and names the codec", async () => {
    // As a browser without HEVC plays a phone's video: there is a sound track that it knows, and no picture.
    const lines = [0, 520].map((time, index) => line(time, [0.1 + index / 10, 0.3, 0.1, 0.2]));
    const metadata = { codec: "hevc", duration_ms: 1000, frame_rate: 25, frame_width: 320, frame_height: 180 };
    const video = `${videos}/audio-only.mp4`;
    const folder = await make("sound", { video, metadata, lines, tracks: [[trackOf(0, lines, [0, 1])]] });
    const { page, close } = await view(folder, video);
    await page.locator("#alert").waitFor();
    assert.match(await page.locator("#alert").textContent(), /codec is HEVC/);
    assert.equal(await page.locator("#mute").isDisabled(), false);
    await page.keyboard.press("]");
    await page.waitForFunction(() => document.querySelector(".face.detected")?.style.left === "20%");
    await page.keyboard.press("Home");
    await shows(page, "0:00.0");
    await page.keyboard.press("Space");
    await page.waitForFunction(() => document.querySelector(".face.interpolated") && !video.paused);
    assert.equal(await page.evaluate(() => video.error), null);
    await close();
  });
});

describe("a video that cannot be read", () => {
  test("is reported with the reason of the server, and everything else works", async () => {
    const folder = await make("unreadable", { video: sample, metadata: usual, lines: crossing, tracks: crossed });
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.route("**/video", (route) => route.fulfill({ status: 502, body: "cannot read s3://uploads/sample.mp4: access denied" }));
    const served = await serve(folder, sample);
    servers.push(served);
    await page.goto(served.url);
    await page.getByText("access denied. Faces, tracks and times are shown without the picture.").waitFor();
    await page.waitForFunction(() => document.querySelectorAll(".face").length === 2);
    await context.close();
    await served.stop();
  });
});

describe("a video that was not analysed", () => {
  test("is said so: bytes, size and duration", async () => {
    const folder = await make("other", { video: sample, metadata: usual, lines: crossing, tracks: crossed });
    const { page, close } = await view(folder, `${videos}/b-frames.mp4`);
    await page.locator("#mismatch").waitFor();
    await page.waitForFunction(() => document.getElementById("mismatch").textContent.includes("bytes"));
    const text = await page.locator("#mismatch").textContent();
    assert.match(text, /not the video that was analysed/);
    assert.match(text, /has [\d,]+ bytes and not 1,230,880/);
    assert.match(text, /320 × 180 pixels and not 1280 × 720/);
    assert.match(text, /plays for 0:02\.0 and not for 0:12\.0/);
    await close();
  });

  test("a file of other bytes with the same picture and length can be a conversion", async () => {
    const folder = await make("converted", { video: sample, bytes: 1, metadata: usual, lines: crossing, tracks: crossed });
    const { page, close } = await view(folder, sample);
    await page.getByText("boxes fit if it was converted").waitFor();
    assert.match(await page.locator("#mismatch").textContent(), /it has 1,230,880 bytes and not 1\./);
    await close();
  });

  test("the analysed file in another length is said so, with another reason", async () => {
    const lines = [line(2900, [0.4, 0.3, 0.1, 0.2])];
    const metadata = { ...usual, frame_width: 320, frame_height: 180, duration_ms: 3000 };
    const folder = await make("length", { video: `${videos}/b-frames.mp4`, metadata, lines, tracks: [[trackOf(0, lines, [0])]] });
    const { page, close } = await view(folder, `${videos}/b-frames.mp4`);
    await page.locator("#mismatch").waitFor();
    await page.waitForFunction(() => document.getElementById("mismatch").textContent.includes("another way"));
    assert.match(await page.locator("#mismatch").textContent(), /plays for 0:02\.0 and not for 0:03\.0 and the first face was found at 0:02\.9, after its end/);
    await close();
  });

  test("a video whose picture starts late fits after its length is known", async () => {
    // The edit list begins with a pause of 0.72 s, and Chromium reports a length without it first.
    const lines = [line(720, [0.4, 0.3, 0.1, 0.2]), line(1000, [0.4, 0.3, 0.1, 0.2])];
    const metadata = { ...usual, frame_width: 320, frame_height: 180, duration_ms: 1720 };
    const folder = await make("late", { video: `${videos}/late-start.mp4`, metadata, lines, tracks: [[trackOf(0, lines, [0, 1])]] });
    const { page, close, problems } = await view(folder, `${videos}/late-start.mp4`);
    await ready(page);
    await page.waitForFunction(() => video.duration > 1.6);
    await arrive(page, 721);
    await page.locator(".face.detected").waitFor();
    assert.equal(await page.locator("#mismatch").isVisible(), false);
    assert.equal(await page.locator("#timeline").getAttribute("aria-valuemax"), "2");
    assert.deepEqual(problems, []);
    await close();
  });

  test("times count from the first frame if the browser counts from an earlier time", async () => {
    // The file has no edit list, and Chromium shows its first frame at 80 ms.
    const lines = [line(0, [0.1, 0.3, 0.1, 0.2]), line(520, [0.2, 0.3, 0.1, 0.2])];
    const metadata = { ...usual, frame_width: 320, frame_height: 180, duration_ms: 2000 };
    const folder = await make("fragmented", { video: `${videos}/fragmented.mp4`, metadata, lines, tracks: [[trackOf(0, lines, [0, 1])]] });
    const { page, close, problems } = await view(folder, `${videos}/fragmented.mp4`);
    await ready(page);
    await page.waitForFunction(() => document.querySelector(".face.detected")?.style.left === "10%");
    await page.keyboard.press("]");
    await arrive(page, 601);
    await shows(page, "0:00.5 · 1 face");
    await page.waitForFunction(() => document.querySelector(".face.detected")?.style.left === "20%");
    await page.keyboard.press("Home");
    await shows(page, "0:00.0");
    assert.equal(await page.locator("#mismatch").isVisible(), false);
    assert.deepEqual(problems, []);
    await close();
  });

  test("boxes of an upright frame are not turned, as facereel run reports them", async () => {
    const lines = [line(0, [0.3, 0.2, 0.4, 0.3])];
    const metadata = { ...usual, duration_ms: 1000, frame_width: 200, frame_height: 300 };
    const folder = await make("upright", { video: `${videos}/rotated-90.mp4`, metadata, lines, tracks: [[trackOf(0, lines, [0])]] });
    const { page, close } = await view(folder, `${videos}/rotated-90.mp4`);
    await ready(page);
    await page.locator(".face").waitFor();
    assert.equal(await page.locator("#turned").isVisible(), false);
    const [{ left, top }] = await boxes(page);
    assert.deepEqual([left, top], [30, 20]);
    await close();
  });

  test("boxes of the stored frame are turned with a picture that the browser turns", async () => {
    // In the upright picture, the face is at this place. The stored frame is the picture turned anticlockwise.
    const upright = { Left: 0.3, Top: 0.2, Width: 0.4, Height: 0.3 };
    const stored = (X, Y) => [Y, 1 - X];
    const landmarks = { eyeLeft: [0.4, 0.3], eyeRight: [0.6, 0.3], nose: [0.5, 0.37], mouthLeft: [0.42, 0.45], mouthRight: [0.58, 0.45] };
    const Landmarks = Object.entries(landmarks).map(([Type, place]) => {
      const [X, Y] = stored(...place);
      return { Type, X, Y };
    });
    const [Left, bottom] = stored(upright.Left, upright.Top);
    const lines = [line(0, [Left, bottom - upright.Width, upright.Height, upright.Width], 90, { Landmarks })];
    const metadata = { ...usual, duration_ms: 1000, frame_width: 300, frame_height: 200 };
    const folder = await make("turned", { video: `${videos}/rotated-90.mp4`, metadata, lines, tracks: [[trackOf(0, lines, [0])]] });
    const { page, close, problems } = await view(folder, `${videos}/rotated-90.mp4`);
    await ready(page);
    await page.locator("#turned").waitFor();
    await page.waitForFunction(() => document.getElementById("turn").value === "90");
    const [box] = await boxes(page);
    for (const side of ["Left", "Top", "Width", "Height"]) {
      assert.ok(Math.abs(box[side.toLowerCase()] - upright[side] * 100) < 0.1, `${side}: ${JSON.stringify(box)}`);
    }
    await page.locator("#turn").selectOption("0");
    const [plain] = await boxes(page);
    assert.ok(Math.abs(plain.left - Left * 100) < 0.1);
    assert.equal(await page.locator("#mismatch").isVisible(), false);
    assert.deepEqual(problems, []);
    await close();
  });
});

describe("a video of six hours with 4,320 pages", () => {
  const PAGES = 4320;
  const LENGTH = 21_600_000; // milliseconds
  const FILES = 48; // with tracks
  const PAGE = LENGTH / PAGES;
  const FILE = LENGTH / FILES;

  /// Answers the requests for the files of the result, which would have hundreds of megabytes.
  async function answer(page, asked) {
    const json = (route, value) => route.fulfill({ contentType: "application/json", body: JSON.stringify(value) });
    const real = JSON.parse(await readFile(new URL("manifest.json", results), "utf8"));
    const summary = JSON.parse(await readFile(new URL("summary.json", results), "utf8"));
    const pages = Array.from({ length: PAGES }, (_, page) => ({ key: "k", bytes: 1, faces: 300, first_ms: page * PAGE, last_ms: page * PAGE + 4500 }));
    // Each file has tracks that began before it.
    const tracks = Array.from({ length: FILES }, (_, file) => ({ key: "k", bytes: 1, lines: 900, first_ms: Math.max(0, file * FILE - 300_000), last_ms: (file + 1) * FILE - 500 }));
    const timeline = Array.from({ length: LENGTH / 1000 }, (_, second) => ({ second, faces: 60, frames: 2, most_faces: 30, mean_confidence: 90 }));
    await page.route("**/manifest.json", (route) => json(route, { ...real, faces: PAGES * 300, pages, tracks }));
    await page.route("**/summary.json", (route) =>
      json(route, { ...summary, faces: PAGES * 300, tracks: FILES * 900, frames_with_faces: LENGTH / 500, most_faces: { faces: 30, timestamp_ms: 0 }, timeline, metadata: { ...summary.metadata, duration_ms: LENGTH } }),
    );
    await page.route("**/video", (route) => route.fulfill({ contentType: "video/mp4", body: "not a video" }));
    const number = (route) => Number(route.request().url().match(/(\d+)\.jsonl$/)[1]);
    await page.route("**/faces/*.jsonl", (route) => {
      asked.faces.push(number(route));
      const lines = Array.from({ length: 300 }, (_, index) => line(number(route) * PAGE + Math.floor(index / 30) * 500, [(index % 10) / 10, Math.floor((index % 30) / 10) / 10, 0.05, 0.08]));
      route.fulfill({ body: lines.map((line) => JSON.stringify(line)).join("\n") });
    });
    await page.route("**/tracks/*.jsonl", (route) => {
      const file = number(route);
      asked.tracks.push(file);
      const lines = Array.from({ length: 900 }, (_, index) => {
        // 30 tracks at a time, of 15 seconds each.
        const from = file * FILE + Math.floor(index / 30) * 15_000;
        const times = Array.from({ length: 30 }, (_, step) => from + step * 500);
        const place = [(index % 10) / 10, Math.floor((index % 30) / 10) / 10, 0.05, 0.08];
        return { id: file * 900 + index, part: 0, continues: false, first_ms: from, last_ms: times.at(-1), detections: 30, mean_confidence: 90, best: { timestamp_ms: from, face: 0, box: place }, timestamps_ms: times, faces: times.map((time) => (time / 500) * 30 + (index % 30)), boxes: times.map(() => place) };
      });
      route.fulfill({ body: lines.map((line) => JSON.stringify(line)).join("\n") });
    });
  }

  test("is followed with few files and few elements", async () => {
    const asked = { faces: [], tracks: [] };
    const context = await browser.newContext({ viewport: { width: 1100, height: 900 } });
    const page = await context.newPage();
    const problems = [];
    page.on("pageerror", (error) => problems.push(error.message));
    await answer(page, asked);
    const served = await serve();
    try {
      await page.goto(`${served.url}#t=3:00:00`);
      await page.waitForFunction(() => document.querySelectorAll(".face").length === 30);
      await page.waitForFunction(() => document.getElementById("list").textContent.includes("Track"));
      await page.waitForFunction(() => /^[\d,]+ tracks from 2:5\d/.test(document.getElementById("lanes-words").textContent), null, { timeout: 15_000 });
      assert.ok(asked.tracks.length <= 8, `${asked.tracks.length} files with tracks were read: ${asked.tracks}`);
      assert.ok(asked.faces.length <= 12, `${asked.faces.length} pages were read`);
      assert.ok((await page.locator("*").count()) < 1400, "there is an element for each of thousands of tracks");
      assert.ok(await page.locator("#range").isVisible());

      // A shorter part, and a place elsewhere.
      const before = await page.locator("#lanes-words").textContent();
      await page.keyboard.press("+");
      await page.waitForFunction((before) => document.getElementById("lanes-words").textContent !== before, before);
      await page.keyboard.press("End");
      await page.waitForFunction(() => /^[\d,]+ tracks from .* to 6:00:00\.0$/.test(document.getElementById("lanes-words").textContent));
      await page.keyboard.press("[");
      await shows(page, "5:59:59.5 · 30 faces");
      await page.keyboard.press("t");
      assert.match(await page.locator("#followed-words").textContent(), /^Track \d+: from 5:5/);
      assert.ok(asked.tracks.length <= 20 && asked.faces.length <= 30, `${asked.tracks.length} files, ${asked.faces.length} pages`);
      assert.deepEqual(problems, []);
    } finally {
      await context.close();
      await served.stop();
    }
  });
});
