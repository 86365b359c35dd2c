#!/bin/sh
# Installs the stock clients that the end-to-end suite drives (PyPI and npm; versions pinned). Optional: where this
# has not run, those tests say that they are skipped.
set -eu
cd "$(dirname "$0")/../.."
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import openai, jsonschema' 2>/dev/null; then
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/pip -q install --disable-pip-version-check -r tests/e2e/requirements.txt
fi
if command -v npm >/dev/null 2>&1; then
    [ -d tests/e2e/clients/node_modules/openai ] || (cd tests/e2e/clients && npm ci --silent)
else
    echo "install-clients: no npm here; the Node client's tests will be skipped" >&2
fi
