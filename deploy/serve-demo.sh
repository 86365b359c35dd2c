#!/bin/sh
# Serves the demo: PROGRAM CONFIG LISTEN. With ROOTSTOCK_REDIS_URL set, an empty catalog there is first filled
# with the demo adapters, so that both catalogs answer alike.
set -eu
program=$1 config=$2 listen=$3

push_demo() {
    for yaml in models/adapters/*/adapter.yaml; do
        folder=$(dirname "$yaml")
        name=$(basename "$folder")
        "$program" adapters show "$name" -c "$config" >/dev/null 2>&1 && continue
        description=$(sed -n 's/^description: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$yaml")
        # Oldest first: the newest ends as prod, the one before it as prev.
        for revision in $(ls "$folder" | grep -E '^[0-9]+$' | sort -n); do
            "$program" adapters push "$name" "$folder/$revision" --base demo --alias prod \
                --description "$description" -c "$config" >&2
        done
    done
}

if [ -n "${ROOTSTOCK_REDIS_URL:-}" ]; then
    push_demo
fi
exec "$program" serve -c "$config" --listen "$listen"
