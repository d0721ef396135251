"use client";

import { useCallback, useMemo, useState } from "react";
import { Api } from "@/lib/api";
import { useTodos } from "@/lib/useTodos";
import { Chat } from "./Chat";
import { TodoList } from "./TodoList";

export function TodoApp({ apiUrl }: { apiUrl: string }) {
  const api = useMemo(() => new Api(apiUrl), [apiUrl]);
  const todos = useTodos(api);
  const [news, setNews] = useState("");
  // The blank makes a sentence that is said twice in a row a change, and so it is read out twice.
  const announce = useCallback(
    (text: string) => setNews((last) => (last === text ? `${text}\u00a0` : text)),
    [],
  );

  return (
    <>
      <a className="skip" href="#message">
        Skip to the chat
      </a>
      <header className="top">
        <h1>Todo Chatbot</h1>
        <p className="count">{summary(todos.all?.filter(({ done }) => !done).length)}</p>
      </header>
      {todos.problem && (
        <div className="problem" role="alert">
          <p>{todos.problem}</p>
          <button type="button" className="quiet" onClick={() => void todos.refresh()}>
            Try again
          </button>
        </div>
      )}
      <main className="panes">
        <TodoList todos={todos} announce={announce} />
        <Chat api={api} onTodos={todos.replace} />
      </main>
      <p className="unseen" role="status">
        {news}
      </p>
    </>
  );
}

function summary(open: number | undefined): string {
  switch (open) {
    case undefined:
      return "";
    case 0:
      return "Nothing left";
    default:
      return `${open} left`;
  }
}
