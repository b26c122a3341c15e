"""The services as installed on a machine: real user, real rights, read-only world; and the check that watches them.

systemd itself can't run inside a test. What it does with the installed units is done here by hand, in mount namespaces
of the test's own: ``/etc``, ``/var`` and ``/opt`` are overlays whose changes vanish, each program sees a read-only
world but for the folders that its unit grants, and runs as the unit's user without any capability.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import config
from tests.hub_server import RunningHub, running_hub
from tests.integration.test_deploy import SBIN, copy_project, script, tool
from tests.media import make_clip
from tests.patience import PATIENCE, until
from tests.programs import environment, run_program, start_program
from tools.core.queue_item import QueueItem, Status
from tools.state.progress import ProgressFile
from tools.state.singleton import Singleton
from tools.state.work_queue import WorkQueue

ALL_WELL = ["--disk-warning", "0", "--disk-critical", "0"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        folder = running.root / "datasets" / "me" / "in" / "番剧"
        folder.mkdir(parents=True)
        make_clip(tmp_path / "clip.mp4").rename(folder / "1.mp4")
        yield running


# --- the check ---------------------------------------------------------------------------------------------------


def check(log_dir: Path, *more: str, **env: str) -> tuple[int, str]:
    arguments = ["--log-dir", str(log_dir), "--work-dir", str(log_dir), *ALL_WELL, *more]
    done = script(config.ROOT, "check_animation_service.sh", *arguments, **{"UI_LANG": "en", **env})
    assert done.stderr == "" and done.stdout.count("\n") == (0 if "--quiet" in more and not done.returncode else 1)
    return done.returncode, done.stdout


@pytest.mark.another_user
def test_check_of_programs_that_run_die_and_end(hub: RunningHub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path, UI_LANG="en")
    log_dir = tmp_path / "log"
    assert check(log_dir)[0] == 2
    running = {name: start_program(f"{name}.py", env=env) for name in ("modelscope_monitor", "queue_processor")}
    try:
        until(lambda: check(log_dir)[0] == 0, lambda: check(log_dir)[1])
        assert check(log_dir)[1].startswith("OK - ") and " | pending=" in check(log_dir)[1]
        assert check(log_dir, "--quiet") == (0, "")
        assert check(log_dir, "--disk-warning", "1e9")[0] == 1
        running["queue_processor"].send_signal(signal.SIGKILL)
        running["queue_processor"].wait(PATIENCE)
        status, text = check(log_dir)
        assert status == 2 and "processor died" in text and "monitor" not in text.split("|")[0]
        for command in (("queue_processor.py", "--status"), ("modelscope_monitor.py", "--queue")):
            told = run_program(*command, env=env).stdout.splitlines()
            first, second = (
                next(line for line in told if line.startswith(f"{name}: ")) for name in ("Monitor", "Processor")
            )
            assert "running" in first and "not running" not in first
            assert "not running" in second and "died" in second
        seen = json.loads(run_program("queue_processor.py", "--status", "--json", env=env).stdout)
        assert [seen[name]["running"] for name in ("monitor", "processor")] == [True, False] and seen["last_poll"]
        running["modelscope_monitor"].send_signal(signal.SIGSTOP)
        until(lambda: "monitor stalled" in check(log_dir, CHECK_MONITOR_AGE="1")[1], lambda: "it is stalled")
        running["modelscope_monitor"].send_signal(signal.SIGCONT)
        running["modelscope_monitor"].terminate()
        assert running["modelscope_monitor"].wait(PATIENCE) == 0
        assert "monitor is not running" in check(log_dir)[1]
    finally:
        for process in running.values():
            process.kill()
            process.wait()


@pytest.fixture
def calm(tmp_path: Path) -> Iterator[Path]:
    """A log folder of two programs that run: this process."""
    now = time.time()
    locks: list[Singleton] = []
    log_dir = tmp_path / "log"
    log_dir.mkdir()
    for program in ("monitor", "processor"):
        lock = Singleton(log_dir, program)
        lock.acquire()
        locks.append(lock)
    (log_dir / "monitor_state.json").write_text(
        json.dumps({"folders": {}, "last_check": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now))}),
        encoding="utf-8",
    )
    ProgressFile(log_dir).write(now, None, [])
    yield log_dir
    for lock in locks:
        lock.release()


_WATCHED = """
import runpy, sys
def note(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.remove", "os.rename", "os.mkdir")):
        print("DID", event)
    elif event == "open" and isinstance(arguments[0], str):
        print("OPENED", arguments[1], arguments[0])
sys.addaudithook(note)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.another_user
def test_check_reads_the_state_files_alone(calm: Path) -> None:
    """No hub, no other program, nothing written: watched by an audit hook of the interpreter."""
    (calm / "processing.log").write_text("x", encoding="utf-8")
    program = [str(config.ROOT / "tools" / "health.py"), "--log-dir", str(calm), "--work-dir", str(calm), *ALL_WELL]
    done = subprocess.run([sys.executable, "-B", "-c", _WATCHED, *program], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert any(line.startswith("OK - ") for line in lines), done.stdout
    assert {line for line in lines if line.startswith("DID ")} <= {"DID socket.gethostname"}
    opened = [line.split(" ", 2)[1:] for line in lines if line.startswith("OPENED ")]
    assert not [name for mode, name in opened if set(mode) & set("wax+")]
    wanted = {"monitor_state.json", "progress.json", "processing_queue.json", ".monitor.pid", ".processor.pid"}
    wanted |= {".monitor.lock", ".processor.lock"}
    assert {Path(name).name for _, name in opened if name.startswith(str(calm))} == wanted


def test_check_looks_where_the_env_file_sends_the_programs(calm: Path, tmp_path: Path) -> None:
    dotenv = tmp_path / "settings.env"
    dotenv.write_text(f"LOG_DIR={calm}\r\nWORK_DIR={calm}\r\n", encoding="utf-8-sig")
    done = script(config.ROOT, "check_animation_service.sh", *ALL_WELL, ANIMATION_DOTENV=str(dotenv), UI_LANG="en")
    assert done.returncode == 0 and done.stdout.startswith("OK - "), done.stdout + done.stderr
    nowhere = str(tmp_path / "none")
    done = script(config.ROOT, "check_animation_service.sh", *ALL_WELL, ANIMATION_DOTENV=str(dotenv), LOG_DIR=nowhere)
    assert done.returncode == 2, "the environment goes before"


@pytest.mark.another_user
def test_check_warns_of_failed_items_and_of_a_pause(calm: Path) -> None:
    assert check(calm)[0] == 0
    item = QueueItem(folder="番剧", hash="h", file_count=1, total_size=9, added_time="2024-01-01T00:00:00")
    with WorkQueue(calm).transaction() as view:
        view.put(item)
    assert check(calm)[0] == 0
    entries = json.loads((calm / "processing_queue.json").read_text(encoding="utf-8"))
    entries[0] |= {"status": Status.FAILED.value, "error": "0 of 1 published, 1 can't be converted"}
    (calm / "processing_queue.json").write_text(json.dumps(entries), encoding="utf-8")
    status, text = check(calm)
    assert status == 1 and text.startswith("WARNING - 1 item failed |") and " failed=1 " in text
    assert check(calm, "--failed", "2")[0] == 0
    ProgressFile(calm).write(time.time(), "the token was refused | \n HTTP 401", [])
    assert "processor paused: the token was refused" in check(calm, "--failed", "0")[1]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"null", b"7", b'"x"'])
