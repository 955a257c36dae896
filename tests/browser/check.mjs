// Tests of report.html and `facereel view` with the sample clip, in a real Chromium.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { overflows, violationsOf } from "./axe.mjs";
import { launch, open, results, root, serve } from "./browser.mjs";

const truth = JSON.parse(await readFile(`${root}/tests/fixtures/sample-clip/truth.json`, "utf8"));
const summary = JSON.parse(await readFile(new URL("summary.json", results), "utf8"));
const FRAME = 40; // milliseconds a frame of the sample clip
const schemes = ["light", "dark"];

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

describe("report.html", () => {
  const report = new URL("report.html", results);

  test("loads nothing and reports no errors", async () => {
    const { page, problems, requests } = await open(browser, report);
    assert.deepEqual(problems, []);
    assert.deepEqual(requests, [report.toString()]);
    assert.equal(await page.title(), "Faces in sample.mp4");
    await page.context().close();
  });

  test("draws a bar for every interval with a face, as high as its number of faces", async () => {
    const { page } = await open(browser, report);
    const bars = await page.locator(".faces .bar").evaluateAll((bars) => bars.map((bar) => bar.getBoundingClientRect().height));
    const chart = (await page.locator(".faces .plot svg[role]").boundingBox()).height;
    const rows = await page.locator("details").first().locator("tbody tr td:nth-child(2)").evaluateAll((cells) => cells.map((cell) => Number(cell.textContent)));
    assert.equal(bars.length, rows.length);
    assert.equal(Math.max(...rows), summary.most_faces.faces);
    bars.forEach((height, index) => assert.ok(Math.abs(height / chart - rows[index] / Math.max(...rows)) < 0.02));
    await page.context().close();
  });

  test("states the numbers of detections and of tracks", async () => {
    const { page } = await open(browser, report);
    const figures = await page.locator(".figures li").allTextContents();
    assert.deepEqual(figures.slice(0, 2), [`${summary.faces} face detections`, `${summary.tracks} tracks`]);
    await page.context().close();
  });

  test("draws a lane for every track, from its first detection to its last", async () => {
    const { page } = await open(browser, report);
    const lines = (await readFile(new URL("tracks/00000.jsonl", results), "utf8")).trim().split("\n").map((line) => JSON.parse(line));
    const tracks = lines.sort((one, other) => one.id - other.id);
    const length = summary.metadata.duration_ms;
    const lanes = await page.locator(".lanes li svg").evaluateAll((lanes) =>
      lanes.map((lane) => {
        const [all, bar] = [lane, lane.querySelector(".bar")].map((element) => element.getBoundingClientRect());
        return { from: (bar.left - all.left) / all.width, to: (bar.right - all.left) / all.width };
      }),
    );
    assert.equal(lanes.length, summary.tracks);
    lanes.forEach(({ from, to }, index) => {
      const { id, first_ms: first, last_ms: last } = tracks[index];
      assert.ok(Math.abs(from - first / length) < 0.01 && Math.abs(to - last / length) < 0.01, `track ${id}: ${from} to ${to}`);
    });
    await page.context().close();
  });

  test("is readable without scripts", async () => {
    const { page } = await open(browser, report, { javaScriptEnabled: false });
    for (const heading of ["Tracks", "Busiest moments"]) assert.ok(await page.getByRole("heading", { name: heading }).isVisible(), heading);
    await page.getByText("The tracks as a table").click();
    assert.ok(await page.getByRole("columnheader", { name: "Best at" }).isVisible());
    await page.context().close();
  });

  for (const colorScheme of schemes) {
    test(`is accessible, ${colorScheme}, also on a phone`, async () => {
      const { page } = await open(browser, report, { colorScheme });
      for (const table of await page.locator("summary").all()) await table.click();
      assert.deepEqual(await violationsOf(page), []);
      const colour = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.equal(colour === "rgb(255, 255, 255)", colorScheme === "light", colour);
      await page.setViewportSize({ width: 360, height: 740 });
      assert.equal(await overflows(page), false);
      await page.context().close();
    });
  }
});

