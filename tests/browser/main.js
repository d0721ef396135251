// Drives the Todo Chatbot in headless Chromium, as a person would.
//
//   node main.js URL          or TODO_URL=URL node main.js
//
// CHROMIUM names another browser than Debian's; SHOTS names a folder for pictures (default: shots, beside this file).
// It works on the todos that it makes, and deletes them; others may be there.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { checks } from "./checks.js";
import { Visitor } from "./visitor.js";

const url = process.argv[2] ?? process.env.TODO_URL;
if (!url) {
  console.error("usage: node main.js URL");
  process.exit(2);
}
const shots = process.env.SHOTS ?? join(import.meta.dirname, "shots");
await mkdir(shots, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    // A container's root has no user namespaces to build the sandbox from.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

let passed = 0;
const failed = [];
for (const [name, { options, run }] of Object.entries(checks)) {
  const started = performance.now();
  const visitor = await Visitor.arrive(browser, url, shots, options);
  try {
    await visitor.open();
    await run(visitor);
    visitor.assertNothingOdd();
    passed += 1;
    console.log(`ok    ${name} (${Math.round(performance.now() - started)} ms)`);
  } catch (error) {
    failed.push(name);
    const picture = await visitor.shoot(`failed-${name.replaceAll(/\W+/g, "-")}`).catch(() => "none");
    console.log(`FAIL  ${name}\n${indent(error.message)}\n      picture: ${picture}`);
  } finally {
    await visitor.leave();
  }
}
await browser.close();

console.log(`${passed} passed, ${failed.length} failed`);
process.exitCode = failed.length ? 1 : 0;

function indent(text) {
  return text.replaceAll(/^/gm, "      ");
}
