import type { NextConfig } from "next";

const config: NextConfig = {
  output: "standalone",
  // Other lock files may lie above this folder; none of them is ours.
  outputFileTracingRoot: import.meta.dirname,
  turbopack: { root: import.meta.dirname },
  basePath: process.env.NEXT_PUBLIC_BASE_PATH || undefined,
  poweredByHeader: false,
  // No picture is resized here, so the library that would do it need not come along.
  images: { unoptimized: true },
  outputFileTracingExcludes: { "*": ["node_modules/@img/**", "node_modules/sharp/**"] },
  async headers() {
    return [
      {
        source: "/:path*",
        headers: [
          {
            key: "Content-Security-Policy",
            value: "frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
          },
          { key: "Referrer-Policy", value: "same-origin" },
          { key: "X-Content-Type-Options", value: "nosniff" },
        ],
      },
    ];
  },
};

export default config;
