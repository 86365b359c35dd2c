#!/bin/sh
# clang-tidy over every C file of the product, with the flags of a build folder made for it.
cd "$(dirname "$0")/../.." || exit 1
test -f build-tidy/build.ninja || CC=clang-14 CXX=clang++-14 /usr/bin/meson setup build-tidy -Dtests=false >/dev/null || exit 1
git ls-files 'base/*.c' 'config/*.c' 'adapters/*.c' 'engine/*.c' 'router/*.c' 'plugins/*.c' 'gateway/*.c' |
    xargs -P 2 -n 8 clang-tidy-14 -p build-tidy --quiet 2>/dev/null
