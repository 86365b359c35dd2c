#!/bin/sh
# Installs the stock clients that the end-to-end suite drives (PyPI and npm; versions pinned). Optional: where this
# has not run, those tests say that they are skipped.
set -eu
cd "$(dirname "$0")/../.."

install() {
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    $as_root apt-get update -qq >&2
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

node_modules_are_there() {
    for name in @ai-sdk/openai @anthropic-ai/sdk @langchain/openai ai openai; do
        [ -d "tests/e2e/clients/node_modules/$name" ] || return 1
    done
}

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import anthropic, envoy, openai, jsonschema' 2>/dev/null; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/pip -q install --disable-pip-version-check -r tests/e2e/requirements.txt
fi
if ! node_modules_are_there; then
    command -v npm >/dev/null 2>&1 || install nodejs npm
    (cd tests/e2e/clients && npm ci --silent)
fi
