/** Passes a request on to the backend, which only this server can reach. */

import { backendUrl } from "./config";

const PATIENCE_MS = 60_000;

// These speak about one connection, not about the message; `fetch` has undone the encoding of what it hands over.
const OF_THE_CONNECTION = [
  "connection",
  "content-encoding",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

/** @param path begins with a slash, and may end with a query */
export async function forward(request: Request, path: string): Promise<Response> {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  try {
    const answer = await fetch(backendUrl() + path, {
      method: request.method,
      headers: passed(request.headers),
      body: request.body,
      redirect: "manual",
      cache: "no-store",
      signal: AbortSignal.any([request.signal, patience]),
      ...(request.body && { duplex: "half" }),
    });
    return new Response(answer.body, { status: answer.status, headers: passed(answer.headers) });
  } catch (error) {
    if (!request.signal.aborted) {
      console.error(`${request.method} ${path}: the backend does not answer:`, reason(error));
    }
    const detail = "the backend does not answer";
    return Response.json({ detail }, { status: patience.aborted ? 504 : 502 });
  }
}

function passed(headers: Headers): Headers {
  const kept = new Headers(headers);
  for (const name of OF_THE_CONNECTION) {
    kept.delete(name);
  }
  return kept;
}

function reason(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  return cause instanceof Error ? cause.message : String(cause);
}
