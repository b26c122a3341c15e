#!/usr/bin/env bash
# Sets up what is missing, then lints, checks types and runs the tests: bash tests/run.sh [arguments of pytest]
# Tests run side by side, since most wait more than they compute; -n 0 runs them one by one. Run by root, those whose
# outcome may depend on whose they are run a second time, as a user without rights (tests/another_user.py).
set -euo pipefail
cd "$(dirname "$0")/.."
bash start_monitoring.sh --setup-only
python=$PWD/.venv/bin/python3

wanted=$(cat requirements.txt requirements-cluster.txt requirements-notify.txt requirements-frames.txt requirements-frame-readers.txt requirements-dev.txt | sha256sum)
if [ "$(cat .venv/.requirements-dev 2>/dev/null)" != "$wanted" ]; then
  "$python" -m pip install -q --disable-pip-version-check -r requirements-dev.txt
  echo "$wanted" >.venv/.requirements-dev
fi

# For the tests of deploy/; if they can't be installed, those tests are skipped and say so.
if ! (PATH=$PATH:/usr/sbin command -v systemd-analyze && PATH=$PATH:/usr/sbin command -v logrotate) >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing systemd (for systemd-analyze) and logrotate"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends systemd logrotate; } >/dev/null ||
      echo "apt could not install them; the tests that need them are skipped"
  fi
fi

# For the tests of the dashboard; likewise. The font is for pictures of Chinese pages.
if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing chromium"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-wqy-microhei; } >/dev/null ||
    echo "apt could not install it; the tests that need it are skipped"
fi

failed=0
"$python" -m ruff check . || failed=1
"$python" -m ruff format --check . || failed=1
"$python" -m mypy || failed=1
.venv/bin/shellcheck start_monitoring.sh start_worker.sh tools/*.sh tests/*.sh .ci/run deploy/*.sh || failed=1
.venv/bin/hadolint deploy/Containerfile || failed=1
.venv/bin/check-jsonschema -q --builtin-schema vendor.compose-spec deploy/compose.yaml || failed=1
[ $failed = 0 ] || echo "a linter or the type checker failed, see above"
cores=$(nproc)
at_once=(-n $((cores < 8 ? cores + 1 : 8)) --dist worksteal)
"$python" -m pytest "${at_once[@]}" "$@" || failed=1
if [ "$(id -u)" = 0 ]; then
  echo "once more as a user without rights: the tests whose outcome may depend on that"
  "$python" -m tests.another_user "${at_once[@]}" "$@" || failed=1
fi
exit $failed
