#!/bin/sh
# Fails when a file is not as the formatter would leave it.
cd "$(dirname "$0")/../.." || exit 1
git ls-files '*.c' '*.h' | xargs clang-format-14 --dry-run --Werror
