#!/usr/bin/env bash
# Sets up what is missing, then runs the monitor and the processor in the tmux session "animation_monitor".
# 安装所缺组件，然后在 tmux 会话 animation_monitor 中运行监控与处理程序。
#   bash start_monitoring.sh [--demo] [--setup-only] [--foreground]
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd "$root"
session=${TMUX_SESSION:-animation_monitor}
venv=$root/.venv

# What the environment may set for the programs. Nothing else of the caller's environment reaches a tmux window.
settings=(
  MODELSCOPE_ENDPOINT MODELSCOPE_API_TOKEN MODELSCOPE_HOME INPUT_REPO OUTPUT_REPO MONITOR_INTERVAL
  MIN_FOLDER_STABLE_TIME VIDEO_EXTENSIONS COMPLETE_MARKER CHECK_INTERVAL MAX_CONCURRENT BATCH_SIZE MAX_ATTEMPTS
  AGING_HOURS STALL_TIMEOUT MIN_FREE_SPACE_GB ENCODER PRESET CRF PIX_FMT FFMPEG CAGE MIN_DECODED_PERCENT
  MAX_ENCODE_RSS CLUSTER CLUSTER_HOST CLUSTER_TLS_CA CLUSTER_TLS_CERT CLUSTER_TLS_KEY LOG_DIR WORK_DIR HUB_DIR
  HUB_TOKEN ANIMATION_DOTENV
  http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY REQUESTS_CA_BUNDLE SSL_CERT_FILE
)

say() { printf '%s\n' "$*"; }
fail() {
  printf 'start_monitoring: %s\n' "$*" >&2
  exit 1
}
usage() {
  say "usage: bash start_monitoring.sh [--demo] [--setup-only] [--foreground]"
  say "  --demo        run on an embedded hub with a small demo dataset; no account needed 无需账号的演示"
  say "  --setup-only  install what is missing, then exit 只安装"
  say "  --foreground  run without tmux; Ctrl-C stops everything 前台运行"
}

# --- set-up -----------------------------------------------------------------------------------------------------------

