"""start_monitoring.sh: usage, what it passes on to the programs in tmux, and that a second run changes nothing."""

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import config

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


def test_second_set_up_installs_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    fakes = tmp_path / "bin"
    fakes.mkdir()
    for program in ("apt-get", "sudo"):
        (fakes / program).write_text(f"#!/bin/sh\ntouch {tmp_path}/called\nexit 1\n", encoding="utf-8")
        (fakes / program).chmod(0o755)
    ended = _script(environ | {"PATH": f"{fakes}:{environ['PATH']}"}, "--setup-only")
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
