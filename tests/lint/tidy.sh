#!/bin/sh
# clang-tidy over every C file of the product, with the flags of a build folder made for it. Prints
# what it finds and fails then.
cd "$(dirname "$0")/../.." || exit 1
test -f build-tidy/build.ninja || CC=clang-14 CXX=clang++-14 /usr/bin/meson setup build-tidy -Dtests=false >/dev/null || exit 1
ninja -C build-tidy --quiet router/signals/unicode_tables.h >/dev/null || exit 1
git ls-files 'base/*.c' 'config/*.c' 'adapters/*.c' 'engine/*.c' 'router/*.c' 'plugins/*.c' 'gateway/*.c' |
    xargs -P 2 -I '{}' sh -c '
        found=$(clang-tidy-14 -p build-tidy --quiet "$1" 2>&1) && exit 0
        printf "%s\n" "$found" | grep -v "warnings\{0,1\} generated\.$"
        exit 1' tidy '{}'
