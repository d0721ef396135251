// One person with a fresh browser: what they see, and what they can do.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const TIMEOUT_MS = 10_000;
const axe = createRequire(import.meta.url).resolve("axe-core");

export class Visitor {
  #made = [];
  #odd = [];
  #marker = `t${Date.now().toString(36)}${Math.floor(Math.random() * 1296).toString(36)}`;

  static async arrive(browser, url, shots, options = {}) {
    const visitor = new Visitor();
    visitor.url = url;
    visitor.shots = shots;
    visitor.context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    visitor.context.setDefaultTimeout(TIMEOUT_MS);
    visitor.page = await visitor.context.newPage();
    visitor.#watch();
    return visitor;
  }

  /** Loads the page, and waits until the list is shown. */
  async open() {
    await Promise.all([
      this.page.waitForResponse((response) => response.url().endsWith("/api/todos")),
      this.page.goto(this.url),
    ]);
    await this.page.getByText("Loading…").waitFor({ state: "detached" });
  }

  /** A title that nobody else has. */
  title(words) {
    return `${words} ${this.#marker}`;
  }

  get newTodo() {
    return this.page.getByRole("textbox", { name: "New todo" });
  }

  get message() {
    return this.page.getByRole("textbox", { name: "Message to the chatbot" });
  }

  get log() {
    return this.page.getByRole("log");
  }

  checkbox(title) {
    return this.page.getByRole("checkbox", { name: title, exact: true });
  }

  deleteButton(title) {
    return this.page.getByRole("button", { name: `Delete ${title}`, exact: true });
  }

  async add(title) {
    this.#made.push(title);
    await this.newTodo.fill(title);
    await this.newTodo.press("Enter");
    await this.checkbox(title).waitFor();
  }

  /** Says it, and returns the chatbot's answer. */
  async say(text) {
    const answers = this.log.locator(".assistant:not(.waiting)");
    const before = await answers.count();
    if (text.startsWith("add ")) {
      this.#made.push(text.slice("add ".length));
    }
    await this.message.fill(text);
    await this.message.press("Enter");
    await answers.nth(before).waitFor();
    return (await answers.nth(before).textContent()).replace(/^Chatbot: /, "");
  }

  /** The number by which the chat knows it. */
  async number(title) {
    const row = this.page.locator(".todo", { hasText: title });
    return (await row.locator(".number").textContent()).replace("#", "");
  }

  async press(...keys) {
    for (const key of keys) {
      await this.page.keyboard.press(key);
    }
  }

  async assertFocused(locator, what) {
    const focused = await locator.evaluate((element) => element === document.activeElement);
    const actual = await this.page.evaluate(() => document.activeElement?.outerHTML.slice(0, 160));
    assert.ok(focused, `the focus should be on ${what}, and is on ${actual}`);
  }

  async assertFocusShown() {
    const outline = await this.page.evaluate(() => {
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      return { outlineStyle, width: Number.parseFloat(outlineWidth) };
    });
    assert.ok(outline.outlineStyle !== "none" && outline.width >= 2, "the focused element is not marked");
  }

  async assertAccessible() {
    await this.page.addScriptTag({ path: axe });
    const violations = await this.page.evaluate(async () => (await window.axe.run()).violations);
    const told = violations.map(({ id, help, nodes }) => `${id}: ${help} (${nodes.map(({ html }) => html).join(" | ")})`);
    assert.deepEqual(told, []);
  }

  async assertFitsWidth() {
    const { scroll, client } = await this.page.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      client: document.documentElement.clientWidth,
    }));
    assert.ok(scroll <= client, `the page is ${scroll} px wide in a window of ${client} px`);
  }

  async shoot(name) {
    const path = join(this.shots, `${name}.png`);
    await this.page.screenshot({ path, fullPage: true });
    return path;
  }

  /** Trouble that a check has made on purpose. */
  forgive(pattern) {
    this.#odd = this.#odd.filter((each) => !pattern.test(each));
  }

  assertNothingOdd() {
    assert.deepEqual(this.#odd, [], "errors in the console, or requests to somewhere else");
  }

  async leave() {
    const todos = `${this.url.replace(/\/$/, "")}/api/todos`;
    try {
      const all = await (await fetch(todos)).json();
      const mine = all.filter(({ title }) => this.#made.includes(title));
      await Promise.all(mine.map(({ id }) => fetch(`${todos}/${id}`, { method: "DELETE" })));
    } catch (error) {
      console.log(`      could not tidy up: ${error.message}`);
    }
    await this.context.close();
  }

  #watch() {
    const home = new URL(this.url).origin;
    this.page.on("pageerror", (error) => this.#odd.push(`page error: ${error.message}`));
    this.page.on("console", (line) => line.type() === "error" && this.#odd.push(`console: ${line.text()}`));
    this.page.on("request", (request) => {
      const url = request.url();
      if (/^https?:/.test(url) && new URL(url).origin !== home) {
        this.#odd.push(`request to ${url}`);
      }
    });
  }
}
