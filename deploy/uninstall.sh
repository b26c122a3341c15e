#!/usr/bin/env bash
# Stops the services and removes what install.sh made: units, log rotation, user. Videos, log and queue stay, and belong
# to the owner of the project's folder again. Harmless when run twice, or if nothing is installed.
#   sudo bash deploy/uninstall.sh [--root DIR]
set -euo pipefail

here=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=paths.sh
. "$here/paths.sh"
stage='' removed=no

usage() {
  say "$(term usage 用法): bash deploy/uninstall.sh [--root DIR]"
  say "  --root DIR   $(words "remove what install.sh --root DIR put there" "移除 install.sh --root DIR 放在那里的文件")"
}

is_ours() { [ -f "$1" ] && [ "$(project_of "$1")" = "$project" ]; }

remove() {
  local target=$stage$1
  if is_ours "$target"; then
    rm -f -- "$target"
    removed=yes
    say "removed $target" "已移除 $target"
  elif [ -e "$target" ]; then
    say "left alone: $target was not made by this project's install.sh" "未动：$target 不是本项目的 install.sh 生成的"
  fi
}

# What the installed files say; .env may have changed since.
read_installed() {
  local unit=$stage/etc/systemd/system/animation-processor.service
  user='' log_dir='' work_dir=''
  is_ours "$unit" || unit=${unit/processor/worker}
  is_ours "$unit" || return 0
  user=$(sed -n 's/^User=//p' "$unit")
  log_dir=$(sed -n 's/^ReadWritePaths=.*"-\(.*\)"$/\1/p' "$unit")
  work_dir=$(sed -n 's/^Environment="WORK_DIR=\(.*\)"$/\1/p' "$unit")
}

stop() {
  local unit
  for unit in "${units[@]}" "${cluster_units[@]}"; do
    is_ours "$stage/etc/systemd/system/$unit" || continue
    if [ -z "$stage" ] && has_systemd; then systemctl -q disable --now "$unit"; fi
    rm -f -- "$stage/etc/systemd/system/multi-user.target.wants/$unit"
  done
}

give_back() {
  [ -d "$log_dir" ] || return 0
  hand_over "$(stat -c %u:%g "$project")"
}

remove_user() {
  local folder
  for folder in "$home" "$cache"; do
    [ -d "$folder" ] || continue
    rmdir -- "$folder" 2>/dev/null || { chown -R -h root:root "$folder" && say "kept: $folder is not empty" "保留：$folder 不是空的"; }
  done
  if [ "$(getent passwd "$user" | cut -d: -f5)" != "$made" ]; then return 0; fi
  if userdel "$user"; then say "removed the user $user" "已移除用户 $user"; else say "kept: the user $user is in use" "保留：用户 $user 正在使用中"; fi
}

while [ $# -gt 0 ]; do
  case $1 in
    --root)
      [ -d "${2:-}" ] || { usage >&2 && exit 2; }
      stage=$(cd -- "$2" && pwd)
      shift 2
      ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done
[ -n "$stage" ] || need_root
read_installed
stop
for unit in "${units[@]}" "${cluster_units[@]}"; do remove "/etc/systemd/system/$unit"; done
remove "$rotation"
if [ -z "$stage" ] && has_systemd; then systemctl daemon-reload; fi
if [ "$removed" = no ]; then
  say "Nothing of this project is installed." "本项目没有安装任何内容。"
  exit 0
fi
if [ -z "$stage" ] && [ -n "$user" ]; then
  give_back
  remove_user
fi
say "Removed; videos, log and queue stay." "已卸载；视频、日志和队列保留。"
