#!/usr/bin/env bash
# Installs the lowest versions that the requirements allow, in a virtual environment of their own, and runs the tests
# with them: bash tests/lowest.sh [arguments of pytest]. Programs that tests start stay in that environment as well.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sed -nE 's/^([A-Za-z0-9._-]+)>=([0-9][^,]*),[^;#]*(;[^#]*)?.*/\1==\2\3/p' requirements.txt requirements-cluster.txt requirements-notify.txt requirements-frames.txt >"$folder/lowest.txt"
cat "$folder/lowest.txt"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check -r requirements-dev.txt -c "$folder/lowest.txt"
export ANIMATION_VENV=$PWD/.venv # as if they had changed over to it already (tools/entry.py)
"$folder/venv/bin/python3" -m pytest -n "$(nproc)" "$@"
