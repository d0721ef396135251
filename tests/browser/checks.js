// What has to hold for a person in front of the page. Each check comes with a fresh visitor.

import assert from "node:assert/strict";

const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
const FINGER_PX = 44;

export const checks = {
  "a todo is added by hand, and is there after a reload": {
    async run(visitor) {
      const title = visitor.title("Buy milk");
      await visitor.add(title);
      assert.equal(await visitor.newTodo.inputValue(), "");
      await visitor.assertFocused(visitor.newTodo, "the field for the next todo");
      await visitor.open();
      await visitor.checkbox(title).waitFor();
    },
  },

  "a todo is completed, and opened again": {
    async run(visitor) {
      const title = visitor.title("Water the plants");
      await visitor.add(title);
      for (const done of [true, false]) {
        await visitor.checkbox(title).click();
        await visitor.page.waitForFunction(
          ([name, wanted]) =>
            [...document.querySelectorAll(".todo")].some(
              (todo) => todo.textContent.includes(name) && todo.querySelector("input").checked === wanted,
            ),
          [title, done],
        );
        await visitor.open();
        await visitor.checkbox(title).waitFor();
        assert.equal(await visitor.checkbox(title).isChecked(), done);
      }
    },
  },

  "a todo is deleted, and the focus goes to the next one": {
    async run(visitor) {
      const [first, second] = [visitor.title("First"), visitor.title("Second")];
      await visitor.add(first);
      await visitor.add(second);
      await visitor.deleteButton(first).click();
      await visitor.checkbox(first).waitFor({ state: "detached" });
      await visitor.page.waitForFunction(() => document.activeElement?.matches("button.delete"));
      await visitor.assertFocused(visitor.deleteButton(second), "the next delete button");
      await visitor.open();
      await visitor.checkbox(second).waitFor();
      assert.equal(await visitor.checkbox(first).count(), 0);
    },
  },

  "the chat adds, completes and deletes": {
    async run(visitor) {
      const title = visitor.title("call the bank");
      assert.match(await visitor.say(`add ${title}`), /^Added #\d+ /);
      await visitor.checkbox(title).waitFor();
      const number = await visitor.number(title);

      assert.equal(await visitor.say(`done ${number}`), `Done: #${number} ${title}.`);
      assert.ok(await visitor.checkbox(title).isChecked());
      assert.match(await visitor.say("what is done?"), new RegExp(`#${number} ${title}`));

      assert.equal(await visitor.say(`delete ${number}`), `Deleted: #${number} ${title}.`);
      await visitor.checkbox(title).waitFor({ state: "detached" });
      await visitor.assertFocused(visitor.message, "the field for the next message");
    },
  },

  "everything can be done with the keyboard": {
    async run(visitor) {
      const title = visitor.title("Feed the cat");
      const { page } = visitor;
      await visitor.press("Tab");
      await visitor.assertFocused(page.getByRole("link", { name: "Skip to the chat" }), "the skip link");
      await visitor.press("Tab");
      await visitor.assertFocused(visitor.newTodo, "the field for a new todo");
      await visitor.assertFocusShown();
      await visitor.add(title);

      // The newest todo is the last before the chat, whose log is the next stop.
      await visitor.log.focus();
      await visitor.press("Shift+Tab");
      await visitor.assertFocused(visitor.deleteButton(title), "the delete button of the newest todo");
      await visitor.assertFocusShown();
      await visitor.press("Shift+Tab", "Space");
      await page.locator(".todo.done", { hasText: title }).waitFor();
      await visitor.assertFocusShown();
      await visitor.press("Tab", "Enter");
      await visitor.checkbox(title).waitFor({ state: "detached" });

      await page.getByRole("link", { name: "Skip to the chat" }).focus();
      await visitor.press("Enter");
      await visitor.assertFocused(visitor.message, "the field for a message");
    },
  },

  "changes are read out": {
    async run(visitor) {
      const title = visitor.title("Listen");
      const status = visitor.page.getByRole("status");
      await visitor.add(title);
      await status.filter({ hasText: `Added ${title}` }).waitFor({ state: "attached" });
      await visitor.checkbox(title).click();
      await status.filter({ hasText: `${title}: done` }).waitFor({ state: "attached" });
      await visitor.deleteButton(title).click();
      await status.filter({ hasText: `Deleted ${title}` }).waitFor({ state: "attached" });
    },
  },

  "no known barrier in light": { run: (visitor) => barrierFree(visitor, "light") },
  "no known barrier in dark": { options: { colorScheme: "dark" }, run: (visitor) => barrierFree(visitor, "dark") },

  "a phone shows all of it without scrolling sideways": {
    options: PHONE,
    async run(visitor) {
      const long = visitor.title(`Donau${"dampfschifffahrts".repeat(6)}gesellschaft`);
      await visitor.add(visitor.title("Buy milk"));
      await visitor.add(long);
      await visitor.checkbox(long).tap();
      await visitor.say("what is left");
      await visitor.assertFitsWidth();
      for (const target of await visitor.page.getByRole("button").all()) {
        const box = await target.boundingBox();
        const name = await target.evaluate((button) => button.getAttribute("aria-label") ?? button.textContent);
        assert.ok(box.width >= FINGER_PX && box.height >= FINGER_PX, `${name} is too small for a finger`);
      }
      await visitor.shoot("phone");
    },
  },

  "a narrow phone, and text at twice its size": {
    options: { ...PHONE, viewport: { width: 320, height: 640 } },
    async run(visitor) {
      await visitor.add(visitor.title("Buy milk"));
      await visitor.page.addStyleTag({ content: ":root { font-size: 200% }" });
      await visitor.assertFitsWidth();
      await visitor.shoot("narrow");
    },
  },

  "a problem is told, and can be got over": {
    async run(visitor) {
      const { page } = visitor;
      await page.route("**/api/**", (route) => route.fulfill({ status: 503, json: { detail: "the database does not answer" } }));
      const title = visitor.title("Not lost");
      await visitor.newTodo.fill(title);
      await visitor.newTodo.press("Enter");
      const alert = page.locator(".problem[role=alert]");
      await alert.filter({ hasText: "The database does not answer." }).waitFor();
      assert.equal(await visitor.newTodo.inputValue(), title, "what was typed should still be there");
      assert.match(await visitor.say("hello"), /The database does not answer/);
      assert.equal(await visitor.message.inputValue(), "hello");

      await page.unroute("**/api/**");
      await page.getByRole("button", { name: "Try again" }).click();
      await alert.waitFor({ state: "detached" });
      await visitor.add(title);
      visitor.forgive(/503/);
    },
  },
};

async function barrierFree(visitor, name) {
  const done = visitor.title("Buy milk");
  await visitor.add(done);
  await visitor.checkbox(done).click();
  await visitor.page.locator(".todo.done", { hasText: done }).waitFor();
  await visitor.add(visitor.title("Water the plants on the balcony"));
  await visitor.say("help");
  await visitor.assertAccessible();
  await visitor.shoot(name);
}
