"""start_monitoring.sh: usage, what it passes on to the programs in tmux, and that a second run changes nothing."""

import contextlib
import os
import pty
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

import config
from tests.patience import PATIENCE, until
from tests.start_script import SCRIPT, TOKEN, Tmux, run_script
from tools.state.liveness import life_of

pytestmark = pytest.mark.another_user


def test_unknown_flag_is_answered_by_usage_and_status_2(environ: dict[str, str]) -> None:
    ended = run_script(environ, "--bogus")
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
    assert run_script(environ, "--setup-only").returncode == 0  # it may have been copied here
    ended = run_script(environ | {"PATH": str(fakes)}, "--setup-only")
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 1
    assert not (tmp_path / "called").exists()


def test_without_rights_nothing_is_asked_for_that_can_be_done_without(environ: dict[str, str], tmp_path: Path) -> None:
    fakes = tmp_path / "bin"
    fakes.mkdir()
    for program, code in (("id", "echo 1000"), ("sudo", "exit 1"), ("apt-get", f"touch {tmp_path}/called; exit 1")):
        (fakes / program).write_text(f"#!/bin/sh\n{code}\n", encoding="utf-8")
        (fakes / program).chmod(0o755)
    for other in Path("/usr/bin").iterdir():
        if other.name not in {"mkvmerge", "ffmpeg", "ffprobe", "apt-get", "sudo", "id"}:
            (fakes / other.name).symlink_to(other)
    assert run_script(environ, "--setup-only").returncode == 0  # it may have been copied here
    ended = run_script(environ | {"PATH": str(fakes)}, "--setup-only")
    assert (ended.returncode, ended.stderr) == (0, "")
    about, done = ended.stdout.splitlines()
    assert "going on without mkvmerge" in about and done.startswith("Set up.")
    assert not (tmp_path / "called").exists()


def test_without_tmux_and_any_way_to_install_it_one_line_offers_the_foreground(
    environ: dict[str, str], tmp_path: Path
) -> None:
    fakes = tmp_path / "bin"
    fakes.mkdir()
    for other in Path("/usr/bin").iterdir():
        if other.name not in {"tmux", "apt-get", "sudo"}:
            (fakes / other.name).symlink_to(other)
    ended = run_script(environ | {"PATH": str(fakes)})
    assert ended.returncode == 1 and ended.stdout == "" and ended.stderr.count("\n") == 1, ended.stderr
    assert "please install: tmux" in ended.stderr and "--foreground" in ended.stderr


