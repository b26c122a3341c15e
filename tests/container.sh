#!/usr/bin/env bash
# Builds the image of deploy/Containerfile on a base made here, and runs demo, status, health and tests in it:
#   bash tests/container.sh [arguments of pytest]
# Needs root, and Debian's buildah and mmdebstrap (it installs them); no registry is asked. Without arguments the tests
# are those of the whole job, tests/e2e. The base is made once and kept: buildah rmi animation-test-base.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "container: needs root (chroot)" >&2; exit 2; }
if ! command -v buildah >/dev/null || ! command -v mmdebstrap >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends buildah mmdebstrap >/dev/null
fi

base=animation-test-base image=animation-test
owner=4242 # has no name, neither here nor there
top=$(mktemp -d "${TMPDIR:-/tmp}/container.XXXXXX")
container='' bare=''
finish() {
  pkill -KILL -u $owner 2>/dev/null || true
  for made in "$container" "$bare"; do [ -z "$made" ] || buildah rm "$made" >/dev/null 2>&1 || true; done
  rm -rf "$top"
}
trap finish EXIT

step() { printf 'container: %s\n' "$*"; }

# What Debian's own slim image is: no manuals, no translations. The certificates of this machine come along, as do
# settings of pip, since the way to the package index may be particular to it.
make_base() {
  local tar=$top/base.tar made name path
  step "making a base"
  mmdebstrap --quiet --variant=minbase --include=ca-certificates --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$tar"
  made=$(buildah --isolation chroot from scratch)
  buildah add -q "$made" "$tar" / >/dev/null
  rm "$tar"
  path=/etc/ssl/certs/ca-certificates.crt
  [ ! -f $path ] || buildah copy -q "$made" $path $path >/dev/null
  for name in PIP_CERT PIP_INDEX_URL http_proxy https_proxy no_proxy; do
    if [ -n "${!name:-}" ]; then buildah config --env "$name=${!name}" "$made"; fi
  done
  buildah commit -q "$made" $base >/dev/null
  buildah rm "$made" >/dev/null
}

buildah inspect --type image $base >/dev/null 2>&1 || make_base
step "building the image"
buildah bud -q --isolation chroot --format docker --build-arg BASE=localhost/$base -f deploy/Containerfile -t $image . >/dev/null
step "image: $(buildah inspect --type image --format '{{.OCIv1.Architecture}}' $image), unpacked $(
  buildah images --format '{{.Size}}' $image
)"

# In it, as a user that has no name there, with the volumes of somebody who is not root.
container=$(buildah --isolation chroot from $image)
buildah config --volume /data- --volume /scratch- "$container" # or buildah may mount its own over ours
install -d -o $owner -g $owner "$top/data" "$top/work"
inside() {
  buildah run --isolation chroot --user $owner:$owner --volume "$top/data:/data" --volume "$top/work:/scratch" \
    "$container" -- "$@"
}

until_true() { # SECONDS COMMAND…
  local tries=$1
  shift
  until "$@"; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { echo "container: not within its time: $*" >&2; return 1; }
    sleep 1
  done
}

step "demo"
inside bash start_monitoring.sh --demo --foreground >"$top/out" 2>&1 &
demo=$!
settled() {
  kill -0 $demo 2>/dev/null || { cat "$top/out"; exit 1; }
  grep -q 'converted to AV1' "$top/out"
}
until_true 400 settled || { cat "$top/out"; exit 1; }
step "status and health, from another container on the same volumes, and from this machine"
inside python3 tools/queue_processor.py --status | tee "$top/status"
grep -q 'completed: 2' "$top/status"
inside bash -c 'python3 tools/health.py; [ $? -lt 2 ]'
here() { env LOG_DIR="$top/data/log" WORK_DIR="$top/work/animation" ANIMATION_DOTENV=/nowhere python3 "$@"; }
here tools/queue_processor.py --status >"$top/status" 2>&1 || true
grep 'completed: 2' "$top/status" || { cat "$top/status"; exit 1; }
here tools/queue_processor.py --pause "from this machine"
is_told() { inside python3 tools/queue_processor.py --status | grep 'from this machine'; }
until_true 30 is_told
inside python3 tools/queue_processor.py --resume
step "everything belongs to who it was run as"
[ -z "$(find "$top/data" "$top/work" ! -user $owner -print -quit)" ]
step "one SIGTERM ends all in order"
pkill -TERM -u $owner -f tools/supervise.py
none_left() { ! pgrep -u $owner >/dev/null; }
until_true 10 none_left
wait $demo && echo "the demo ended with status 0"

step "a machine with python3 and venv alone, for somebody without rights"
bare=$(buildah --isolation chroot from $base)
buildah run --isolation chroot "$bare" -- sh -c "apt-get update -qq && apt-get install -y -qq --no-install-recommends \
  python3 python3-venv procps >/dev/null 2>&1 && install -d -o $owner -g $owner /home/me/project"
git archive HEAD | tar -x -C "$(buildah mount "$bare")/home/me/project"
chown -R $owner:$owner "$(buildah mount "$bare")/home/me"
there() {
  buildah run --isolation chroot --user $owner:$owner --env HOME=/home/me --workingdir /home/me/project "$bare" -- "$@"
}
if there bash start_monitoring.sh 2>"$top/said"; then
  echo "container: it started without tmux" >&2
  exit 1
fi
cat "$top/said"
[ "$(wc -l <"$top/said")" = 1 ] && grep -q 'tmux.*--foreground' "$top/said"
there bash start_monitoring.sh --foreground --demo >"$top/out" 2>&1 &
demo=$!
until_true 600 settled
pkill -TERM -u $owner -f tools/supervise.py
until_true 10 none_left

step "the programs' own tests"
buildah copy -q "$container" tests /app/tests >/dev/null
buildah copy -q "$container" requirements-dev.txt /app/ >/dev/null
buildah run --isolation chroot --user 0 "$container" -- bash -c "apt-get update -qq &&
  apt-get install -y -qq --no-install-recommends tmux procps >/dev/null 2>&1 &&
  .venv/bin/python3 -m pip install -q --root-user-action=ignore -r requirements-dev.txt"
[ $# -gt 0 ] || set -- tests/e2e
inside .venv/bin/python3 -m pytest -q -p no:cacheprovider "$@"