# Packages are installed only when a command is missing.
install_packages() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null && as_root=(sudo -n)
    [ ${#as_root[@]} -gt 0 ] || { [ -t 0 ] && command -v sudo >/dev/null && as_root=(sudo); } || true
    [ ${#as_root[@]} -gt 0 ] || fail "please install: $* (for example: sudo apt install $*), then run this again 请先安装"
  fi
  command -v apt-get >/dev/null || fail "please install: $* (this system has no apt), then run this again 请先安装"
  say "installing 正在安装: $*"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null ||
    say "the package lists can't be updated; trying with the old ones"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
    fail "apt could not install: $*; install by hand, then run this again 请手动安装"
}

need_programs() {
  local missing=()
  command -v python3 >/dev/null || missing+=(python3)
  { command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null; } || missing+=(ffmpeg)
  if [ "$foreground" = no ]; then command -v tmux >/dev/null || missing+=(tmux); fi
  [ -x "$venv/bin/python3" ] || python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "Python 3.10 or newer is needed, this is $(python3 -V) 需要 Python 3.10 以上"
}

need_venv() {
  if ! "$venv/bin/python3" -c 'import pip' 2>/dev/null; then
    say "making .venv 正在创建虚拟环境"
    rm -rf "$venv" # an interrupted run may have left a broken one
    python3 -m venv "$venv" || fail "python3 -m venv failed: install python3-venv, then run this again"
  fi
  local wanted
  wanted=$(sha256sum requirements.txt)
  if [ "$(cat "$venv/.requirements" 2>/dev/null)" != "$wanted" ]; then
    say "installing Python packages 正在安装 Python 依赖"
    "$venv/bin/python3" -m pip install -q --disable-pip-version-check -r requirements.txt ||
      fail "pip could not install requirements.txt: see above, then run this again"
    say "$wanted" >"$venv/.requirements"
  fi
}

set_up() {
  mkdir -p log
  [ -w log ] || fail "can't write to $root/log: it belongs to $(stat -c %U log), this runs as $(id -un) 没有写权限"
  if command -v flock >/dev/null; then
    exec 9<log # the folder itself: a file made here by root would lock its owner out
    flock 9
  fi
  need_programs
  need_venv
  exec 9>&-
}

# --- demo -------------------------------------------------------------------------------------------------------------

has_token() {
  [ -n "${MODELSCOPE_API_TOKEN:-}" ] && return 0
  local dotenv=${ANIMATION_DOTENV:-.env}
  [ -r "$dotenv" ] && grep -Eq '^[[:space:]]*(export[[:space:]]+)?MODELSCOPE_API_TOKEN[[:space:]]*=[[:space:]]*[\"'\'']?[^[:space:]\"'\''#]' "$dotenv" && return 0
  [ -s "${MODELSCOPE_HOME:-$HOME/.modelscope}/credentials/cookies" ]
}

set_demo() {
  export HUB_DIR=${HUB_DIR:-$root/log/hub} LOG_DIR=${LOG_DIR:-$root/log/demo}
  export INPUT_REPO=demo/animation OUTPUT_REPO=demo/animation-av1
  export MONITOR_INTERVAL=${MONITOR_INTERVAL:-5} MIN_FOLDER_STABLE_TIME=${MIN_FOLDER_STABLE_TIME:-10}
  export CHECK_INTERVAL=${CHECK_INTERVAL:-3} PRESET=${PRESET:-10} MIN_FREE_SPACE_GB=${MIN_FREE_SPACE_GB:-1}
  say "DEMO: an embedded hub on this machine, no account, nothing leaves it. 演示模式：使用本机内置 hub，无需账号。"
  "$venv/bin/python3" tools/demo.py
  port=$("$venv/bin/python3" tools/demo.py --free-port)
  export MODELSCOPE_ENDPOINT=http://127.0.0.1:$port
  "$venv/bin/python3" tools/demo.py --note
}

# The hub makes its token, which writes need, at its first start.
wait_for_hub() {
  local tries=100
  until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || fail "the embedded hub did not start: bash start_monitoring.sh --demo --foreground shows why"
    sleep 0.2
  done
  MODELSCOPE_API_TOKEN=${HUB_TOKEN:-$(cat "$HUB_DIR/.token")}
  export MODELSCOPE_API_TOKEN
}

demo_hints() {
  say ""
  say "The first result appears within about two minutes. 约两分钟内出现第一个结果："
  say "  results 结果          ls -R $HUB_DIR/datasets/$OUTPUT_REPO"
  say "  add your own 自行添加  copy a folder of videos to $HUB_DIR/datasets/$INPUT_REPO/"
  say "  real use 正式使用      put MODELSCOPE_API_TOKEN, INPUT_REPO, OUTPUT_REPO into .env (see README.md), stop this session, start again"
}

# --- running ----------------------------------------------------------------------------------------------------------

tmux_() {
  local clean=(env)
  if [ -n "${TMUX_CLEAN:-}" ]; then clean=(env -u MODELSCOPE_API_TOKEN -u HUB_TOKEN -u TMUX_CLEAN); fi
  if [ -n "${TMUX_SOCKET:-}" ]; then "${clean[@]}" tmux -L "$TMUX_SOCKET" "$@"; else "${clean[@]}" tmux "$@"; fi
}

program() {
  case $1 in
    monitor) command=("$venv/bin/python3" "$root/tools/modelscope_monitor.py") ;;
    processor) command=("$venv/bin/python3" "$root/tools/queue_processor.py") ;;
    hub) command=("$venv/bin/python3" "$root/tools/local_hub.py" --root "$HUB_DIR" --port "$2") ;;
    *) fail "no program $1" ;;
  esac
}

# Inside a window: settings come through a pipe that only we can open, so the token is in no argument and no file, and a
# tmux server that was started long ago with another environment does not matter.
run_window() {
  local name=$1 pipe=$2 pair status=0
  unset "${settings[@]}"
  while IFS= read -r -d '' pair; do export "${pair?}"; done <"$pipe"
  rm -f "$pipe"
  program "$name" "${3:-0}"
  trap : INT # Ctrl-C is for the program; this shell stays to tell how it ended
  "${command[@]}" || status=$?
  trap - INT
  say ""
  say "$name ended with status $status 已退出. Start again 重新启动: ${command[*]}"
  exec bash --norc -i
}

send_settings() {
  local pipe=$1 name
  for name in "${settings[@]}"; do
    if [ -n "${!name:-}" ]; then printf '%s=%s\0' "$name" "${!name}"; fi
  done | timeout 20 tee "$pipe" >/dev/null || fail "the tmux window did not start"
}