def test_check_of_damaged_state_files_is_critical_and_one_line(calm: Path, content: bytes) -> None:
    for name in ("monitor_state.json", "progress.json", "processing_queue.json"):
        (calm / name).write_bytes(content)
    for program in ("monitor", "processor"):
        (calm / f".{program}.pid").write_bytes(content)
    status, text = check(calm)
    assert status == 2 and text.count("is damaged") == 3


def test_check_takes_strange_values_as_unknown(calm: Path) -> None:
    for plate in calm.glob(".*.pid"):  # what has only just begun may be silent
        plate.write_text(json.dumps({**json.loads(plate.read_text()), "since": time.time() - 86400}))
    for value in ("1e400", '"x"', "true", "[]", "-1e300", "null"):
        (calm / "progress.json").write_text(f'{{"updated": {value}, "paused": null, "jobs": []}}', encoding="utf-8")
        assert check(calm)[0] == 2
    assert check(calm, "--monitor-age", "x")[0] == 3


# --- the services ------------------------------------------------------------------------------------------------

_MACHINE = r"""
set -euo pipefail
space=$1 project=$2 packages=$3 place=$4
mount -t tmpfs none "$space"
for name in etc var opt; do
  mkdir -p "$space/$name" "$space/$name.work"
  mount -t overlay overlay -o "lowerdir=/$name,upperdir=$space/$name,workdir=$space/$name.work" "/$name"
done
if [ -d /run/systemd/system ]; then mount -t tmpfs none /run/systemd; fi # a systemd that runs is not ours
mkdir -p "$place"
mount --bind "$project" "$place"
# The packages as they are, under a Python that every user may run.
mkdir -p "$space/venv/bin" "$space/venv.work"
ln -s /usr/bin/python3 "$space/venv/bin/python3"
echo "home = /usr/bin" >"$space/venv/pyvenv.cfg"
mount -t overlay overlay -o "lowerdir=$packages,upperdir=$space/venv,workdir=$space/venv.work" "$place/.venv"
cd "$place"
units=/etc/systemd/system
field() { sed -n "s/^$2=//p" "$units/animation-$1.service"; }

as_service() { # what systemd makes of a unit
  unshare --mount --propagation private bash -euc '
    eval "granted=($6)"
    for folder in "${granted[@]#-}"; do mount --bind "$folder" "$folder"; done
    for folder in / /etc /var /opt "$1" "$1/.venv"; do mount -o remount,bind,ro "$folder"; done
    mount -t tmpfs none /tmp
    mount -t tmpfs none /root
    if [ "$5" = pid ]; then mount -t proc -o subset=pid proc /proc; fi
    eval "argv=($3)"
    exec setpriv --reuid "$2" --regid "$2" --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
      env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/var/lib/animation USER="$2" "$4" "${argv[@]}"
  ' _ "$place" "$(field "$1" User)" "$(field "$1" ExecStart)" "$(field "$1" Environment | tr -d \")" \
    "$(field "$1" ProcSubset)" \
    "$(field "$1" ReadWritePaths) /var/cache/$(field "$1" CacheDirectory) /var/lib/$(field "$1" StateDirectory)" \
    >"$space/$1.out" 2>&1 &
}
watch() {
  runuser -u nobody -- bash deploy/check_animation_service.sh --log-dir "$place/log" --work-dir /var/cache/animation \
    --disk-warning 0 --disk-critical 0
}
"""

