#!/bin/sh
# libFuzzer on every target for SECONDS each, from the committed corpus. Findings land in build-fuzz/.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
test -f build-fuzz/build.ninja ||
    CC=clang-14 CXX=clang++-14 /usr/bin/meson setup build-fuzz -Dfuzzing=true -Db_sanitize=address,undefined \
        -Db_lundef=false >/dev/null
ninja -C build-fuzz --quiet
for target in build-fuzz/tests/fuzz/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=$(basename "$target" | sed 's/^fuzz_//')
    mkdir -p "build-fuzz/corpus/$name"
    seeds=
    [ -d "tests/fuzz/corpus/$name" ] && seeds="tests/fuzz/corpus/$name"
    echo "fuzz $name: $seconds s"
    "$target" -max_total_time="$seconds" -rss_limit_mb=4096 -artifact_prefix="build-fuzz/$name-" \
        "build-fuzz/corpus/$name" $seeds 2>"build-fuzz/$name.log" || {
        tail -40 "build-fuzz/$name.log"
        exit 1
    }
    tail -1 "build-fuzz/$name.log"
done
