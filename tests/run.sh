#!/usr/bin/env bash
# Sets up what is missing, then lints, checks types and runs the tests: bash tests/run.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
bash start_monitoring.sh --setup-only
python=$PWD/.venv/bin/python3

wanted=$(cat requirements.txt requirements-dev.txt | sha256sum)
if [ "$(cat .venv/.requirements-dev 2>/dev/null)" != "$wanted" ]; then
  "$python" -m pip install -q --disable-pip-version-check -r requirements-dev.txt
  echo "$wanted" >.venv/.requirements-dev
fi

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
.venv/bin/shellcheck start_monitoring.sh tests/run.sh .ci/run
exec "$python" -m pytest "$@"
