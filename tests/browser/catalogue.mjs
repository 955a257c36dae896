// Tests of the catalogue of `facereel view` with 3,000 results, in a real Chromium.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, rm, stat, utimes, writeFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { overflows, violationsOf } from "./axe.mjs";
import { launch, open, results, root, serve } from "./browser.mjs";

const COUNT = 3000;
const START = Date.UTC(2026, 0, 1);
const sample = `${root}/tests/fixtures/sample-clip/sample.mp4`;
const sampleBytes = (await stat(sample)).size;
const key = (digit) => String(digit).repeat(64);

/// Writes a small result. Its video is the sample clip if it has that size, and else none that exists.
async function writeResult(folder, number, { name = "sample.mp4", bytes = sampleBytes, codec = "h264", at = START + number * 60_000 } = {}) {
  const video = { bucket: "uploads", key: name, etag: "e", bytes };
  const job = { job_id: "j", idempotency_key: "k", attempt: 0, face_attributes: "DEFAULT" };
  const object = (name) => ({ key: `results/${name}`, bytes: 1 });
  const most = number % 41;
  const manifest = { video, job, execution_arn: "arn", faces: most, summary: object("summary.json"), report: object("report.html"), pages: [], tracks: [] };
  const summary = {
    video, metadata: { codec, duration_ms: 1000 * (number + 1) }, job, faces: most, tracks: (number * 7) % 97,
    frames_with_faces: 1, most_faces: most ? { faces: most, timestamp_ms: 7000 } : null, timeline: [],
  };
  await mkdir(folder, { recursive: true });
  await writeFile(`${folder}/summary.json`, JSON.stringify(summary));
  await writeFile(`${folder}/manifest.json`, JSON.stringify(manifest));
  await utimes(`${folder}/manifest.json`, at / 1000, at / 1000);
}

let browser, served, folder, lock;

before(async () => {
  browser = await launch();
  folder = await mkdtemp(`${process.env.TMPDIR}/catalogue-`);
  const padded = (number) => String(number).padStart(4, "0");
  for (let from = 0; from < COUNT; from += 100) {
    const numbers = Array.from({ length: 100 }, (_, index) => from + index);
    await Promise.all(numbers.map((number) => writeResult(`${folder}/series-${number % 7}/clip ${padded(number)}`, number)));
  }
  // Chromium cannot play HEVC.
  const hevc = `${root}/tests/fixtures/videos/hevc.mp4`;
  await writeResult(`${folder}/series-0/clip 0000`, 0, { name: "hevc.mp4", bytes: (await stat(hevc)).size, codec: "hevc" });
  await cp(hevc, `${folder}/series-0/clip 0000/hevc.mp4`);
  for (const digit of [1, 2, 3]) {
    await writeResult(`${folder}/results/trips/Zürich & <b>Bern.mp4/${key(digit)}`, 7, { at: Date.UTC(2025, digit, 1), bytes: 1, name: "Zürich & <b>Bern.mp4" });
  }
  await mkdir(`${folder}/results/half.mp4/${key(4)}/faces`, { recursive: true });
  await mkdir(`${folder}/broken.failed`);
  await writeFile(
    `${folder}/broken.failed/history.json`,
    JSON.stringify([{ type: "ExecutionStarted" }, { type: "ExecutionFailed", executionFailedEventDetails: { error: "VideoUnreadable", cause: "no moov" } }]),
  );
  await cp(results, `${folder}/sample`, { recursive: true });
  const now = Date.now() / 1000 + 60;
  await utimes(`${folder}/sample/manifest.json`, now, now);
  // The lock of a `facereel run`.
  await mkdir(`${folder}/analysed now`);
  lock = spawn("python3", ["-c", "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(1, flush=True); sys.stdin.read()", `${folder}/analysed now`], { stdio: ["pipe", "pipe", "inherit"] });
  await once(lock.stdout, "data");
  served = await serve(pathToFileURL(folder), null);
});
after(async () => {
  await served?.stop();
  lock?.stdin.end();
  await browser?.close();
  if (folder) await rm(folder, { recursive: true });
});

/// Opens the catalogue, and waits until the rows on the screen have their facts.
async function openCatalogue(options, hash = "") {
  const opened = await open(browser, `${served.url}${hash}`, options);
  await settled(opened.page);
  return opened;
}

