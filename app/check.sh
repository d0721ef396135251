#!/usr/bin/env bash
# Everything about the app that needs no container: format, types, lints and tests of both halves.
#
#   app/check.sh [backend|frontend]…
#
# Installs what it needs beside the sources (.venv, node_modules), and again only when the pins have changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# pinned STAMP FILE… -- COMMAND… : runs the command unless it has succeeded with these very files before.
pinned() {
    local stamp=$1 files=() digest
    shift
    while [[ $1 != -- ]]; do files+=("$1") && shift; done
    shift
    digest=$(sha256sum "${files[@]}")
    [[ -f $stamp && $(<"$stamp") == "$digest" ]] && return
    "$@"
    echo "$digest" >"$stamp"
}

backend() {
    cd backend
    install_pins() {
        rm -rf .venv
        python3 -m venv .venv
        .venv/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
    }
    pinned .venv/pins requirements-dev.txt -- install_pins
    .venv/bin/ruff format --check --quiet .
    .venv/bin/ruff check --quiet .
    .venv/bin/mypy
    .venv/bin/pytest -q
}

frontend() {
    cd frontend
    pinned node_modules/pins package-lock.json package.json -- npm ci --silent
    npm run --silent check
    npm run --silent test
}

(($#)) || set -- backend frontend
for half; do
    echo "== $half"
    ("$half")
done
