#!/bin/sh
# Makes everything under models/ that is not a script, from fixed seeds: about 40 minutes on two cores.
#   python3 -m venv VENV && VENV/bin/pip install -r requirements.txt && PYTHON=VENV/bin/python ./build.sh
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
"$python" train.py tokenizer
"$python" train.py base
"$python" export.py base
"$python" train.py adapters
"$python" export.py adapters
"$python" export.py heldout
"$python" export.py reference
"$python" check.py
"$python" evaluate.py
