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

failed=0
"$python" -m ruff check . || failed=1
"$python" -m ruff format --check . || failed=1
"$python" -m mypy || failed=1
.venv/bin/shellcheck start_monitoring.sh tests/run.sh .ci/run || failed=1
[ $failed = 0 ] || echo "a linter or the type checker failed, see above"
"$python" -m pytest "$@" || failed=1
exit $failed