_LIFE = r"""
bash deploy/install.sh
echo "--- again"
bash deploy/install.sh
echo "--- made: $(getent passwd animation)"
stat -c 'owner %U %a %n' log .env /var/cache/animation /var/lib/animation
grep -h '^Private\(Tmp\|Users\)=' $units/animation-monitor.service
as_service monitor; monitor=$!
as_service processor; processor=$!
echo "--- running"
read -r _
echo "--- check: $(watch)"
logrotate -f /etc/logrotate.d/animation-processor
kill -TERM "$monitor" "$processor"
wait "$monitor" && wait "$processor" && echo "--- ended in order"
cat "$space"/*.out | grep -c ' INFO ' || true
stat -c 'owner %U %a %n' log/processing.log log/processing.log.1 log/processing_queue.json
echo "--- removed"
bash deploy/uninstall.sh
bash deploy/uninstall.sh
getent passwd animation || echo "no user"
find $units /etc/logrotate.d -name 'animation*'
stat -c 'owner %U %a %n' log .env log/processing_queue.json log/processing.log.1
"""


_SETTINGS = (
    *("MODELSCOPE_ENDPOINT", "MODELSCOPE_API_TOKEN", "INPUT_REPO", "OUTPUT_REPO"),
    *("MONITOR_INTERVAL", "MIN_FOLDER_STABLE_TIME", "CHECK_INTERVAL", "PRESET", "MIN_FREE_SPACE_GB"),
)


def _version_of(python: str) -> str:
    code = "import sys; print('python%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.run(
            [python, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
        ).stdout.strip()
    except OSError:
        return "none"


