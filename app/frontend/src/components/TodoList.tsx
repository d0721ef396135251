"use client";

import { type SubmitEvent, useEffect, useRef, useState } from "react";
import { TITLE_MAX, type Todo } from "@/lib/api";
import type { Todos } from "@/lib/useTodos";

type Props = { todos: Todos; announce: (text: string) => void };

export function TodoList({ todos, announce }: Props) {
  const [title, setTitle] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const leaving = useRef<{ id: number; index: number } | null>(null);

  async function add(event: SubmitEvent) {
    event.preventDefault();
    const wanted = title.trim();
    if (wanted && (await todos.add(wanted))) {
      setTitle("");
      announce(`Added ${wanted}`);
    }
    input.current?.focus();
  }

  async function setDone(todo: Todo, done: boolean) {
    if (await todos.setDone(todo, done)) {
      announce(`${todo.title}: ${done ? "done" : "open again"}`);
    }
  }

  async function remove(todo: Todo, index: number) {
    leaving.current = { id: todo.id, index };
    if (await todos.remove(todo)) {
      announce(`Deleted ${todo.title}`);
    }
  }

  // The button that had the focus goes away with its todo, so the focus moves on to the next one.
  useEffect(() => {
    const left = leaving.current;
    if (left && !todos.all?.some(({ id }) => id === left.id)) {
      leaving.current = null;
      const buttons = list.current?.querySelectorAll<HTMLButtonElement>("button.delete") ?? [];
      (buttons[Math.min(left.index, buttons.length - 1)] ?? input.current)?.focus();
    }
  }, [todos.all]);

  return (
    <section className="pane" aria-labelledby="list-heading">
      <h2 id="list-heading">List</h2>
      <form className="entry" onSubmit={(event) => void add(event)}>
        <label className="unseen" htmlFor="title">
          New todo
        </label>
        <input
          id="title"
          ref={input}
          value={title}
          onChange={(event) => setTitle(event.target.value)}
          placeholder="What is to be done?"
          maxLength={TITLE_MAX}
          autoComplete="off"
          enterKeyHint="done"
        />
        <button type="submit" className="strong">
          Add
        </button>
      </form>
      {todos.all?.length === 0 && <p className="empty">Nothing here yet. Add a todo, or ask the chat to.</p>}
      {todos.all === null && !todos.problem && <p className="empty">Loading…</p>}
      {/* Safari takes the role away from a list without bullets. */}
      {/* biome-ignore lint/a11y/noRedundantRoles: see above */}
      <ul className="todos" role="list" ref={list} aria-label="Todos">
        {todos.all?.map((todo, index) => (
          <li key={todo.id} className={todo.done ? "todo done" : "todo"}>
            <label>
              <input
                type="checkbox"
                checked={todo.done}
                onChange={(event) => void setDone(todo, event.target.checked)}
              />
              <span className="title">{todo.title}</span>
            </label>
            <span className="number">#{todo.id}</span>
            <button
              type="button"
              className="delete"
              aria-label={`Delete ${todo.title}`}
              onClick={() => void remove(todo, index)}
            >
              <svg viewBox="0 0 20 20" aria-hidden="true">
                <path d="M5 5l10 10M15 5L5 15" />
              </svg>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
