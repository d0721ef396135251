import { describe, expect, it, vi } from "vitest";
import { apiUrl, backendUrl } from "@/lib/config";

describe("the address of the API", () => {
  it.each([
    { env: {}, url: "/api" },
    { env: { NEXT_PUBLIC_API_URL: "" }, url: "/api" },
    { env: { NEXT_PUBLIC_BASE_PATH: "/todo" }, url: "/todo/api" },
    { env: { NEXT_PUBLIC_API_URL: "https://todo.example/v1/" }, url: "https://todo.example/v1" },
    { env: { NEXT_PUBLIC_API_URL: "/elsewhere", NEXT_PUBLIC_BASE_PATH: "/todo" }, url: "/elsewhere" },
  ])("with $env is $url", ({ env, url }) => {
    for (const [name, value] of Object.entries(env)) {
      vi.stubEnv(name, value);
    }
    expect(apiUrl()).toBe(url);
  });
});

describe("the address of the backend", () => {
  it.each([
    { value: undefined, url: "http://localhost:8000" },
    { value: "", url: "http://localhost:8000" },
    { value: "http://todo-backend:8000/", url: "http://todo-backend:8000" },
  ])("with $value is $url", ({ value, url }) => {
    vi.stubEnv("BACKEND_URL", value);
    expect(backendUrl()).toBe(url);
  });
});