describe("a video without faces, with a name that contains markup", () => {
  const folder = new URL("hostile/", import.meta.url);
  const video = `${root}/tests/fixtures/videos/no-faces.mp4`;

  /// Checks that the name is shown as text and not interpreted as markup.
  async function checkName({ page, problems }) {
    const { video } = JSON.parse(await readFile(new URL("summary.json", folder), "utf8"));
    assert.match(video.key, /<img src=x/);
    await page.getByText("No faces were found.").waitFor();
    assert.equal(await page.title(), `Faces in ${video.key}`);
    assert.equal(await page.locator("img").count(), 0);
    assert.match(await page.locator("h1").textContent(), /<img src=x onerror=alert\(1\)>&lt;'\.mp4$/);
    assert.deepEqual(problems, []);
    assert.deepEqual(await violationsOf(page), []);
    await page.context().close();
  }

  test("the report shows both", async () => checkName(await open(browser, new URL("report.html", folder))));

  test("facereel view shows both", async () => {
    const served = await serve(folder, video);
    try {
      await checkName(await open(browser, served.url));
    } finally {
      await served.stop();
    }
  });
});

describe("facereel view", () => {
  let served;
  before(async () => (served = await serve()));
  after(() => served?.stop());

  /// Opens the page, and waits until the title and the frame with the first face are shown.
  async function openView(options) {
    const opened = await open(browser, served.url, options);
    await opened.page.waitForFunction(() => document.getElementById("video").readyState >= 2);
    await opened.page.waitForFunction(() => document.getElementById("title").textContent === "sample.mp4");
    await opened.page.waitForFunction(() => !document.getElementById("video").seeking && document.querySelector(".face"));
    return opened;
  }

  /// Seeks, and waits until that frame is on the screen.
  const seek = (page, milliseconds) =>
    page.evaluate(
      (seconds) =>
        new Promise((resolve) => {
          const video = document.getElementById("video");
          video.requestVideoFrameCallback((_, { mediaTime }) => requestAnimationFrame(() => resolve(mediaTime * 1000)));
          video.currentTime = seconds;
        }),
      milliseconds / 1000,
    );

  /// The boxes on the screen, as ratios of the video's picture.
  const boxes = (page) =>
    page.evaluate(() => {
      const picture = document.getElementById("video").getBoundingClientRect();
      return [...document.querySelectorAll(".face")].map((face) => {
        const box = face.getBoundingClientRect();
        return {
          Left: (box.left - picture.left) / picture.width,
          Top: (box.top - picture.top) / picture.height,
          Width: box.width / picture.width,
          Height: box.height / picture.height,
        };
      });
    });

  const now = (page) => page.evaluate(() => Math.round(document.getElementById("video").currentTime * 1000));

  function overlap(one, two) {
    const span = (a, b, c, d) => Math.max(0, Math.min(a + b, c + d) - Math.max(a, c));
    const both = span(one.Left, one.Width, two.Left, two.Width) * span(one.Top, one.Height, two.Top, two.Height);
    return both / (one.Width * one.Height + two.Width * two.Height - both);
  }

  /// Counts the clip's known faces in a frame, those with a box, the boxes, and the boxes on a known face.
  function score(time, drawn) {
    const known = truth[Math.round(time / FRAME)].Faces;
    const found = (face) => drawn.some((box) => overlap(face, box) >= 0.4);
    const expected = known.filter((face) => face.Expected);
    return { expected: expected.length, hits: expected.filter(found).length, drawn: drawn.length, right: drawn.filter((box) => known.some((face) => overlap(face, box) >= 0.4)).length };
  }

  const total = (scores, what) => scores.reduce((sum, one) => sum + one[what], 0);

  test("reports no errors and loads only from its own server", async () => {
    const { page, problems, requests } = await openView();
    await seek(page, 5000);
    assert.deepEqual(problems, []);
    assert.deepEqual(requests.filter((url) => !url.startsWith(served.url) && !url.startsWith("data:")), []);
    assert.equal(await page.locator("#alert").isVisible(), false);
    await page.context().close();
  });

  test("boxes are on the faces at every sampled timestamp", async () => {
    const { page } = await openView();
    const scores = [];
    for (let time = 0; time < 12_000; time += 500) {
      const shown = await seek(page, time + 1);
      assert.ok(Math.abs(shown - time) <= FRAME, `${shown} is on the screen, not ${time}`);
      scores.push(score(shown, await boxes(page)));
    }
    const recall = total(scores, "hits") / total(scores, "expected");
    const precision = total(scores, "right") / total(scores, "drawn");
    console.log(`sampled moments: recall ${recall.toFixed(3)}, precision ${precision.toFixed(3)}`);
    assert.ok(total(scores, "expected") > 20);
    assert.ok(recall >= 0.9 && precision >= 0.9);
    await page.context().close();
  });

  test("boxes move with the faces between the samples", async () => {
    const { page } = await openView();
    const scores = [];
    for (let time = 20; time < 12_000; time += 3 * FRAME) {
      const shown = await seek(page, time);
      scores.push(score(shown, await boxes(page)));
    }
    const recall = total(scores, "hits") / total(scores, "expected");
    const precision = total(scores, "right") / total(scores, "drawn");
    console.log(`every third frame: recall ${recall.toFixed(3)}, precision ${precision.toFixed(3)}`);
    assert.ok(recall >= 0.9 && precision >= 0.9);
    await page.context().close();
  });

  test("boxes keep up while the video plays", async () => {
    const { page } = await openView();
    await seek(page, 6001);
    await page.evaluate(() => {
      window.seen = [];
      const video = document.getElementById("video");
      const note = (_, { mediaTime }) => {
        // After the page's own callback for this frame.
        const picture = video.getBoundingClientRect();
        const drawn = [...document.querySelectorAll(".face")].map((face) => {
          const box = face.getBoundingClientRect();
          return { Left: (box.left - picture.left) / picture.width, Top: (box.top - picture.top) / picture.height, Width: box.width / picture.width, Height: box.height / picture.height };
        });
        window.seen.push({ time: mediaTime * 1000, drawn });
        video.requestVideoFrameCallback(note);
      };
      video.requestVideoFrameCallback(note);
    });
    await page.keyboard.press("Space");
    await page.waitForFunction(() => document.getElementById("video").currentTime > 8.5);
    await page.keyboard.press("Space");
    const seen = await page.evaluate(() => window.seen);
    const scores = seen.map(({ time, drawn }) => score(time, drawn));
    const recall = total(scores, "hits") / total(scores, "expected");
    console.log(`playing: ${seen.length} frames, recall ${recall.toFixed(3)}`);
    assert.ok(new Set(seen.map(({ time }) => time)).size >= 10, "the video did not play");
    assert.ok(recall >= 0.8);
    await page.context().close();
  });

  test("the keys have the documented effects", async () => {
    const { page, problems } = await openView();
    const paused = () => page.evaluate(() => document.getElementById("video").paused);
    await page.keyboard.press("Space");
    await page.waitForFunction(() => !document.getElementById("video").paused);
    assert.equal(await page.locator("#play").textContent(), "Pause");
    await page.keyboard.press("Space");
    assert.equal(await paused(), true);

    await seek(page, 0);
    await page.keyboard.press("ArrowRight");
    assert.equal(await now(page), 1000);
    await page.keyboard.press("Shift+ArrowRight");
    assert.equal(await now(page), 11_000);
    await page.keyboard.press("ArrowLeft");
    assert.equal(await now(page), 10_000);

    await page.keyboard.press("Home");
    const moments = [];
    for (let index = 0; index < 4; index += 1) {
      const before = await now(page);
      await page.keyboard.press(index === 1 ? "n" : "]");
      await page.waitForFunction((before) => document.getElementById("video").currentTime * 1000 > before + 20, before);
      await page.waitForFunction(() => document.querySelectorAll(".face").length > 0);
      moments.push(await now(page));
    }
    assert.equal(Math.floor(moments[0] / 1000), summary.timeline[0].second, "] does not lead to the first face");
    for (const key of ["[", "p"]) {
      moments.pop();
      await page.keyboard.press(key);
      await page.waitForFunction((at) => Math.abs(document.getElementById("video").currentTime * 1000 - at) < 20, moments.at(-1));
    }

    await page.keyboard.press("?");
    assert.ok(await page.locator("#help").isVisible());
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#help").isVisible(), false);

    assert.ok(await page.locator(".face span").first().isVisible());
    await page.keyboard.press("c");
    assert.equal(await page.locator(".face span").first().isVisible(), false);
    const dots = () => page.locator("#landmarks path").getAttribute("d");
    assert.equal((await dots()) ?? "", "");
    await page.keyboard.press("l");
    assert.equal((await dots()).split("M").length - 1, 5 * (await page.locator(".face").count()));
    assert.deepEqual(problems, []);
    await page.context().close();
  });

  test("a click on the timeline seeks to that time", async () => {
    const { page } = await openView();
    const { x, y, width, height } = await page.locator("#timeline").boundingBox();
    await page.mouse.click(x + width * 0.5, y + height / 2);
    assert.ok(Math.abs((await now(page)) - 6000) < 50, `${await now(page)}`);
    await page.waitForFunction(() => document.getElementById("timeline").getAttribute("aria-valuenow") === "6");
    await page.context().close();
  });

  for (const colorScheme of schemes) {
    test(`is accessible, ${colorScheme}, also on a phone`, async () => {
      const { page } = await openView({ colorScheme });
      await seek(page, 5501);
      assert.deepEqual(await violationsOf(page), []);
      await page.keyboard.press("?");
      assert.deepEqual(await violationsOf(page), []);
      await page.keyboard.press("Escape");
      await page.setViewportSize({ width: 360, height: 740 });
      assert.equal(await overflows(page), false);
      await page.context().close();
    });
  }

  test("links to the report, whose links open the files of the result", async () => {
    const { page } = await openView();
    const [report] = await Promise.all([page.waitForEvent("popup"), page.getByRole("link", { name: "Report" }).click()]);
    await report.waitForLoadState();
    assert.equal(await report.title(), "Faces in sample.mp4");
    const links = await report.locator("a").evaluateAll((links) => links.map((link) => link.href));
    assert.ok(links.length >= 3);
    for (const link of links) assert.equal((await page.request.get(link)).status(), 200, link);
    await page.context().close();
  });

  test("shows a message if the video cannot be played", async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.route("**/video", (route) => route.fulfill({ status: 200, contentType: "video/mp4", body: "not a video" }));
    await page.goto(served.url);
    await page.locator("#alert").waitFor({ state: "visible" });
    assert.match(await page.locator("#alert").textContent(), /cannot play the video/);
    await context.close();
  });
});
