#!/bin/sh
# Secrets arrive as files: HYDRA_<NAME>_FILE=<path> becomes HYDRA_<NAME>=<what is in it>.
set -eu
for name in $(env | sed -n 's/^\(HYDRA_[A-Z0-9_]*\)_FILE=.*/\1/p'); do
    eval "file=\$${name}_FILE"
    if [ ! -r "$file" ]; then
        echo "${name}_FILE names $file, which can't be read" >&2
        exit 78
    fi
    value=$(cat "$file")
    export "$name=$value"
    unset "${name}_FILE"
done
exec "$@"
