#!/bin/sh
# Makes a virtual environment in $1 with Python 3.11 or newer; brings Debian's python3-venv if that is all that is missing.
set -eu
target=$1
python=
for candidate in python3.11 python3 python3.12 python3.13; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "knarr: Python 3.11 or newer is needed: apt-get install python3" >&2
    exit 1
fi
if [ -x "$target/bin/python" ] && "$target/bin/python" -c 'import pip' 2>/dev/null; then
    exit 0
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "knarr: $python cannot make virtual environments: install Debian's python3-venv" >&2
        exit 1
    fi
    echo "installing python3-venv"
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
fi
"$python" -m venv "$target"
