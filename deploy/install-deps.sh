#!/bin/sh
# Installs what Rootstock needs from Debian 12 (bookworm) or a later Debian. Nothing else is downloaded.
#
#     deploy/install-deps.sh           to build and serve
#     deploy/install-deps.sh run       to serve a program that was built elsewhere
#     deploy/install-deps.sh test      also to run `make test`
#     deploy/install-deps.sh dev       also formatter, linters and fuzzers
#     deploy/install-deps.sh llama     to build llama-server, which a test suite puts behind
#
# Does nothing when everything is there. Needs root, or sudo, only when something is missing.
set -eu

run='ca-certificates libcurl4 libexpat1 libhiredis0.14 libjansson4 libmicrohttpd12 libmimalloc2.0 libpcre2-8-0 libssl3
libutf8proc2 libvectorscan5 libyaml-0-2 zlib1g'
build='gcc meson ninja-build pkg-config python3 libc6-dev
libcurl4-openssl-dev libexpat1-dev libhiredis-dev libjansson-dev libmicrohttpd-dev libmimalloc-dev libpcre2-dev
libssl-dev libutf8proc-dev libvectorscan-dev libyaml-dev zlib1g-dev'
test='g++ libcld2-dev libcmocka-dev nginx-light openssl python3-jsonschema python3-yaml redis-server'
dev='clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev universal-ctags'
llama='cmake g++ ninja-build python3-venv'

case "${1:-build}" in
run) packages=$run ;;
build) packages=$build ;;
test) packages="$build $test" ;;
dev) packages="$build $test $dev" ;;
llama) packages=$llama ;;
*)
    echo "usage: deploy/install-deps.sh [build|run|test|dev|llama]" >&2
    exit 2
    ;;
esac

missing=
for p in $packages; do
    state=$(dpkg-query -W -f '${Status}' "$p" 2>/dev/null || true)
    [ "$state" = "install ok installed" ] || missing="$missing $p"
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "install-deps: this is not Debian; install by hand:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "install-deps: run as root: apt-get install$missing" >&2
        exit 1
    }
    as_root=sudo
fi
echo "install-deps: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq >&2
# The servers are started by tests and by hand, never by the package.
$as_root env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >&2
