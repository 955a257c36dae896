// Starts a Chromium, and `facereel view` for it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import chromium from "@sparticuz/chromium";
import { chromium as playwright } from "playwright-core";

export const root = process.env.ROOT;
export const results = new URL("results/", import.meta.url);

/// Starts a Chromium: the one that CHROMIUM names, else npm's, which is built for Linux on x86-64, else an installed Chrome.
export async function launch() {
  const { CHROMIUM } = process.env;
  const packaged = process.platform === "linux" && process.arch === "x64";
  try {
    // It opens only our own pages, and containers rarely allow a sandbox.
    const options = { args: ["--no-sandbox"] };
    if (CHROMIUM) return await playwright.launch({ ...options, executablePath: CHROMIUM });
    if (!packaged) return await playwright.launch({ ...options, channel: "chrome" });
    return await playwright.launch({ ...options, executablePath: await chromium.executablePath() });
  } catch (error) {
    throw new Error(`No Chromium starts here: install one (apt install chromium, or Google Chrome) and name it in CHROMIUM. ${error.message}`);
  }
}

/// Serves results, by default those of the sample clip, until `stop` is called. Without a video, the command looks for it.
export async function serve(folder = results, video = `${root}/tests/fixtures/sample-clip/sample.mp4`) {
  const view = spawn(process.env.FACEREEL, ["view", "--no-open", fileURLToPath(folder), ...(video ? [video] : [])], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(view, "exit");
  for await (const line of createInterface({ input: view.stdout })) {
    if (line.startsWith("http://")) {
      return { url: line, stop: () => (view.kill(), ended) };
    }
  }
  throw new Error("facereel view ended and did not print its address");
}

/// Opens a page, and records its requests and everything that should not happen: errors, warnings and failed requests.
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options });
  const page = await context.newPage();
  const problems = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => problems.push(`script: ${error.message}`));
  page.on("requestfailed", (request) => {
    // A player aborts a request for a part of the video when it needs another part.
    const broken = request.resourceType() === "media" && request.failure()?.errorText === "net::ERR_ABORTED";
    if (!broken) problems.push(`request: ${request.url()} ${request.failure()?.errorText}`);
  });
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(url.toString());
  return { page, problems, requests };
}