def test_programs_get_the_callers_settings_whatever_the_tmux_server_was_started_with(
    environ: dict[str, str], tmux: Tmux, tmp_path: Path
) -> None:
    environ |= {"TMUX_SOCKET": tmux.socket, "TMUX_SESSION": "tested"}
    log = tmp_path / "log" / "processing.log"
    started = run_script(environ)
    assert started.returncode == 0, started.stdout + started.stderr
    assert tmux("list-windows", "-t", "=tested", "-F", "#{window_index} #{window_name}").splitlines() == [
        "0 monitor",
        "1 processor",
    ]

    def text() -> str:
        return log.read_text(encoding="utf-8") if log.exists() else ""

    until(lambda: "repo=me/the-right-one" in text() and " processor processing the queue" in text(), "both start")
    assert TOKEN not in text() + started.stdout
    assert _command_lines_with(TOKEN) == []
    again = run_script(environ)
    assert again.returncode == 0
    assert "is already running" in again.stdout
    assert tmux("list-windows", "-t", "=tested").count("\n") == 2
    tmux("kill-session", "-t", "=tested")
    until(lambda: text().count(" stopped") == 2, "both programs end in order")


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
    assert run_script(tmux_environ).returncode == 0 and _both_run(log_dir)
    monitor = _pid(log_dir, "monitor")
    for program in ("processor",):
        os.kill(_supervisor_of(_pid(log_dir, program)), signal.SIGKILL)
        until(lambda: not life_of(log_dir, "processor").running, "it ends with its supervisor")
    again = run_script(tmux_environ)
    assert again.returncode == 0 and _both_run(log_dir) and _pid(log_dir, "monitor") == monitor
    assert "Already running 已在运行: monitor" in again.stdout and "animation" not in again.stderr
    assert "Started in tmux session tested: processor." in again.stdout
    assert sorted(tmux("list-windows", "-t", "=tested", "-F", "#{window_name}").split()) == ["monitor", "processor"]
    os.kill(_supervisor_of(monitor), signal.SIGKILL)
    until(lambda: not life_of(log_dir, "monitor").running, "it ends with its supervisor")
    assert "tested: monitor." in run_script(tmux_environ).stdout and _both_run(log_dir)
    windows = tmux("list-windows", "-t", "=tested", "-F", "#{window_index} #{window_name}").splitlines()
    assert windows[0] == "0 monitor" and len(windows) == 2
    refused = run_script(tmux_environ, "--foreground")
    assert refused.returncode == 1 and "already running" in refused.stderr and refused.stdout == ""
    os.kill(_pid(log_dir, "processor"), signal.SIGTERM)
    until(lambda: not life_of(log_dir, "processor").running, "it was asked to end")
    assert "tested: processor." in run_script(tmux_environ).stdout and _both_run(log_dir)
    _start_while_the_last_session_stops(tmux_environ, tmux, log_dir)


def _start_while_the_last_session_stops(environ: dict[str, str], tmux: Tmux, log_dir: Path) -> None:
    """Its programs still hold their locks, and are none that run: an upgrade types both commands one after another."""
    stopping = _pid(log_dir, "processor")
    os.kill(stopping, signal.SIGSTOP)
    try:
        tmux("kill-session", "-t", "=tested")
        with subprocess.Popen(["bash", SCRIPT], env=environ, cwd="/", stdout=subprocess.PIPE, text=True) as starting:
            assert starting.stdout is not None
            next(line for line in starting.stdout if "Still running" in line)
            os.kill(stopping, signal.SIGCONT)
            said = starting.stdout.read()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stopping, signal.SIGCONT)
    assert starting.returncode == 0 and "tested: monitor, processor." in said
    assert _both_run(log_dir) and _pid(log_dir, "processor") != stopping


