#!/usr/bin/env bash
# Installs the monitor and the processor as systemd services, and the rotation of their log. Harmless when run twice; run
# it again after an upgrade, and after LOG_DIR or WORK_DIR changed in .env. Starts nothing.
#   sudo bash deploy/install.sh [--scheduler | --worker] [--user NAME] [--root DIR]
set -euo pipefail
umask 022

here=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=paths.sh
. "$here/paths.sh"
user=animation stage='' cluster=no

usage() {
  say "$(term usage 用法): bash deploy/install.sh [--scheduler | --worker] [--user NAME] [--root DIR]"
  say "  --scheduler  $(words "install a cluster's scheduler too, besides monitor and processor" "除监控和处理程序外，还安装集群的调度器")"
  say "  --worker     $(words "install only a worker of a cluster" "只安装集群的工作机")"
  say "  --user NAME  $(words "the user of the services; created if missing (default: animation)" "服务的用户；不存在时创建（默认 animation）")"
  say "  --root DIR   $(words "put the files below DIR instead of /; create no user, change no owner" "把文件放在 DIR 之下而不是 /；不创建用户，不改变属主")"
}

# --- what this machine has --------------------------------------------------------------------------------------------

# Some characters have a meaning in unit files and for logrotate, even in a quoted path.
need_plain() {
  if [[ $2 == *[\"\\%\$\'\`*?{}[]* || $2 == *[[:cntrl:]]* ]]; then
    fail "$1=$2 has a character that a service file can't hold: use another folder" "$1=$2 中有服务文件不能使用的字符：请换一个文件夹"
  fi
}

# The configuration itself is asked, so the services get the folders that the commands use.
ask_paths() {
  "$project/.venv/bin/python3" - "$project" <<'PY'
import argparse, sys
sys.path[0] = sys.argv[1]
import config
from tools.startup import read_settings
try:
    settings = read_settings(argparse.Namespace(), {})
except config.ConfigError as exc:
    sys.exit(f"install.sh: {exc}")
work_dir = settings.paths.work_dir.resolve() if "WORK_DIR" in settings.given else ""
print(settings.paths.log_dir.resolve(), work_dir, sep="\0", end="\0")
PY
}

read_paths() {
  local found
  bash "$project/start_monitoring.sh" --setup-only >/dev/null || fail "the set-up failed, see above" "安装失败，见上"
  [ $cluster = no ] || bash "$project/start_worker.sh" --setup-only >/dev/null || fail "the set-up failed, see above" "安装失败，见上"
  mapfile -d '' found < <(ask_paths)
  [ ${#found[@]} = 2 ] || exit 1
  log_dir=${found[0]} work_dir=${found[1]}
  need_plain "the project's folder" "$project"
  need_own LOG_DIR "$log_dir"
  [ -z "$work_dir" ] || need_own WORK_DIR "$work_dir"
}

# A folder whose owner becomes the services' user must not be one that others use.
need_own() {
  need_plain "$1" "$2"
  case $2 in
    /*/*) ;;
    *) fail "$1=$2 is not a folder of its own: give another one in .env" "$1=$2 不是专用的文件夹：请在 .env 中另设" ;;
  esac
  case $2 in
    /var/log | /var/lib | /var/cache | /var/tmp | /usr/* | /etc/* | /dev/* | /proc/* | /sys/* | "$project")
      fail "$1=$2 is not a folder of its own: give another one in .env" "$1=$2 不是专用的文件夹：请在 .env 中另设"
      ;;
  esac
}

# --- units ------------------------------------------------------------------------------------------------------------

is_below() {
  local path
  for path in "$project" "$log_dir" ${work_dir:+"$work_dir"}; do
    case $path/ in "$1"/*) return 0 ;; esac
  done
  return 1
}

# The file of the repository with this machine's paths, user and version of systemd. Paths come last, each once.
render() {
  local text
  text=$(<"$1")
  text=${text//"User=animation"/"User=$user"}
  text=${text//"Group=animation"/"Group=$group"}
  text=${text//"su animation animation"/"su $user $group"}
  # What hides a place must not hide the project.
  if is_below /home || is_below /root; then text=${text//"ProtectHome=yes"/"ProtectHome=read-only"}; fi
  if is_below /tmp || is_below /var/tmp; then
    text=${text//"PrivateTmp=yes"/"PrivateTmp=no"}
    text=${text//"ReadWritePaths="/"ReadWritePaths=/tmp "}
  fi
  if [ -n "$work_dir" ]; then text=${text//"ReadWritePaths="/"ReadWritePaths=\"-/var/cache/animation\" "}; fi
  if [ "$(systemd_version)" -ge 254 ]; then
    text=${text//"RestartSec=30"/$'RestartSec=5\nRestartSteps=6\nRestartMaxDelaySec=300'}
  fi
  text=${text//"/var/cache/animation"/$'\1'}
  text=${text//"/opt/animation/log"/$'\2'}
  text=${text//"/opt/animation"/"$project"}
  text=${text//$'\2'/"$log_dir"}
  text=${text//$'\1'/"${work_dir:-$cache}"}
  printf '%s%s\n\n%s\n' "$mark" "$project" "$text"
}

systemd_version() {
  local version
  version=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p') || true
  echo "${version:-0}"
}

put() {
  local target=$stage$2 new
  new=$(render "$1")
  if [ -e "$target" ]; then
    local owner
    owner=$(project_of "$target")
    [ -n "$owner" ] || fail \
      "$target exists and was not made by this script: move it away, then run this again" "$target 已存在，且不是本脚本生成的：请移走后重新运行"
    if [ "$owner" != "$project" ] && [ -e "$owner/deploy/uninstall.sh" ]; then
      fail "$(words "$target belongs to $owner: run this first" "$target 属于 $owner：请先运行"): bash \"$owner/deploy/uninstall.sh\""
    fi
    [ "$new" != "$(<"$target")" ] || return 0
  fi
  mkdir -p "$(dirname -- "$target")"
  printf '%s\n' "$new" >"$target.new"
  mv -f -- "$target.new" "$target"
  changed=yes
  say "wrote $target" "已写入 $target"
}

# --- user and folders -------------------------------------------------------------------------------------------------

need_user() {
  if ! getent passwd "$user" >/dev/null; then
    useradd --system --user-group --home-dir "$home" --no-create-home --shell "$(type -P nologin false | head -n 1)" --comment "$made" "$user"
    say "made the user $user" "已创建用户 $user"
  elif [ "$(id -u "$user")" = 0 ]; then
    fail "the services do not run as root: give --user another name" "服务不以 root 身份运行：请用 --user 另给用户"
  fi
  group=$(id -gn "$user")
  [ "$(getent passwd "$user" | cut -d: -f5)" = "$made" ] || return 0
  local card
  for card in render video; do # whose files in /dev/dri are the graphics cards
    if getent group "$card" >/dev/null && ! id -nG "$user" | grep -qw "$card"; then usermod -aG "$card" "$user"; fi
  done
}

make_folders() {
  # Only a folder that is missing is made, so a mode that somebody set stays.
  local folder
  for folder in "$home" "$cache" ${work_dir:+"$work_dir"}; do
    [ -d "$folder" ] || install -d -m 0700 "$folder"
    chown -R -h "$user:$group" "$folder"
  done
  [ -d "$log_dir" ] || install -d -m 0755 "$log_dir"
  hand_over "$user:$group"
}

# Tried as that user: a folder above the project may be closed to it, or the Python of .venv may lie in a home folder.
try_as_user() {
  local python
  python=$(readlink -f "$project/.venv/bin/python3")
  case $python in
    /home/* | /root/*) fail "$(words ".venv uses $python, which the user $user can't run; type" ".venv 使用 $python，用户 $user 无法运行；请输入"): rm -rf \"$project/.venv\"; PATH=/usr/bin:\$PATH bash \"$0\"" ;;
  esac
  runuser -u "$user" -- "$project/.venv/bin/python3" "$project/tools/queue_processor.py" --status >/dev/null ||
    fail "the user $user can't run the programs in $project, see above: move the project to a folder that everybody may read, such as /opt/animation" \
      "用户 $user 无法运行 $project 中的程序，见上：请把项目移到人人可读的文件夹，例如 /opt/animation"
}

warn_of_running() {
  local program
  for program in monitor processor; do
    if [ -e "$log_dir/.$program.lock" ] && ! flock -n "$log_dir/.$program.lock" true && ! is_active "$program"; then
      say "note: a $program is already running outside of systemd: stop it before you start the service (tmux kill-session -t animation_monitor)" \
        "注意：已有 $program 在 systemd 之外运行：启动服务前请先停止它（tmux kill-session -t animation_monitor）"
    fi
  done
}

is_active() { has_systemd && systemctl -q is-active "animation-$1"; }

reload() {
  [ -z "$stage" ] || return 0
  if ! has_systemd; then
    say "note: systemd is not running here; the files are in place for when it is" "注意：此处没有运行 systemd；文件已就位，待其运行时使用"
    return 0
  fi
  systemctl daemon-reload
  if [ "$changed" = yes ] && { is_active monitor || is_active processor; }; then
    say "$(words "note: the running services still use the old files" "注意：运行中的服务仍使用旧文件"): sudo systemctl restart animation-monitor animation-processor"
  fi
}

next_steps() {
  say "Installed." "已安装。"
  if [ -z "$stage" ] && [ ! -e "$project/.env" ]; then
    say "  $(words "token and datasets" "令牌和数据集")  sudo install -m 600 -o $user -g $group /dev/null \"$project/.env\" && sudo -e \"$project/.env\""
  fi
  local names="${units[*]%.service}"
  if [[ $names == *scheduler* ]]; then
    say "  $(words "address" "监听地址")  $(words "CLUSTER_HOST=ADDRESS in \"$project/.env\"; without it no other machine can connect to the scheduler" "在 \"$project/.env\" 中写 CLUSTER_HOST=ADDRESS；否则其他机器无法连接调度器")"
  fi
  row 9 6 "start" "启动" "sudo systemctl enable --now $names"
  row 9 6 "state" "状态" "systemctl status $names"
  row 9 6 "log" "日志" "journalctl -u ${names##* } -f    tail -F \"$log_dir/processing.log\""
  row 9 6 "check" "检查" "bash \"$project/deploy/check_animation_service.sh\" --log-dir \"$log_dir\" --work-dir \"${work_dir:-$cache}\""
  row 9 6 "remove" "卸载" "sudo bash \"$project/deploy/uninstall.sh\""
}

while [ $# -gt 0 ]; do
  case $1 in
    --user | --root)
      [ -n "${2:-}" ] || { usage >&2 && exit 2; }
      if [ "$1" = --user ]; then user=$2; else stage=$2; fi
      shift 2
      ;;
    --scheduler)
      units+=(animation-scheduler.service)
      cluster=yes
      shift
      ;;
    --worker)
      units=(animation-worker.service)
      cluster=yes
      shift
      ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done
[[ $user =~ ^[a-z_][a-z0-9_-]{0,31}$ ]] || fail "--user $user is not a valid user name" "--user $user 不是有效的用户名"
group=$(id -gn "$user" 2>/dev/null || printf %s "$user") changed=no
if [ -n "$stage" ]; then
  mkdir -p "$stage"
  stage=$(cd -- "$stage" && pwd)
else
  need_root
fi
read_paths
[ -n "$stage" ] || need_user
for unit in "${units[@]}"; do put "$here/$unit" "/etc/systemd/system/$unit"; done
put "$here/animation-processor.logrotate" "$rotation"
if [ -z "$stage" ]; then
  warn_of_running
  make_folders
  try_as_user
fi
reload
next_steps
