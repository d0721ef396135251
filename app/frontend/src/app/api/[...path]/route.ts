import type { NextRequest } from "next/server";
import { forward } from "@/lib/forward";

function handle(request: NextRequest): Promise<Response> {
  return forward(request, request.nextUrl.pathname + request.nextUrl.search);
}

export { handle as DELETE, handle as GET, handle as PATCH, handle as POST, handle as PUT };
