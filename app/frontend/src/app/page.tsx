import { TodoApp } from "@/components/TodoApp";
import { apiUrl } from "@/lib/config";

// The address of the API is the running server's matter, so the page cannot be made while building.
export const dynamic = "force-dynamic";

export default function Page() {
  return <TodoApp apiUrl={apiUrl()} />;
}
