#!/usr/bin/env bash
# Makes this machine a worker of a cluster (docs/cluster.md), or its scheduler; sets up what is missing first.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd "$root"
# shellcheck source=tools/words.sh
. "$root/tools/words.sh"
venv=$root/.venv

set_up() { bash start_monitoring.sh --setup-worker; }

usage() {
  say "Makes this machine a worker of a cluster (docs/cluster.md), or its scheduler; sets up what is missing first." \
    "让本机成为集群（docs/cluster.md）的工作机或调度器，并先安装所缺组件。"
  say "  bash start_worker.sh --scheduler tcp://ADDRESS:8786 [$(words "flags of tools/worker.py" "tools/worker.py 的参数")]"
  say "  bash start_worker.sh --scheduler-only [$(words "flags of tools/scheduler.py" "tools/scheduler.py 的参数")]"
  say "  bash start_worker.sh --setup-only"
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
  --setup-only)
    set_up
    ;;
  --scheduler-only)
    shift
    set_up
    exec "$venv/bin/python3" tools/scheduler.py "$@"
    ;;
  *)
    set_up
    exec "$venv/bin/python3" tools/worker.py "$@"
    ;;
esac
