#!/bin/sh
# Writes the models with random weights whose outputs ../shared/engine/ref stores (tiny-*), by the generators there,
# into $ROOTSTOCK_RANDOM_MODELS, or ~/.cache/rootstock/random-models: about 500 MB, once. Optional: where this has not
# run, their cases are skipped, saying so. Needs ../shared (or ROOTSTOCK_SHARED), and numpy and gguf from PyPI, which
# go into a virtual environment beside the models.
set -eu
cd "$(dirname "$0")/../.."
shared=${ROOTSTOCK_SHARED:-$PWD/../shared}/engine
models=${ROOTSTOCK_RANDOM_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/rootstock/random-models}
venv=$models/venv

if [ ! -r "$shared/scripts/gen_random.py" ]; then
    echo "random_models: $shared is not here, nothing to do" >&2
    exit 0
fi
mkdir -p "$models"
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import gguf, numpy' 2>/dev/null; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" -q install --disable-pip-version-check gguf==0.19.0 numpy==2.4.6 PyYAML==6.0.3
fi
exec "$venv/bin/python" tests/golden/random_models.py "$shared" "$models"
