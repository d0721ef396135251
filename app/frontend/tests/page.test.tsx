// @vitest-environment happy-dom

import { cleanup, render, screen, waitFor } from "@testing-library/react";
import { userEvent } from "@testing-library/user-event";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { TodoApp } from "@/components/TodoApp";
import type { Todo } from "@/lib/api";

/** A backend in a few lines: it keeps todos, and it can be told to fail. */
class Backend {
  todos: Todo[] = [];
  broken: number | null = null;
  calls: { method: string; path: string; body: unknown }[] = [];

  fetch = async (url: string, { method = "GET", body }: RequestInit = {}): Promise<Response> => {
    const path = url.replace("/some/api", "");
    const given = body ? JSON.parse(String(body)) : undefined;
    this.calls.push({ method, path, body: given });
    if (this.broken !== null) {
      return Response.json({ detail: "the database does not answer" }, { status: this.broken });
    }
    const id = Number(path.split("/")[2]);
    const todo = this.todos.find((each) => each.id === id);
    switch (`${method} ${path.replace(/\d+/, "N")}`) {
      case "GET /todos":
        return Response.json(this.todos);
      case "POST /todos":
        return Response.json(this.keep(given.title), { status: 201 });
      case "PATCH /todos/N":
        return todo
          ? Response.json(Object.assign(todo, given))
          : Response.json({ detail: `there is no todo #${id}` }, { status: 404 });
      case "DELETE /todos/N":
        this.todos = this.todos.filter((each) => each !== todo);
        return new Response(null, { status: todo ? 204 : 404 });
      case "POST /chat":
        this.keep("from the chat");
        return Response.json({ reply: `You said ${given.message}`, todos: this.todos });
      default:
        return new Response(null, { status: 405 });
    }
  };

  keep(title: string): Todo {
    const id = Math.max(0, ...this.todos.map((todo) => todo.id)) + 1;
    const todo = { id, title, done: false, created_at: "2026-11-23T10:00:00Z" };
    this.todos.push(todo);
    return todo;
  }
}

let backend: Backend;
const user = userEvent.setup();

beforeEach(() => {
  backend = new Backend();
  vi.stubGlobal("fetch", backend.fetch);
});

afterEach(cleanup);

async function open(...titles: string[]) {
  for (const title of titles) {
    backend.keep(title);
  }
  render(<TodoApp apiUrl="/some/api" />);
  await waitFor(() => expect(screen.queryByText("Loading…")).toBeNull());
}

const newTodo = () => screen.getByRole<HTMLInputElement>("textbox", { name: "New todo" });
const message = () => screen.getByRole<HTMLInputElement>("textbox", { name: "Message to the chatbot" });
const checkbox = (name: string) => screen.findByRole<HTMLInputElement>("checkbox", { name });

it("shows what is there, and how much of it is left", async () => {
  await open("milk", "bread");
  await user.click(await checkbox("milk"));
  await screen.findByText("1 left");
  expect(backend.todos[0]?.done).toBe(true);
  expect((await checkbox("milk")).checked).toBe(true);
});

it("adds what is typed, and is ready for the next one", async () => {
  await open();
  await user.type(newTodo(), "  milk {Enter}");
  await checkbox("milk");
  expect(newTodo().value).toBe("");
  expect(document.activeElement).toBe(newTodo());
  expect(screen.getByRole("status").textContent).toBe("Added milk");
});

it("does not ask the backend to add nothing", async () => {
  await open();
  await user.type(newTodo(), "   {Enter}");
  expect(backend.calls.map(({ method }) => method)).toEqual(["GET"]);
});

it.each([
  { which: "first", focused: "Delete second" },
  { which: "third", focused: "Delete second" },
])("moves the focus to $focused when the $which is deleted", async ({ which, focused }) => {
  await open("first", "second", "third");
  if (which === "first") {
    backend.todos.splice(2);
    document.dispatchEvent(new Event("visibilitychange"));
    await waitFor(() => expect(screen.queryByText("third")).toBeNull());
  }
  await user.click(screen.getByRole("button", { name: `Delete ${which}` }));
  await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe(focused));
});

it("moves the focus to the field when the last todo is deleted", async () => {
  await open("only");
  await user.click(screen.getByRole("button", { name: "Delete only" }));
  await waitFor(() => expect(document.activeElement).toBe(newTodo()));
  screen.getByText(/Nothing here yet/);
});

it("lets go of a todo that somebody else has deleted", async () => {
  await open("milk");
  backend.todos = [];
  await user.click(await checkbox("milk"));
  await screen.findByText(/Nothing here yet/);
  expect(screen.queryByRole("alert")).toBeNull();
});

it("keeps what was typed when the backend fails, and recovers", async () => {
  await open();
  backend.broken = 503;
  await user.type(newTodo(), "milk{Enter}");
  expect((await screen.findByRole("alert")).textContent).toContain("The database does not answer.");
  expect(newTodo().value).toBe("milk");
  backend.broken = null;
  await user.click(screen.getByRole("button", { name: "Try again" }));
  await waitFor(() => expect(screen.queryByRole("alert")).toBeNull());
});

it("keeps showing a problem when something older succeeds", async () => {
  let deliver = (_: Response) => {};
  const list = new Promise<Response>((resolve) => {
    deliver = resolve;
  });
  vi.stubGlobal("fetch", (url: string, init?: RequestInit) =>
    init?.method === "GET" ? list : backend.fetch(url, init),
  );
  backend.broken = 503;
  render(<TodoApp apiUrl="/some/api" />);
  await user.type(newTodo(), "milk{Enter}");
  await screen.findByRole("alert");
  deliver(Response.json([{ id: 1, title: "bread", done: false, created_at: "2026-11-23T10:00:00Z" }]));
  await checkbox("bread");
  screen.getByRole("alert");
});

it("shows a chat answer and the list that came with it", async () => {
  await open();
  await user.type(message(), "add something{Enter}");
  await screen.findByText("You said add something");
  await checkbox("from the chat");
  expect(message().value).toBe("");
});

it("sends the conversation so far, without greeting and failures", async () => {
  await open();
  await user.type(message(), "one{Enter}");
  await screen.findByText("You said one");
  backend.broken = 500;
  await user.type(message(), "two{Enter}");
  await screen.findByText("The database does not answer.");
  expect(message().value).toBe("two");
  backend.broken = null;
  await user.type(message(), "{Enter}");
  await screen.findByText("You said two");
  expect(backend.calls.at(-1)?.body).toEqual({
    message: "two",
    history: [
      { role: "user", text: "one" },
      { role: "assistant", text: "You said one" },
    ],
  });
});
