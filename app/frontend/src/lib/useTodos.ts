"use client";

import { useCallback, useEffect, useRef, useState } from "react";
import { type Api, ApiError, type Todo } from "./api";

export type Todos = {
  /** null until the first list has come */
  all: Todo[] | null;
  /** what went wrong last, until something goes right */
  problem: string | null;
  refresh: () => Promise<void>;
  add: (title: string) => Promise<boolean>;
  setDone: (todo: Todo, done: boolean) => Promise<boolean>;
  remove: (todo: Todo) => Promise<boolean>;
  /** the list as the chat left it */
  replace: (todos: Todo[]) => void;
};

/** The list on the page. The server's word is what is shown; nothing is changed here before it has answered. */
export function useTodos(api: Api): Todos {
  const [all, setAll] = useState<Todo[] | null>(null);
  const [problem, setProblem] = useState<{ text: string; attempt: number } | null>(null);
  // A list that was asked for before a change must not undo it when it arrives late.
  const changes = useRef(0);
  const attempts = useRef(0);

  const attempt = useCallback(async (work: () => Promise<void>): Promise<boolean> => {
    attempts.current += 1;
    const mine = attempts.current;
    try {
      await work();
      // What began before the problem did says nothing about it.
      setProblem((problem) => (problem && problem.attempt > mine ? problem : null));
      return true;
    } catch (error) {
      setProblem({
        text: error instanceof ApiError ? error.message : "Something went wrong.",
        attempt: mine,
      });
      return false;
    }
  }, []);

  const change = useCallback((update: (todos: Todo[]) => Todo[]) => {
    changes.current += 1;
    setAll((todos) => update(todos ?? []));
  }, []);

  const refresh = useCallback(async () => {
    const asked = changes.current;
    await attempt(async () => {
      const todos = await api.list();
      if (asked === changes.current) {
        setAll(todos);
      }
    });
  }, [api, attempt]);

  useEffect(() => {
    void refresh();
    const onReturn = () => document.visibilityState === "visible" && void refresh();
    document.addEventListener("visibilitychange", onReturn);
    return () => document.removeEventListener("visibilitychange", onReturn);
  }, [refresh]);

  const add = (title: string) =>
    attempt(async () => {
      const todo = await api.add(title);
      change((todos) => [...todos.filter(({ id }) => id !== todo.id), todo]);
    });

  const setDone = (todo: Todo, done: boolean) =>
    attempt(async () => {
      const changed = await orGone(api.setDone(todo.id, done));
      change((todos) =>
        changed
          ? todos.map((each) => (each.id === todo.id ? changed : each))
          : todos.filter(({ id }) => id !== todo.id),
      );
    });

  const remove = (todo: Todo) =>
    attempt(async () => {
      await orGone(api.delete(todo.id));
      change((todos) => todos.filter(({ id }) => id !== todo.id));
    });

  const replace = useCallback((todos: Todo[]) => change(() => todos), [change]);

  return { all, problem: problem?.text ?? null, refresh, add, setDone, remove, replace };
}

/** null when somebody else has deleted it meanwhile: then it only has to leave this list too. */
async function orGone<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) {
      return null;
    }
    throw error;
  }
}
