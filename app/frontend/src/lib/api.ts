/** The backend as the page sees it. */

export type Todo = {
  id: number;
  title: string;
  done: boolean;
  created_at: string;
};

export type Turn = { role: "user" | "assistant"; text: string };

export type ChatReply = { reply: string; todos: Todo[] };

export const TITLE_MAX = 200;
export const MESSAGE_MAX = 1000;
const HISTORY_MAX = 20;

/** Its message is fit to be shown. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

export class Api {
  constructor(private readonly url: string) {}

  list(): Promise<Todo[]> {
    return this.call("GET", "/todos");
  }

  add(title: string): Promise<Todo> {
    return this.call("POST", "/todos", { title });
  }

  setDone(id: number, done: boolean): Promise<Todo> {
    return this.call("PATCH", `/todos/${id}`, { done });
  }

  delete(id: number): Promise<void> {
    return this.call("DELETE", `/todos/${id}`);
  }

  say(message: string, history: Turn[]): Promise<ChatReply> {
    return this.call("POST", "/chat", { message, history: history.slice(-HISTORY_MAX) });
  }

  private async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    let response: Response;
    try {
      response = await fetch(this.url + path, {
        method,
        cache: "no-store",
        ...(body !== undefined && {
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(body),
        }),
      });
    } catch {
      throw new ApiError("The server cannot be reached.", 0);
    }
    if (!response.ok) {
      throw new ApiError(await explain(response), response.status);
    }
    return response.status === 204 ? (undefined as T) : response.json();
  }
}

async function explain(response: Response): Promise<string> {
  const body = await response.json().catch(() => null);
  if (typeof body?.detail === "string") {
    return `${body.detail.charAt(0).toUpperCase()}${body.detail.slice(1)}.`;
  }
  return `The server said ${response.status}.`;
}
