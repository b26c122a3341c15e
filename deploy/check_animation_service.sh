#!/usr/bin/env bash
# Says in one line whether the monitor and the processor work, for cron or Nagios: exit status 0 all is well, 1 warning,
# 2 critical. Reads only the state files, needs no .venv and no rights beyond reading them; --help lists the thresholds.
set -euo pipefail

project=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
if ! command -v python3 >/dev/null; then
  # shellcheck source=../tools/words.sh
  . "$project/tools/words.sh"
  say "CRITICAL - $(words "python3 is missing, nothing can be checked" "缺少 python3，无法检查")"
  exit 2
fi
python=python3
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
  python=$project/.venv/bin/python3 # an older one may come first in PATH
fi
exec "$python" -B "$project/tools/health.py" "$@"
