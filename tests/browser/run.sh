#!/usr/bin/env bash
# Installs what the browser test needs, when its pins have changed, and runs it: tests/browser/run.sh URL
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ ! -x ${CHROMIUM:-/usr/bin/chromium} ]]; then
    echo "no Chromium at ${CHROMIUM:-/usr/bin/chromium}: install Debian's package 'chromium', or set CHROMIUM" >&2
    exit 1
fi
if ! cmp --silent package-lock.json node_modules/.pins; then
    npm ci --silent
    cp package-lock.json node_modules/.pins
fi
exec node main.js "$@"
