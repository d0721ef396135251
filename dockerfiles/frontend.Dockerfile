# The frontend: Next.js on port 3000. Context: app/frontend.
# With the secret "ca" (a PEM bundle) packages are fetched through a local certificate authority.

ARG NODE_IMAGE=node:22-bookworm-slim
ARG BASE_IMAGE=debian:bookworm-slim


# Only the pins come in here: a change in the sources installs nothing again. Tests and linters stay out.
FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm \
    --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export NPM_CONFIG_CAFILE=/run/secrets/ca; fi \
    && npm ci --omit=dev --no-update-notifier


FROM ${NODE_IMAGE} AS build
WORKDIR /app
ENV NEXT_TELEMETRY_DISABLED=1
# The one setting that Next.js writes into what it builds; all others are read when the server starts.
ARG NEXT_PUBLIC_BASE_PATH=
COPY --from=dependencies /app/node_modules node_modules
COPY . .
RUN --mount=type=cache,target=/app/.next/cache \
    NEXT_PUBLIC_BASE_PATH=${NEXT_PUBLIC_BASE_PATH} npm run build \
    && mkdir -p /out/.next \
    && cp -r .next/standalone/. /out/ \
    && cp -r .next/static /out/.next/


# Node alone, on the layers that the other images stand on too: no npm, no compilers' headers, less to load.
FROM ${BASE_IMAGE} AS runtime
COPY --from=build /usr/local/bin/node /usr/local/bin/
WORKDIR /app
ENV NODE_ENV=production \
    NEXT_TELEMETRY_DISABLED=1 \
    HOSTNAME=0.0.0.0 \
    PORT=3000
COPY --from=build /out ./
USER 10001:10001
EXPOSE 3000
CMD ["node", "server.js"]
