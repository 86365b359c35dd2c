#!/bin/sh
# libFuzzer from the committed corpus, every target or those that are named, SECONDS each (60). Findings land in
# build-fuzz/.
#
#     tests/fuzz/run.sh [SECONDS] [TARGET]...        tests/fuzz/run.sh 600 gguf
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ $# -eq 0 ] || shift
test -f build-fuzz/build.ninja ||
    CC=clang-14 CXX=clang++-14 /usr/bin/meson setup build-fuzz -Dfuzzing=true -Db_sanitize=address,undefined \
        -Db_lundef=false >/dev/null
if [ $# -eq 0 ]; then
    ninja -C build-fuzz --quiet
    set -- $(find build-fuzz/tests/fuzz -maxdepth 1 -name 'fuzz_*' -type f | sed 's/.*fuzz_//' | sort)
else
    for name in "$@"; do
        [ -f "tests/fuzz/$name.c" ] || {
            echo "run.sh: no target '$name' in tests/fuzz" >&2
            exit 2
        }
        ninja -C build-fuzz --quiet "tests/fuzz/fuzz_$name"
    done
fi
for name in "$@"; do
    mkdir -p "build-fuzz/corpus/$name"
    seeds=
    [ -d "tests/fuzz/corpus/$name" ] && seeds="tests/fuzz/corpus/$name"
    echo "fuzz $name: $seconds s"
    "build-fuzz/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -rss_limit_mb=4096 \
        -artifact_prefix="build-fuzz/$name-" "build-fuzz/corpus/$name" $seeds 2>"build-fuzz/$name.log" || {
        tail -40 "build-fuzz/$name.log"
        exit 1
    }
    tail -1 "build-fuzz/$name.log"
done
