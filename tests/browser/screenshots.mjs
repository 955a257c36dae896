// Takes the README's pictures: docs/images/report.png and view.png of the sample clip, and catalogue.png of that and other clips.

import { mkdir } from "node:fs/promises";
import { launch, open, results, root, serve } from "./browser.mjs";

const images = `${root}/docs/images`;
await mkdir(images, { recursive: true });
const browser = await launch();
const served = await serve();
const catalogue = await serve(new URL("catalogue/", import.meta.url), null);
try {
  const report = await open(browser, new URL("report.html", results), { viewport: { width: 760, height: 958 }, colorScheme: "light" });
  await report.page.screenshot({ path: `${images}/report.png` });

  // A frame with three faces, one of which is followed.
  const view = await open(browser, `${served.url}#t=7.001&track=3`, { viewport: { width: 1080, height: 732 }, colorScheme: "dark" });
  await view.page.locator("#show-landmarks").check();
  await view.page.waitForFunction(() => !video.seeking && document.querySelectorAll(".face.detected").length === 3);
  await view.page.waitForTimeout(300);
  await view.page.screenshot({ path: `${images}/view.png` });

  const list = await open(browser, `${catalogue.url}#sort=title%2B`, { viewport: { width: 900, height: 690 }, colorScheme: "light" });
  await list.page.waitForFunction(() => document.querySelectorAll("#rows img").length === 6);
  // The folder is one of this machine.
  await list.page.evaluate(() => (document.getElementById("source").textContent = "facereel-results"));
  await list.page.screenshot({ path: `${images}/catalogue.png` });
} finally {
  await served.stop();
  await catalogue.stop();
  await browser.close();
}
