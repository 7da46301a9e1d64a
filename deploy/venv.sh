#!/bin/bash
# Makes an isolated Python environment with lbctl in it, from a lock with hashes; does nothing if it is up to date.
#
#   deploy/venv.sh DIRECTORY LOCK [--editable]
#
# LOCK is a file in deploy/locks/. The lock pins every package by hash and names all of them (hence --no-deps), so an
# index configured on this machine can serve the files, but cannot change what they are.
set -euo pipefail

venv=$1 lock=deploy/locks/$2 editable=${3-}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
stamp=$venv/lbctl-stamp

die() {
    echo "venv: $1" >&2
    echo "  hint: $2" >&2
    exit 1
}

fingerprint() { # the place counts too: a copied or moved tree needs an environment of its own
    printf '%s\n' "$PWD" "$editable" "$(/usr/bin/python3 -VV)"
    sha256sum "$lock" pyproject.toml deploy/venv.sh
}

now=$(fingerprint)
# Without --editable lbctl's own files are copied, and any of them may have changed.
if [ -n "$editable" ] && [ "$now" = "$(cat "$stamp" 2>/dev/null)" ]; then exit; fi

/usr/bin/python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    die "/usr/bin/python3 is not Python 3.11, for which $lock was made" "use Debian 12"
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || die "python3-venv is not installed" "run: make deps"

if [ "$now" != "$(cat "$stamp" 2>/dev/null)" ]; then
    # --clear empties the directory, so it had better be one of ours.
    [ -e "$venv/pyvenv.cfg" ] || [ -z "$(ls -A "$venv" 2>/dev/null)" ] ||
        die "$venv exists and is not a Python environment" "name a directory that is new"
    rm -f "$stamp"
    # /usr/bin/python3 rather than the first python3 on PATH: bcc belongs to the distribution's.
    /usr/bin/python3 -m venv --clear "$venv"
fi
pip=("$venv/bin/python" -m pip -qq --disable-pip-version-check --no-input)
export PIP_USER=0 PIP_TARGET='' PYTHONPATH=''
"${pip[@]}" install --require-hashes --no-deps --only-binary :all: -r "$lock"

if [ -n "$editable" ]; then
    "${pip[@]}" install --no-deps --no-build-isolation --no-index --editable .
else
    # Built from a copy, for setuptools leaves things behind in the tree it builds from.
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    cp -R pyproject.toml README.md LICENSE lbctl "$copy"
    "${pip[@]}" install --no-deps --no-build-isolation --no-index --force-reinstall "$copy"
    rm -rf "$venv/share/lbctl"
    mkdir -p "$venv/share/lbctl"
    cp -R ebpf "$venv/share/lbctl/ebpf"
fi
echo "$now" >"$stamp"
