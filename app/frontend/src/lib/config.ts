/** What the environment says. Everything but the base path is read while the server runs, not while it is built. */

// Next.js writes `process.env.NEXT_PUBLIC_*` into the build; through another name the value stays outside.
const environment: Record<string, string | undefined> = process.env;

/** Where the browser finds the API: an address of its own, or `/api` here, which `forward` passes on. */
export function apiUrl(): string {
  const url = environment.NEXT_PUBLIC_API_URL || `${process.env.NEXT_PUBLIC_BASE_PATH ?? ""}/api`;
  return url.replace(/\/+$/, "");
}

/** Where this server finds the backend. */
export function backendUrl(): string {
  return (environment.BACKEND_URL || "http://localhost:8000").replace(/\/+$/, "");
}
