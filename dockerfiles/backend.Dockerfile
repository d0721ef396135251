# The backend: FastAPI on port 8000. Context: app/backend.
# With the secret "ca" (a PEM bundle) packages are fetched through a local certificate authority.

ARG BASE_IMAGE=debian:bookworm-slim


FROM ${BASE_IMAGE} AS python
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
    && apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends ca-certificates python3 \
    && rm -rf /var/log/* /var/cache/debconf/* /usr/share/doc/* /usr/share/man/*


# Only the pins come in here: a change in the sources installs nothing again.
FROM python AS dependencies
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-venv \
    && python3 -m venv /installer \
    && python3 -m venv --without-pip /venv
COPY requirements.txt /
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && /installer/bin/pip --python /venv/bin/python install --disable-pip-version-check --no-compile \
        --only-binary :all: -r /requirements.txt \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /venv


FROM python AS sources
COPY todo_backend /app/todo_backend
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app


FROM python AS runtime
# The folder of the SQLite file, when there is no DATABASE_URL.
RUN install -d -o 10001 -g 10001 /data
WORKDIR /data
COPY --from=dependencies /venv /venv
COPY --from=sources /app /app
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "todo_backend"]
