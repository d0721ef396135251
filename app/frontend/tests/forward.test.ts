import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { forward } from "@/lib/forward";

let backend: Server;
let answer: RequestListener;

beforeEach(async () => {
  backend = createServer((request, response) => answer(request, response));
  await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
  vi.stubEnv("BACKEND_URL", `http://127.0.0.1:${(backend.address() as AddressInfo).port}`);
});

afterEach(() => {
  backend.closeAllConnections();
  backend.close();
});

function asked(method: string, body?: string): Request {
  const headers = { "Content-Type": "application/json", Connection: "keep-alive", "X-Request-Id": "7" };
  return new Request("http://frontend/api/todos", { method, headers, ...(body !== undefined && { body }) });
}

it("hands over method, path, headers and body, and hands back the answer", async () => {
  answer = async (request, response) => {
    const body = await text(request);
    const { method, url, headers } = request;
    response.writeHead(201, { "Content-Type": "application/json", "X-From": "backend" });
    response.end(JSON.stringify({ method, url, body, id: headers["x-request-id"], host: headers.host }));
  };
  const response = await forward(asked("POST", '{"title":"milk"}'), "/api/todos?all=1");
  expect(response.status).toBe(201);
  expect(response.headers.get("x-from")).toBe("backend");
  expect(await response.json()).toEqual({
    method: "POST",
    url: "/api/todos?all=1",
    body: '{"title":"milk"}',
    id: "7",
    host: process.env.BACKEND_URL?.replace("http://", ""),
  });
});

it("hands over an answer without a body", async () => {
  answer = (_, response) => response.writeHead(204).end();
  const response = await forward(asked("DELETE"), "/api/todos/1");
  expect(response.status).toBe(204);
  expect(await response.text()).toBe("");
});

it("does not call plain text compressed", async () => {
  answer = (_, response) =>
    response.writeHead(200, { "Content-Encoding": "gzip" }).end(gzipSync("plain again"));
  const response = await forward(asked("GET"), "/api/todos");
  expect(response.headers.has("content-encoding")).toBe(false);
  expect(response.headers.has("content-length")).toBe(false);
  expect(await response.text()).toBe("plain again");
});

it("leaves it to the browser to follow a redirect", async () => {
  answer = (_, response) => response.writeHead(307, { Location: "/elsewhere" }).end();
  const response = await forward(asked("GET"), "/api/todos");
  expect([response.status, response.headers.get("location")]).toEqual([307, "/elsewhere"]);
});

it("says 502 when the backend is away, and why in the log", async () => {
  const log = vi.spyOn(console, "error").mockImplementation(() => {});
  vi.stubEnv("BACKEND_URL", "http://127.0.0.1:1");
  const response = await forward(asked("GET"), "/api/todos");
  expect(response.status).toBe(502);
  expect(await response.json()).toEqual({ detail: "the backend does not answer" });
  expect(log).toHaveBeenCalledOnce();
});

it("lets go of the backend when the browser has gone", async () => {
  const gone = new AbortController();
  const closed = new Promise<void>((resolve) => {
    answer = (request) => {
      request.on("close", resolve);
      gone.abort();
    };
  });
  const log = vi.spyOn(console, "error").mockImplementation(() => {});
  await forward(new Request("http://frontend/api/todos", { signal: gone.signal }), "/api/todos");
  await closed;
  expect(log).not.toHaveBeenCalled();
});
