#!/bin/sh
# Builds llama.cpp's llama-server, which the end-to-end suite puts behind a gateway, from the sources that
# llama-cpp-python carries on PyPI (version and digest in llama.txt), into $ROOTSTOCK_LLAMA, or
# ~/.cache/rootstock/llama-server/VERSION: once, about ten minutes of one core. Optional: where this has not run, those
# tests say that they are skipped.
#
# Only what the tests need is built, lightly optimised and for any machine of this kind: the model is small, and a cache
# may travel.
set -eu
cd "$(dirname "$0")/../.."
list=$PWD/tests/e2e/llama.txt
version=$(sed -n 's/^llama-cpp-python==\([^ ]*\).*/\1/p' "$list")
folder=${ROOTSTOCK_LLAMA:-${XDG_CACHE_HOME:-$HOME/.cache}/rootstock/llama-server/$version}
limit=1200 # seconds of building; what is done by then is found again by the next run

is_there() { # and runs on this machine
    "$folder/llama-server" --version >/dev/null 2>&1
}

if [ -n "${LLAMA_SERVER:-}" ] || is_there; then
    exit 0
fi
deploy/install-deps.sh llama
mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9 # another checkout may be at it
if is_there; then
    exit 0
fi
echo "install-llama: building llama-server of llama-cpp-python $version in $folder" >&2

if [ ! -f "$folder/sources/CMakeLists.txt" ]; then
    rm -rf "$folder/venv" "$folder/download" "$folder/unpacked"
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" -q download --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
        --require-hashes -d "$folder/download" -r "$list"
    mkdir "$folder/unpacked"
    tar -xzf "$folder/download/"*.tar.gz -C "$folder/unpacked" --strip-components 3 --wildcards '*/vendor/llama.cpp/*'
    mv "$folder/unpacked" "$folder/sources"
    rm -rf "$folder/venv" "$folder/download"
fi

light='-O1 -DNDEBUG'
for part in SSE42 AVX AVX2 BMI2 FMA F16C NATIVE OPENMP LLAMAFILE CPU_REPACK CCACHE; do
    set -- "$@" "-DGGML_$part=OFF"
done
for part in OPENSSL BUILD_UI USE_PREBUILT_UI BUILD_TESTS BUILD_EXAMPLES BUILD_APP ALL_WARNINGS; do
    set -- "$@" "-DLLAMA_$part=OFF"
done
cmake -S "$folder/sources" -B "$folder/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
    -DCMAKE_C_FLAGS_RELEASE="$light" -DCMAKE_CXX_FLAGS_RELEASE="$light" "$@" >"$folder/log" 2>&1 &&
    timeout "$limit" ninja -C "$folder/build" -j2 llama-server >>"$folder/log" 2>&1 || {
    tail -n 20 "$folder/log" >&2
    exit 1
}
"$folder/build/bin/llama-server" --version >/dev/null 2>&1
mv "$folder/build/bin/llama-server" "$folder/llama-server"
rm -rf "$folder/build" "$folder/sources"
