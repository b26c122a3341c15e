#!/usr/bin/env bash
# Makes this machine a worker of a cluster (docs/cluster.md), or its scheduler; sets up what is missing first.
# 让本机成为集群的工作机或调度器，并先安装所缺组件。
#   bash start_worker.sh --scheduler tcp://ADDRESS:8786 [flags of tools/worker.py]
#   bash start_worker.sh --scheduler-only [flags of tools/scheduler.py]
#   bash start_worker.sh --setup-only
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd "$root"
venv=$root/.venv

set_up() { bash start_monitoring.sh --setup-worker; }

case ${1:-} in
  -h | --help)
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
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
