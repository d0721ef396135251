/** Only this process: a backend that is away is shown on the page, and is no reason to take the page away too. */
export const dynamic = "force-dynamic";

export function GET(): Response {
  return Response.json({ status: "ok" });
}