def can_make_a_machine(tmp_path: Path) -> bool:
    trial = """mount -t tmpfs none "$0"; cd "$0"; mkdir u w
               mount -t overlay none -o lowerdir=/opt,upperdir=u,workdir=w /opt"""
    command = ["unshare", "--mount", "--propagation", "private", "bash", "-euc", trial, str(tmp_path)]
    return (
        os.geteuid() == 0
        and subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode == 0
    )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[[str, str, str], subprocess.Popen[str]]]:
    """Starts (commands, place of the project, its ``.env``) on a machine that ends with the test."""
    space = tmp_path / "space"
    space.mkdir()
    if not can_make_a_machine(space):
        pytest.skip("needs root and mount namespaces")
    if not (config.ROOT / ".venv/lib" / _version_of("/usr/bin/python3")).is_dir():
        pytest.skip("/usr/bin/python3 is missing, or another version than that of .venv")
    project = copy_project(tmp_path / "project")
    (project / ".venv").unlink()
    (project / ".venv").mkdir()
    started: list[subprocess.Popen[str]] = []

    def start(commands: str, place: str, dotenv: str) -> subprocess.Popen[str]:
        (project / ".env").write_text(dotenv, encoding="utf-8")
        command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _MACHINE + commands, "_"]
        process = subprocess.Popen(
            [*command, str(space), str(project), str(config.ROOT / ".venv"), place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PATH": SBIN, "HOME": str(tmp_path)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:  # closes its pipes, too: left open, they would fail whichever test the collector runs in
            process.kill()


# A systemd that runs can't exist here: its command only says how it was called.
_UNDER_SYSTEMD = r"""
mkdir -p /run/systemd
mount -t tmpfs none /run/systemd
mkdir -p /run/systemd/system "$space/bin"
printf '#!/bin/sh\necho "systemctl $*"\n' >"$space/bin/systemctl"
chmod +x "$space/bin/systemctl"
PATH=$space/bin:$PATH
bash deploy/install.sh
echo "--- again"
bash deploy/install.sh
echo "--- upgrade"
sed -i 's/^Description=.*/& (new)/' deploy/*.service
bash deploy/install.sh
echo "--- closed"
chmod 700 /opt/closed
bash deploy/install.sh || echo "refused"
echo "--- removed"
bash deploy/uninstall.sh
"""


def test_systemd_that_runs_is_told_and_a_closed_folder_is_noticed(
    machine: Callable[[str, str, str], subprocess.Popen[str]],
) -> None:
    out, _ = machine(_UNDER_SYSTEMD, "/opt/closed/project", "").communicate(timeout=60)
    first, second, upgrade, closed, removed = out.split("--- ")
    assert "systemctl daemon-reload\n" in first and "is not running here" not in first
    assert "restart" not in second
    assert "systemctl restart animation-monitor animation-processor" in upgrade
    assert "can't run the programs in /opt/closed/project" in closed and "refused" in closed
    assert "systemctl -q disable --now animation-monitor.service\n" in removed
    assert "systemctl -q disable --now animation-processor.service\n" in removed
    assert removed.index("removed /etc") < removed.index("systemctl daemon-reload")


def test_services_live_as_a_user_of_their_own_in_a_read_only_world(
    hub: RunningHub, tmp_path: Path, machine: Callable[[str, str, str], subprocess.Popen[str]]
) -> None:
    tool("logrotate")
    wanted = environment(hub, tmp_path)
    running = machine(_LIFE, "/opt/my 番剧 pipeline", "".join(f"{name}={wanted[name]}\n" for name in _SETTINGS))
    log = tmp_path / "project/log/processing.log"
    result = hub.root / "datasets/me/out/番剧/1.mkv"

    def text() -> str:
        return log.read_text(encoding="utf-8") if log.exists() else ""

    until(lambda: running.poll() is not None or (result.exists() and "批次处理成功" in text()), text)
    out, _ = running.communicate("\n", timeout=60)
    assert running.returncode == 0, out
    first, second, made, ready, checked, ended, removed = out.split("--- ")
    assert first.count("wrote ") == 3 and "made the user animation" in first and "systemd is not running here" in first
    assert "wrote " not in second and "made " not in second
    assert made.startswith("made: animation:") and "/nologin" in made
    assert "owner animation 755 log\n" in made and "owner animation 600 .env\n" in made
    assert "owner animation 700 /var/cache/animation\n" in made and "PrivateTmp=yes" in made
    assert ready == "running\n"
    assert checked.startswith("check: OK - 0 pending, 0 processing, 1 completed")
    assert ended.startswith("ended in order\n")
    for name in ("processing.log", "processing.log.1", "processing_queue.json"):
        assert f"owner animation 644 log/{name}\n" in ended
    assert "removed the user animation" in removed and "Nothing of this project" in removed and "no user" in removed
    assert "/etc/systemd/system/animation" not in removed.split("no user")[1]
    assert removed.count("owner root") == 4


def test_what_root_types_does_not_lock_the_service_out(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    log_dir = tmp_path / "log"
    log_dir.mkdir()
    with WorkQueue(log_dir).transaction() as view:
        view.put(QueueItem(folder="番剧", hash="h", file_count=1, total_size=9, added_time="2024-01-01T00:00:00"))
    for path in [log_dir, *log_dir.iterdir()]:
        os.chown(path, 12345, 12346)
    env = {**os.environ, "LOG_DIR": str(log_dir), "WORK_DIR": str(tmp_path / "work")}
    env |= {"ANIMATION_DOTENV": str(tmp_path / "none"), "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9"}
    assert run_program("queue_processor.py", "--cancel", "番剧", env=env).returncode == 0
    monitor = start_program("modelscope_monitor.py", env=env)
    try:
        until(lambda: (log_dir / "processing.log").exists(), lambda: "no log")
    finally:
        monitor.terminate()
        monitor.wait(PATIENCE)
    owners = {path.name: path.stat().st_uid for path in log_dir.iterdir()}
    assert {"processing_queue.json", "processing_queue.json.prev", "processing.log"} <= set(owners)
    assert set(owners.values()) == {12345}, owners
    shutil.rmtree(log_dir)