@pytest.mark.parametrize("arguments", [(), ("--foreground",)])
def test_wrong_setting_is_one_line_and_status_2_before_anything_starts(
    tmux_environ: dict[str, str], tmux: Tmux, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    dotenv = tmp_path / "wrong.env"
    dotenv.write_text("CRF=99\n", encoding="utf-8")
    ended = run_script(tmux_environ | {"ANIMATION_DOTENV": str(dotenv)}, *arguments)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "CRF='99' (from .env)" in ended.stderr
    assert ended.stdout == "" and tmux("list-windows", "-t", "=tested") == "" and not (tmp_path / "log").exists()


def test_programs_that_end_at_once_are_not_called_started(
    tmux_environ: dict[str, str], tmux: Tmux, tmp_path: Path
) -> None:
    (tmp_path / "log" / "processing.log").mkdir(parents=True)
    ended = run_script(tmux_environ)
    assert ended.returncode == 1 and "Started" not in ended.stdout
    # Both end by the same fault, in either order: the one that is seen first is shown.
    assert re.search("the (monitor|processor) does not run", ended.stderr), ended.stderr
    assert "processing.log: Is a directory" in ended.stderr
    (tmp_path / "log" / "processing.log").rmdir()
    assert run_script(tmux_environ).returncode == 0 and _both_run(tmp_path / "log")


def test_token_in_an_env_file_with_a_bom_is_no_demo_and_home_may_be_unset(
    tmux_environ: dict[str, str], tmux: Tmux, tmp_path: Path
) -> None:
    dotenv = tmp_path / "windows.env"
    dotenv.write_bytes(b"\xef\xbb\xbfMODELSCOPE_API_TOKEN=made-up\r\nCRF=31\r\n")
    env = tmux_environ | {"ANIMATION_DOTENV": str(dotenv), "MODELSCOPE_API_TOKEN": ""}
    del env["HOME"]
    ended = run_script(env)
    assert ended.returncode == 0 and ended.stderr == "" and "demo" not in ended.stdout.lower()
    assert tmux("list-windows", "-t", "=tested").count("\n") == 2


def test_printed_commands_work_when_pasted(tmux_environ: dict[str, str], tmux: Tmux, tmp_path: Path) -> None:
    log_dir = tmp_path / "it's a log"
    started = run_script(tmux_environ | {"LOG_DIR": str(log_dir), "LANG": "C"})
    assert started.returncode == 0, started.stderr
    lines = [line for line in started.stdout.splitlines() if line.startswith("  ")]
    status, queue = (line.split("env ", 1)[1] for line in lines if "tools/" in line and "doctor" not in line)
    plain = {name: value for name, value in tmux_environ.items() if name in ("PATH", "HOME")} | {"UI_LANG": "en"}
    for command in (status, queue):
        done = subprocess.run(
            ["sh", "-c", "env " + command], env=plain, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0 and "not running" not in done.stdout, done.stderr
        assert "\nMonitor: running" in f"\n{done.stdout}"
    attach = next(line for line in lines if "attach" in line)
    assert f"tmux -u -L {tmux.socket} attach -t tested:0" in attach
    assert any("tail -F " in line for line in lines)


def test_watching_is_by_a_switch_of_the_client_where_tmux_is_around_already(
    tmux_environ: dict[str, str], tmux: Tmux, tmp_path: Path
) -> None:
    """The line that is printed inside tmux is pasted there, by a person who looks at it through a terminal."""
    said, run = tmp_path / "said", f"bash {shlex.quote(str(SCRIPT))}"
    tmux("new-window", "-t", "=other:", "-n", "person", "env", "-u", "CRF", *_assigned(tmux_environ), "bash", "--norc")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(
            "tmux", ["tmux", "-L", tmux.socket, "attach", "-t", "=other:person"], {**os.environ, "TERM": "xterm"}
        )
    try:
        tmux("send-keys", "-t", "=other:person", f"{run} >{said}.new 2>&1; mv {said}.new {said}", "Enter")
        until(said.exists, "the script ends")
        assert "watch the processor" in said.read_text(), said.read_text()
        line = next(line for line in said.read_text().splitlines() if "watch the processor" in line)
        command = line[line.index("tmux ") :]
        assert "switch-client" in command, line
        tmux("send-keys", "-t", "=other:person", command, "Enter")
        until(lambda: "tested" in tmux("list-clients", "-F", "#{client_session}"), "the person sees the session")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    elsewhere = run_script(tmux_environ | {"TMUX": "/tmp/tmux-0/another,1,0"}).stdout
    assert (
        f"env -u TMUX tmux {'' if 'UTF' in os.environ.get('LANG', '') else '-u '}-L {tmux.socket} attach" in elsewhere
    )


def _assigned(environ: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environ.items()]


def test_demo_that_is_in_the_way_is_ended_by_the_command_that_the_refusal_names(
    tmux_environ: dict[str, str], tmux: Tmux
) -> None:
    tmux("new-session", "-d", "-s", "tested", "-n", "hub", "sleep", "300")
    refused = run_script(tmux_environ)
    assert refused.returncode == 1 and "the demo runs in tmux session tested" in refused.stderr
    command = refused.stderr[refused.stderr.index("tmux -") :]
    subprocess.run(["sh", "-c", command], env=tmux_environ, check=True, timeout=PATIENCE)
    assert tmux("list-sessions", "-F", "#{session_name}").split() == ["other"]
