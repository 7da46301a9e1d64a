#!/bin/bash
# Resolves pyproject.toml into runtime.txt and dev.txt: every package, pinned by version and hash.
#
#   deploy/locks/lock.sh UV       UV is the path of uv, which only this script needs
#
# setuptools is in both, for lbctl itself is installed without build isolation, that is with nothing unlocked.
set -euo pipefail

uv=$1
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v "$uv" >/dev/null || {
    echo "lock: there is no $uv" >&2
    echo "  hint: install uv, or name it: make lock UV=/path/to/uv" >&2
    exit 1
}

build_requirements() {
    python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'
}

compile() {
    build_requirements | "$uv" pip compile --quiet --upgrade --python-version 3.11 --generate-hashes \
        --no-header --no-emit-index-url --no-emit-find-links --output-file "$@" pyproject.toml -
}

compile deploy/locks/runtime.txt
# The development lock contains the runtime one unchanged, so that what is tested is what is installed.
compile deploy/locks/dev.txt --extra dev --constraints deploy/locks/runtime.txt
