"use client";

import { type SubmitEvent, useEffect, useRef, useState } from "react";
import { type Api, ApiError, MESSAGE_MAX, type Todo, type Turn } from "@/lib/api";

type Line = Turn & { id: number; failed?: boolean };
type Props = { api: Api; onTodos: (todos: Todo[]) => void };

const SUGGESTIONS = ["What is left?", "Help"];
const GREETING: Line = {
  id: 0,
  role: "assistant",
  text: "Hello! Say “add milk”, “done 2” or “what is left”.",
};

export function Chat({ api, onTodos }: Props) {
  const [lines, setLines] = useState([GREETING]);
  const [message, setMessage] = useState("");
  const [waiting, setWaiting] = useState(false);
  const log = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLInputElement>(null);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new line is what makes it scroll
  useEffect(() => {
    log.current?.scrollTo({ top: log.current.scrollHeight });
  }, [lines, waiting]);

  function append(line: Omit<Line, "id">) {
    setLines((before) => [...before, { ...line, id: before.length }]);
  }

  async function say(text: string) {
    if (!text || waiting) {
      return;
    }
    const history = lines.slice(1).filter(({ failed }) => !failed);
    append({ role: "user", text });
    setMessage("");
    setWaiting(true);
    try {
      const { reply, todos } = await api.say(
        text,
        history.map(({ role, text }) => ({ role, text })),
      );
      append({ role: "assistant", text: reply });
      onTodos(todos);
    } catch (error) {
      const problem = error instanceof ApiError ? error.message : "Something went wrong.";
      // What was not answered is no part of the conversation that the next message stands in.
      setLines((before) =>
        before.map((line, index) => (index < before.length - 1 ? line : { ...line, failed: true })),
      );
      append({ role: "assistant", text: problem, failed: true });
      setMessage(text);
    } finally {
      setWaiting(false);
    }
  }

  function submit(event: SubmitEvent) {
    event.preventDefault();
    void say(message.trim());
    input.current?.focus();
  }

  return (
    <section className="pane chat" aria-labelledby="chat-heading">
      <h2 id="chat-heading">Chat</h2>
      {/* It scrolls, so the keyboard has to be able to get into it. */}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: see above */}
      <div className="log" role="log" aria-labelledby="chat-heading" ref={log} tabIndex={0}>
        {lines.map((line) => (
          <p key={line.id} className={`line ${line.role}${line.failed ? " failed" : ""}`}>
            <span className="unseen">{line.role === "user" ? "You: " : "Chatbot: "}</span>
            {line.text}
          </p>
        ))}
        {waiting && (
          <p className="line assistant waiting">
            <span className="unseen">The chatbot is thinking</span>
            <span aria-hidden="true">…</span>
          </p>
        )}
      </div>
      <div className="suggestions">
        {SUGGESTIONS.map((text) => (
          <button key={text} type="button" className="quiet" onClick={() => void say(text)}>
            {text}
          </button>
        ))}
      </div>
      <form className="entry" onSubmit={submit}>
        <label className="unseen" htmlFor="message">
          Message to the chatbot
        </label>
        <input
          id="message"
          ref={input}
          value={message}
          onChange={(event) => setMessage(event.target.value)}
          placeholder="add milk"
          maxLength={MESSAGE_MAX}
          autoComplete="off"
          enterKeyHint="send"
        />
        <button type="submit" className="strong">
          Send
        </button>
      </form>
    </section>
  );
}
