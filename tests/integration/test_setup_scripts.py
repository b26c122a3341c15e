"""start_monitoring.sh: usage, what it passes on to the programs in tmux, and that a second run changes nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import pytest

import config
from tests.integration.test_deploy import copy_project
from tools.state.liveness import life_of
from tools.state.singleton import Singleton

pytestmark = pytest.mark.another_user

SCRIPT = config.ROOT / "start_monitoring.sh"
TOKEN = "made-up-for-tests"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    if not (config.ROOT / ".venv" / ".requirements").exists():
        pytest.skip("the project is not set up: bash start_monitoring.sh --setup-only")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "HOME": str(tmp_path),
        "ANIMATION_DOTENV": str(tmp_path / "none.env"),
        "LOG_DIR": str(tmp_path / "log"),
        "WORK_DIR": str(tmp_path / "work"),
        "HUB_DIR": str(tmp_path / "hub"),
        "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9",
        "MODELSCOPE_API_TOKEN": TOKEN,
        "INPUT_REPO": "me/the-right-one",
    }


def _script(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", SCRIPT, *arguments], env=environ, cwd="/", capture_output=True, text=True, timeout=120, check=False
    )


def _eventually(is_so: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Tmux:
    """A tmux server of our own, which was started with another environment and by a user whose shell runs nothing."""

    socket: str

    def __call__(self, *arguments: str) -> str:
        command = ["tmux", "-L", self.socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    server = Tmux(f"test-{uuid.uuid4().hex[:12]}")
    stale = {"PATH": os.environ["PATH"], "INPUT_REPO": "me/a-stale-one", "CRF": "1000", "SHELL": "/bin/false"}
    subprocess.run(
        ["tmux", "-L", server.socket, "-f", "/dev/null", "new-session", "-d", "-s", "other", "sleep", "300"],
        env=stale,
        timeout=20,
        check=True,
    )
    yield server
    server("kill-server")


def test_unknown_flag_is_answered_by_usage_and_status_2(environ: dict[str, str]) -> None:
    ended = _script(environ, "--bogus")
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage:")


def test_every_setting_of_the_configuration_is_passed_on() -> None:
    listed = SCRIPT.read_text(encoding="utf-8").split("settings=(", 1)[1].split(")", 1)[0].split()
    names = [line.split("`")[1] for line in config.settings_table().splitlines()[2:]]
    assert len(names) > 20
    assert set(names) <= set(listed)


def test_second_set_up_installs_nothing_not_even_ffmpeg(environ: dict[str, str], tmp_path: Path) -> None:
    fakes = tmp_path / "bin"
    fakes.mkdir()
    for program in ("apt-get", "sudo"):
        (fakes / program).write_text(f"#!/bin/sh\ntouch {tmp_path}/called\nexit 1\n", encoding="utf-8")
        (fakes / program).chmod(0o755)
    for other in Path("/usr/bin").iterdir():
        if other.name not in {"ffmpeg", "ffprobe", "apt-get", "sudo"}:
            (fakes / other.name).symlink_to(other)
    assert _script(environ, "--setup-only").returncode == 0  # the project may have been copied here, commands and all
    ended = _script(environ | {"PATH": str(fakes)}, "--setup-only")
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 1
    assert not (tmp_path / "called").exists()


def test_programs_get_the_callers_settings_whatever_the_tmux_server_was_started_with(
    environ: dict[str, str], tmux: Tmux, tmp_path: Path
) -> None:
    environ |= {"TMUX_SOCKET": tmux.socket, "TMUX_SESSION": "tested"}
    log = tmp_path / "log" / "processing.log"
    started = _script(environ)
    assert started.returncode == 0, started.stdout + started.stderr
    assert tmux("list-windows", "-t", "=tested", "-F", "#{window_index} #{window_name}").splitlines() == [
        "0 monitor",
        "1 processor",
    ]

    def text() -> str:
        return log.read_text(encoding="utf-8") if log.exists() else ""

    _eventually(lambda: "repo=me/the-right-one" in text() and " processor processing the queue" in text(), "both start")
    assert TOKEN not in text() + started.stdout
    assert _command_lines_with(TOKEN) == []
    again = _script(environ)
    assert again.returncode == 0
    assert "is already running" in again.stdout
    assert tmux("list-windows", "-t", "=tested").count("\n") == 2
    tmux("kill-session", "-t", "=tested")
    _eventually(lambda: text().count(" stopped") == 2, "both programs end in order")


def _command_lines_with(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue  # ended meanwhile
        if text.encode() in command:
            found.append(command.decode(errors="replace"))
    return found


# --- what runs, what died, what is wrong ----------------------------------------------------------------------------


@pytest.fixture
def tmux_environ(environ: dict[str, str], tmux: Tmux) -> dict[str, str]:
    return environ | {"TMUX_SOCKET": tmux.socket, "TMUX_SESSION": "tested"}


def _pid(log_dir: Path, program: str) -> int:
    return int(life_of(log_dir, program).holder.split()[1])


def _supervisor_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _both_run(log_dir: Path) -> bool:
    return all(life_of(log_dir, program).running for program in ("monitor", "processor"))


def test_start_looks_at_the_programs_and_not_at_the_session(
    tmux_environ: dict[str, str], tmux: Tmux, tmp_path: Path
) -> None:
    """Dead programs in a session that lives are started; those that run are left alone; nothing starts twice."""
    log_dir = tmp_path / "log"
    assert _script(tmux_environ).returncode == 0 and _both_run(log_dir)
    monitor = _pid(log_dir, "monitor")
    for program in ("processor",):
        os.kill(_supervisor_of(_pid(log_dir, program)), signal.SIGKILL)
        _eventually(lambda: not life_of(log_dir, "processor").running, "it ends with its supervisor")
    again = _script(tmux_environ)
    assert again.returncode == 0 and _both_run(log_dir) and _pid(log_dir, "monitor") == monitor
    assert "Already running 已在运行: monitor" in again.stdout and "animation" not in again.stderr
    assert "Started in tmux session tested: processor." in again.stdout
    assert sorted(tmux("list-windows", "-t", "=tested", "-F", "#{window_name}").split()) == ["monitor", "processor"]
    os.kill(_supervisor_of(monitor), signal.SIGKILL)
    _eventually(lambda: not life_of(log_dir, "monitor").running, "it ends with its supervisor")
    assert "tested: monitor." in _script(tmux_environ).stdout and _both_run(log_dir)
    windows = tmux("list-windows", "-t", "=tested", "-F", "#{window_index} #{window_name}").splitlines()
    assert windows[0] == "0 monitor" and len(windows) == 2
    refused = _script(tmux_environ, "--foreground")
    assert refused.returncode == 1 and "already running" in refused.stderr and refused.stdout == ""
    os.kill(_pid(log_dir, "processor"), signal.SIGTERM)
    _eventually(lambda: not life_of(log_dir, "processor").running, "it was asked to end")
    assert "tested: processor." in _script(tmux_environ).stdout and _both_run(log_dir)


@pytest.mark.parametrize("arguments", [(), ("--foreground",)])
def test_wrong_setting_is_one_line_and_status_2_before_anything_starts(
    tmux_environ: dict[str, str], tmux: Tmux, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    dotenv = tmp_path / "wrong.env"
    dotenv.write_text("CRF=99\n", encoding="utf-8")
    ended = _script(tmux_environ | {"ANIMATION_DOTENV": str(dotenv)}, *arguments)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "CRF='99' (from .env)" in ended.stderr
    assert ended.stdout == "" and tmux("list-windows", "-t", "=tested") == "" and not (tmp_path / "log").exists()


def test_programs_that_end_at_once_are_not_called_started(
    tmux_environ: dict[str, str], tmux: Tmux, tmp_path: Path
) -> None:
    (tmp_path / "log" / "processing.log").mkdir(parents=True)
    ended = _script(tmux_environ)
    assert ended.returncode == 1 and "Started" not in ended.stdout
    assert "the monitor does not run" in ended.stderr and "processing.log: Is a directory" in ended.stderr
    (tmp_path / "log" / "processing.log").rmdir()
    assert _script(tmux_environ).returncode == 0 and _both_run(tmp_path / "log")


def test_token_in_an_env_file_with_a_bom_is_no_demo_and_home_may_be_unset(
    tmux_environ: dict[str, str], tmux: Tmux, tmp_path: Path
) -> None:
    dotenv = tmp_path / "windows.env"
    dotenv.write_bytes(b"\xef\xbb\xbfMODELSCOPE_API_TOKEN=made-up\r\nCRF=31\r\n")
    env = tmux_environ | {"ANIMATION_DOTENV": str(dotenv), "MODELSCOPE_API_TOKEN": ""}
    del env["HOME"]
    ended = _script(env)
    assert ended.returncode == 0 and ended.stderr == "" and "demo" not in ended.stdout.lower()
    assert tmux("list-windows", "-t", "=tested").count("\n") == 2


def test_printed_commands_work_when_pasted(tmux_environ: dict[str, str], tmux: Tmux, tmp_path: Path) -> None:
    log_dir = tmp_path / "it's a log"
    started = _script(tmux_environ | {"LOG_DIR": str(log_dir), "LANG": "C"})
    assert started.returncode == 0, started.stderr
    lines = [line for line in started.stdout.splitlines() if line.startswith("  ")]
    status, queue = (line.split("env ", 1)[1] for line in lines if "tools/" in line and "doctor" not in line)
    plain = {name: value for name, value in tmux_environ.items() if name in ("PATH", "HOME")}
    for command, first in ((status, "Monitor"), (queue, "Monitor")):
        done = subprocess.run(
            ["sh", "-c", "env " + command], env=plain, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0 and "not running" not in done.stdout.splitlines()[0], done.stderr
        assert done.stdout.startswith(first)
    attach = next(line for line in lines if "attach" in line)
    assert f"tmux -u -L {tmux.socket} attach -t tested:0" in attach
    assert any("tail -F " in line for line in lines)


# --- odd machines -----------------------------------------------------------------------------------------------------


def test_commands_of_a_moved_project_are_rebuilt(environ: dict[str, str], tmp_path: Path) -> None:
    before, project = tmp_path / "before", tmp_path / "the new place"
    copy_project(before)
    (before / ".venv").unlink()
    subprocess.run([sys.executable, "-m", "venv", before / ".venv"], check=True, timeout=120)
    packages = next((before / ".venv" / "lib").glob("python*/site-packages"))
    (packages / "real.pth").write_text(str(Path(filelock.__file__).parent.parent), encoding="utf-8")
    stamp = subprocess.run(["sha256sum", "requirements.txt"], cwd=before, capture_output=True, text=True, check=True)
    (before / ".venv" / ".requirements").write_text(stamp.stdout, encoding="utf-8")
    before.rename(project)
    with pytest.raises(FileNotFoundError):
        subprocess.run([project / ".venv/bin/pip", "--version"], check=True, capture_output=True)
    command = ["bash", str(project / "start_monitoring.sh"), "--setup-only"]
    done = subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "was moved" in done.stdout, done.stderr
    subprocess.run([project / ".venv/bin/pip", "--version"], check=True, capture_output=True, timeout=60)
    done = subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.count("\n") == 1, "once is enough"


def test_demo_on_a_full_disk_is_one_line(environ: dict[str, str], tmp_path: Path) -> None:
    ffmpeg = tmp_path / "ffmpeg"
    screen = 'for n in $(seq 40); do echo "[out#0 @ 0x$n] Error writing: No space left on device" >&2; done; exit 228'
    ffmpeg.write_text(f"#!/bin/sh\n{screen}\n", encoding="utf-8")
    ffmpeg.chmod(0o755)
    done = subprocess.run(
        [sys.executable, config.ROOT / "tools" / "demo.py"],
        env=environ | {"FFMPEG": str(ffmpeg)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"in {tmp_path}/hub: No space left on device" in done.stderr


def test_program_under_a_python_without_orig_argv_continues_under_the_venv(environ: dict[str, str]) -> None:
    """Python 3.9 has none."""
    program = config.ROOT / "tools" / "doctor.py"
    code = f"import sys, runpy; del sys.orig_argv; sys.argv = [{str(program)!r}, '--version']; "
    code += "sys.path.insert(0, ''); runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        ["python3", "-c", code], env=environ, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("doctor.py "), done.stderr


def test_second_hub_over_the_same_folder_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    lock = Singleton(tmp_path / "hub" / ".hub", "hub")
    lock.acquire()
    program = [sys.executable, str(config.ROOT / "tools" / "local_hub.py"), "--port", "0"]
    done = subprocess.run(program, env=environ, capture_output=True, text=True, timeout=60, check=False)
    lock.release()
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "a hub runs here already" in done.stderr