open_window() {
  local name=$1 pipe command
  pipe=$(mktemp -u "$root/log/.start-XXXXXXXX")
  mkfifo -m 600 "$pipe"
  # Several words are run as they are; one would go through the user's login shell, which may be fish, or nologin.
  command=("$BASH" "$root/start_monitoring.sh" --window "$name" "$pipe" "${port:-0}")
  if tmux_ has-session -t "=$session" 2>/dev/null; then
    tmux_ new-window -d -t "=$session:" -n "$name" "${command[@]}"
  else
    # A server that starts here would keep our environment; the token reaches the programs only through the pipe.
    TMUX_CLEAN=1 tmux_ new-session -d -s "$session" -n "$name" -x 200 -y 50 "${command[@]}"
    # A user's base-index may be 1; the monitor is window 0 all the same.
    tmux_ move-window -s "=$session:$name" -t "=$session:0" 2>/dev/null || true
  fi
  send_settings "$pipe"
}

commands() {
  local prefix="tmux${TMUX_SOCKET:+ -L $TMUX_SOCKET}" given=''
  [ -z "${LOG_DIR:-}" ] || given="env LOG_DIR=$(printf %q "$LOG_DIR") " # some shells know no other way
  say ""
  say "Management 管理命令:"
  say "  watch the monitor 查看监控      $prefix attach -t $session:0"
  say "  watch the processor 查看处理    $prefix attach -t $session:processor"
  say "  status 状态                     ${given}python3 tools/queue_processor.py --status"
  say "  queue 队列                      ${given}python3 tools/modelscope_monitor.py --queue"
  say "  log 日志                        tail -f ${LOG_DIR:-log}/processing.log"
  say "  check the set-up 检查环境       ${given}python3 tools/doctor.py"
  say "  stop everything 全部停止        $prefix kill-session -t $session"
}

run_tmux() {
  command -v tmux >/dev/null || fail "tmux is missing: install it, or use --foreground 请安装 tmux 或使用 --foreground"
  if [ "$demo" = yes ]; then
    # The monitor is window 0, so it comes first. It waits for the hub by itself, but its token must exist.
    HUB_TOKEN=${HUB_TOKEN:-$("$venv/bin/python3" tools/demo.py --token)}
    export HUB_TOKEN MODELSCOPE_API_TOKEN=$HUB_TOKEN
  fi
  open_window monitor
  open_window processor
  if [ "$demo" = yes ]; then
    open_window hub
    wait_for_hub
  fi
  say "Started in tmux session $session: monitor, processor$([ "$demo" = no ] || echo ', hub'). 已启动。"
  if [ "$demo" = yes ]; then demo_hints; fi
  commands
}

run_foreground() {
  local pids=() status=0 name
  stop_all() {
    trap '' INT TERM HUP
    kill -TERM "${pids[@]}" 2>/dev/null || true
  }
  trap stop_all INT TERM HUP
  set -m # a process group each: Ctrl-C reaches this shell alone, which asks each program once to stop; a second signal kills
  if [ "$demo" = yes ]; then
    program hub "$port"
    "${command[@]}" &
    pids+=($!)
    wait_for_hub
    demo_hints
  fi
  for name in monitor processor; do
    program "$name"
    "${command[@]}" &
    pids+=($!)
  done
  say "Running in the foreground; Ctrl-C stops everything. 前台运行中，Ctrl-C 结束。"
  wait -n "${pids[@]}" || status=$?
  stop_all
  wait "${pids[@]}" || true
  [ $status -lt 128 ] || status=0
  return $status
}

# --- start ------------------------------------------------------------------------------------------------------------

if [ "${1:-}" = --window ]; then
  shift
  run_window "$@"
fi

demo=no setup_only=no foreground=no port=0
for argument in "$@"; do
  case $argument in
    --demo) demo=yes ;;
    --setup-only) setup_only=yes ;;
    --foreground) foreground=yes ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done

set_up
if [ "$setup_only" = yes ]; then
  say "Set up. 安装完成。"
  exit 0
fi
if [ "$foreground" = no ] && command -v tmux >/dev/null && tmux_ has-session -t "=$session" 2>/dev/null; then
  say "Session $session is already running. 会话已在运行。"
  commands
  exit 0
fi
if [ "$demo" = no ] && ! has_token; then
  say "No token found (MODELSCOPE_API_TOKEN, .env, modelscope login): starting the demo. 未找到令牌，启动演示。"
  demo=yes
fi
[ "$demo" = no ] || set_demo
if [ "$foreground" = yes ]; then run_foreground; else run_tmux; fi
