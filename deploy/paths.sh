# shellcheck shell=bash
# What install.sh and uninstall.sh must agree on: names, places, marks, owners of folders. Sourced by both.
# shellcheck disable=SC2034 # used by the scripts that source this

project=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
units=(animation-monitor.service animation-processor.service)
cluster_units=(animation-scheduler.service animation-worker.service)
rotation=/etc/logrotate.d/animation-processor
home=/var/lib/animation
cache=/var/cache/animation
mark="# Made by deploy/install.sh of "
made="animation pipeline, made by deploy/install.sh"
log_dir="" work_dir=""

# shellcheck source=../tools/words.sh
. "$project/tools/words.sh"
fail() {
  printf '%s: %s\n' "$(basename -- "$0")" "$(words "$@")" >&2
  exit 1
}
need_root() {
  [ "$(id -u)" = 0 ] || fail "must run as root: sudo bash \"$0\" (or --root DIR to only see the files)" \
    "必须以 root 身份运行：sudo bash \"$0\"（或用 --root DIR 只查看文件）"
}
has_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }

# The project folder that a file's first line names; empty if the file is not ours.
project_of() { sed -n "1s|^$mark||p" "$1"; }

# Makes USER:GROUP the owner of .env and of what the programs write: never of a file that they do not know, and never
# through a link.
hand_over() {
  local found
  chown -h "$1" "$log_dir"
  find "$log_dir" -maxdepth 1 \( -name 'processing.log*' -o -name '*.json' -o -name '*.json.*' -o -name '.*.json.*' \
    -o -name '.monitor.*' -o -name '.processor.*' \) -type f -exec chown -h "$1" {} +
  for found in "$log_dir/journal" "$log_dir/other" ${work_dir:+"$work_dir"} "$cache"; do
    [ ! -d "$found" ] || chown -R -h "$1" "$found"
  done
  if [ -f "$project/.env" ] && [ ! -L "$project/.env" ]; then
    chown "$1" "$project/.env"
    chmod 600 "$project/.env"
  fi
}
