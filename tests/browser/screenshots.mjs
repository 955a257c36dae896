// Takes the README's pictures of the sample clip: docs/images/report.png and view.png.

import { mkdir } from "node:fs/promises";
import { launch, open, results, root, serve } from "./browser.mjs";

const images = `${root}/docs/images`;
await mkdir(images, { recursive: true });
const browser = await launch();
const served = await serve();
try {
  const report = await open(browser, new URL("report.html", results), { viewport: { width: 760, height: 958 }, colorScheme: "light" });
  await report.page.screenshot({ path: `${images}/report.png` });

  const view = await open(browser, served.url, { viewport: { width: 680, height: 608 }, colorScheme: "dark" });
  await view.page.waitForFunction(() => document.getElementById("video").readyState >= 2);
  await view.page.evaluate(
    () =>
      new Promise((resolve) => {
        const video = document.getElementById("video");
        document.getElementById("show-landmarks").click();
        video.requestVideoFrameCallback(() => setTimeout(resolve, 300));
        video.currentTime = 3.501;
      }),
  );
  await view.page.screenshot({ path: `${images}/view.png` });
} finally {
  await served.stop();
  await browser.close();
}