const settled = (page) =>
  page.waitForFunction(() => document.querySelector("#rows .row") && ![...document.querySelectorAll("#rows .duration")].some((cell) => cell.textContent === "…"));

/// The names on the screen and near it, from the top.
const names = (page) => page.locator("#rows .open").allTextContents();

async function search(page, text) {
  await page.locator("#search").fill(text);
  await settled(page);
}

describe("the catalogue of facereel view", () => {
  test("lists 3,000 results with a few elements and requests, none of which contains a name", async () => {
    const began = Date.now();
    const { page, problems, requests } = await openCatalogue();
    console.log(`${COUNT} results are shown after ${Date.now() - began} ms`);
    assert.match(await page.locator("#count").textContent(), /^3,005 videos$/);
    assert.ok((await page.locator("#rows .row").count()) < 40);
    assert.equal(await page.locator("#table").getAttribute("aria-rowcount"), "3006");
    assert.equal((await names(page))[0], "sample");
    await page.keyboard.press("End");
    await page.getByText("Bern.mp4").first().waitFor();
    await settled(page);
    const elements = await page.locator("#rows .row").count();
    assert.ok(elements < 40, `${elements}`);
    for (const url of requests.map(decodeURIComponent)) {
      assert.ok(url.startsWith(served.url) || url.startsWith("data:"), url);
      assert.doesNotMatch(url, /clip|series|sample|Bern|manifest/);
    }
    const asked = requests.filter((url) => url.includes("/facts")).flatMap((url) => new URL(url).searchParams.get("of").split(","));
    assert.ok(asked.length < 60, `facts of ${asked.length} results`);
    assert.deepEqual(problems, []);
    await page.context().close();
  });

  test("finds videos by parts of their names, without accents, and shows what is not found", async () => {
    const { page } = await openCatalogue();
    await page.keyboard.press("/");
    await page.keyboard.type("SERIES-3 0101");
    assert.equal(await page.locator("#count").textContent(), "1 of 3,005 videos");
    assert.deepEqual(await names(page), ["clip 0101"]);
    await search(page, "zurich");
    assert.deepEqual(await names(page), ["Zürich & <b>Bern.mp4"]);
    assert.equal(await page.locator("#rows b").count(), 0);
    await page.locator("#search").fill("nothing has this name");
    assert.deepEqual(await names(page), []);
    assert.equal(await page.locator("#count").textContent(), "0 of 3,005 videos");
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#count").textContent(), "3,005 videos");
    await page.context().close();
  });

  test("sorts by every column, also by those that need every summary", async () => {
    const { page } = await openCatalogue();
    const by = async (name) => {
      await page.getByRole("columnheader", { name }).getByRole("button").click();
      await page.waitForFunction(() => document.getElementById("count").textContent === "3,005 videos");
      await settled(page);
      return (await page.locator("#rows .row").first().innerText()).split("\n").map((text) => text.trim());
    };
    assert.ok((await by("Most faces")).includes("40"));
    assert.equal(await page.locator("[data-sort=faces]").getAttribute("aria-sort"), "descending");
    assert.ok((await by("Most faces")).includes("0"));
    assert.ok((await by("Tracks")).includes("96"));
    assert.ok((await by("Duration")).includes("50:00"));
    assert.ok((await by("Video")).includes("analysed now"));
    await page.locator("#sort").selectOption("date+");
    await settled(page);
    // A result without a date is last, and the oldest of those with one is first.
    assert.equal((await names(page))[0], "Zürich & <b>Bern.mp4");
    await page.context().close();
  });

  test("opens a result, and shows the same rows after going back", async () => {
    const { page, problems } = await openCatalogue();
    await search(page, "clip 2");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("PageDown");
    const focused = await page.evaluate(() => document.activeElement.textContent);
    await page.waitForTimeout(100);
    await settled(page);
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "All results" }).waitFor();
    // A page that is left before it has loaded aborts the requests for its scripts.
    await page.waitForLoadState();
    assert.match(page.url(), /\/results\/\d+\/$/);
    await page.goBack();
    await settled(page);
    assert.equal(await page.locator("#search").inputValue(), "clip 2");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), focused);
    assert.ok(await page.locator(":focus").isVisible());

    await search(page, "sample");
    await page.getByRole("link", { name: "sample", exact: true }).click();
    await page.waitForFunction(() => document.getElementById("video").readyState >= 2);
    await page.waitForFunction(() => document.title.includes("sample.mp4"));
    await page.getByRole("link", { name: "All results" }).click();
    await page.locator("#count").getByText("3,005 videos").waitFor();
    assert.deepEqual(problems, []);
    await page.context().close();
  });

  test("of several results of a video, opens the newest and lists the others", async () => {
    const { page } = await openCatalogue();
    await search(page, "bern");
    const newest = await page.locator("#rows .open").getAttribute("href");
    await page.getByRole("button", { name: "3 results of" }).click();
    const links = page.locator("#entries-list a");
    assert.equal(await links.count(), 3);
    assert.match(await links.first().textContent(), /2025.*the newest/);
    assert.equal(await links.first().getAttribute("href"), newest);
    const targets = await links.evaluateAll((links) => links.map((link) => link.href));
    assert.equal(new Set(targets).size, 3);
    for (const target of targets) {
      assert.equal((await page.request.get(`${target}manifest.json`)).status(), 200);
      assert.equal((await page.request.get(target)).status(), 200);
    }
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#entries").isVisible(), false);
    await page.context().close();
  });

  test("shows running, failed and incomplete results, and filters by state", async () => {
    const { page } = await openCatalogue();
    for (const [state, name, text] of [
      ["failed", "broken", /VideoUnreadable: no moov.*Failed/s],
      ["running", "analysed now", /Running/],
      ["incomplete", "half.mp4", /No manifest/],
    ]) {
      await page.locator("#state").selectOption(state);
      assert.deepEqual(await names(page), [name]);
      assert.match(await page.locator("#rows .row").innerText(), text);
      assert.equal(await page.locator("#rows a").count(), 0);
    }
    assert.deepEqual(
      await page.locator("#state option").allTextContents(),
      ["all (3,005)", "complete (3,002)", "running (1)", "failed (1)", "no manifest (1)"],
    );
    await page.locator("#state").selectOption("failed");
    await page.keyboard.press("Tab");
    await page.getByRole("button", { name: "broken" }).click();
    assert.match(await page.locator("#entries-list").textContent(), /failed.*VideoUnreadable: no moov/);
    await page.context().close();
  });

  test("a refresh finds what has changed, and keeps the numbers of results", async () => {
    const { page, problems } = await openCatalogue();
    await search(page, "sample");
    const target = await page.locator("#rows .open").first().getAttribute("href");
    await writeResult(`${folder}/sample again`, 12);
    await page.getByRole("button", { name: "Refresh" }).click();
    await page.locator("#count").getByText("2 of 3,006 videos").waitFor();
    assert.equal(await page.locator("#rows .open").first().getAttribute("href"), target);
    await rm(`${folder}/sample again`, { recursive: true });
    await page.locator("#search").blur();
    await page.keyboard.press("r");
    await page.locator("#count").getByText("1 of 3,005 videos").waitFor();
    const { status } = await page.request.post(`${served.url}refresh`).then((answer) => ({ status: answer.status() }));
    assert.equal(status, 403, "another site could start a listing");
    assert.deepEqual(problems, []);
    await page.context().close();
  });

  test("draws pictures for the rows on the screen, one at a time", async () => {
    const { page, requests, problems } = await openCatalogue();
    const pictured = () => page.locator("#rows img").count();
    await page.waitForFunction(() => document.querySelectorAll("#rows img").length >= 5);
    // The frame of the sample clip with faces is not one colour.
    const colours = await page.locator("#rows img").evaluateAll((images) =>
      Promise.all(images.map(async (img) => {
        await img.decode();
        const context = Object.assign(document.createElement("canvas"), { width: 16, height: 9 }).getContext("2d");
        context.drawImage(img, 0, 0, 16, 9);
        return new Set(new Uint32Array(context.getImageData(0, 0, 16, 9).data.buffer)).size;
      })),
    );
    assert.ok(Math.min(...colours) > 20, `${colours} colours`);
    assert.match(await page.locator("#rows img").first().getAttribute("alt"), /^The frame at 0:0\d$/);
    const videos = requests.filter((url) => url.endsWith("/video")).map((url) => url.match(/results\/(\d+)/)[1]);
    const order = videos.filter((id, index) => id !== videos[index - 1]);
    assert.equal(new Set(order).size, order.length, "a video was loaded between two requests for another one");
    assert.ok(new Set(videos).size <= (await pictured()) + 1, `${new Set(videos).size} videos`);

    await search(page, "bern");
    assert.equal(await page.locator(".picture").innerText(), "no video file");
    await search(page, "clip 0000");
    await page.getByText("not playable (hevc)").waitFor();
    assert.deepEqual(problems, []);
    await page.context().close();
  });

  test("the keys have the documented effects", async () => {
    const { page } = await openCatalogue();
    const focused = () => page.evaluate(() => Number(document.activeElement.closest(".row")?.dataset.position));
    await page.keyboard.press("ArrowDown");
    assert.equal(await focused(), 0);
    await page.keyboard.press("ArrowDown");
    assert.equal(await focused(), 1);
    await page.keyboard.press("ArrowUp");
    assert.equal(await focused(), 0);
    await page.keyboard.press("PageDown");
    assert.ok((await focused()) >= 5);
    await page.keyboard.press("End");
    assert.equal(await focused(), 3004);
    assert.ok(await page.locator(":focus").isVisible());
    // The row that has the focus stays in the page, however far it is scrolled away.
    await page.evaluate(() => scrollTo(0, 0));
    await page.waitForFunction(() => document.querySelector('#rows [data-position="2"]'));
    assert.equal(await focused(), 3004);
    await page.keyboard.press("Home");
    assert.equal(await focused(), 0);
    await page.keyboard.press("o");
    assert.ok(await page.locator("#entries").isVisible());
    await page.keyboard.press("Escape");
    await page.keyboard.press("?");
    assert.ok(await page.locator("#help").isVisible());
    await page.keyboard.press("Escape");
    await page.keyboard.press("/");
    assert.equal(await page.evaluate(() => document.activeElement.id), "search");
    await page.context().close();
  });

  for (const colorScheme of ["light", "dark"]) {
    test(`is accessible, ${colorScheme}, also on a phone`, async () => {
      const { page } = await openCatalogue({ colorScheme });
      assert.deepEqual(await violationsOf(page), []);
      const colour = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.equal(colour === "rgb(255, 255, 255)", colorScheme === "light", colour);
      await page.setViewportSize({ width: 360, height: 740 });
      await page.waitForFunction(() => document.querySelector("#rows .row:nth-child(2)").style.transform === "translateY(104px)");
      assert.equal(await page.locator("#head").isVisible(), false);
      await page.locator("#state").selectOption("failed");
      assert.deepEqual(await violationsOf(page), []);
      await page.locator("#state").selectOption("");
      await settled(page);
      assert.equal(await overflows(page), false);
      const [one, two] = await page.locator("#rows .row").evaluateAll((rows) => rows.slice(0, 2).map((row) => row.getBoundingClientRect()));
      assert.ok(one.bottom <= two.top + 1, "rows overlap");
      assert.match(await page.locator("#rows .row").nth(4).innerText(), /^clip \d{4}\n.*sample.mp4\n.*2026\n/);
      await page.keyboard.press("?");
      assert.deepEqual(await violationsOf(page), []);
      await page.context().close();
    });
  }
});

describe("a directory with the results of one video", () => {
  let parent;
  before(async () => (parent = await mkdtemp(`${process.env.TMPDIR}/one-`)));
  after(() => rm(parent, { recursive: true }));

  test("one result opens without the catalogue, of two the newest", async () => {
    const names = [5, 6].map(key);
    await writeResult(`${parent}/holiday.mp4/${names[0]}`, 3);
    let one = await serve(pathToFileURL(parent), null);
    try {
      const { page } = await open(browser, one.url);
      assert.match(page.url(), /\/results\/0\/$/);
      assert.equal(await page.getByRole("link", { name: "All results" }).count(), 0);
      await page.context().close();
    } finally {
      await one.stop();
    }
    await writeResult(`${parent}/holiday.mp4/${names[1]}`, 4);
    one = await serve(pathToFileURL(parent), null);
    try {
      const { page } = await open(browser, one.url);
      const summary = await (await page.request.get(new URL("summary.json", page.url()).href)).json();
      assert.equal(summary.metadata.duration_ms, 5000);
      await page.getByRole("link", { name: "All results" }).click();
      await page.getByRole("button", { name: "2 results of" }).waitFor();
      await page.context().close();
    } finally {
      await one.stop();
    }
  });
});
