// Checks pages for accessibility.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/// The violations that axe finds, of serious or critical impact.
export async function violationsOf(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  return serious.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(" ")}`);
}

/// Whether the page is wider than the screen.
export const overflows = (page) => page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
