"""Asked to end: once, twice, by a closed tmux session, with an encoder that is deaf to it."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conversion import stand_in
from tests.hub_server import Fault, RunningHub, running_hub
from tests.media import make_clip
from tests.patience import PATIENCE, until
from tests.programs import ROOT, children_working_in, environment, run_program, start_program
from tools.runtime.clock import STOP_WITHIN

STUCK = 'exec -a "stuck $*" sleep 600'
_NOTED = 'trap "touch $0.asked" TERM; trap "" INT HUP; while :; do sleep 600 & wait; done'
DEAF = f"""exec -a "stuck $*" bash -c '{_NOTED}' "$0" """


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        folder = running.root / "datasets" / "me" / "in" / "番剧"
        folder.mkdir(parents=True)
        make_clip(tmp_path / "clip.mp4", seconds=0.5).rename(folder / "1.mp4")
        yield running


def settings(hub: RunningHub, top: Path, deed: str) -> dict[str, str]:
    """Programs whose ffmpeg does ``deed`` where it is to encode."""
    ffmpeg = stand_in(top, f'case "$*" in *source.mp4*svtav1*) {deed} ;; esac')
    return environment(hub, top, FFMPEG=str(ffmpeg), CAGE="off", ENCODER="libsvtav1")


def is_encoding(top: Path) -> bool:
    return any(line.startswith("stuck") for line in children_working_in(top / "work"))


def items(top: Path) -> list[dict[str, Any]]:
    path = top / "log" / "processing_queue.json"
    return list(json.loads(path.read_bytes())) if path.exists() else []


def ended_in_order(top: Path) -> bool:
    """Not by the guard that ends, without a word, what has not ended after ten seconds."""
    return (top / "log" / "processing.log").read_text(encoding="utf-8").endswith(" processor stopped\n")


def queue_up(env: dict[str, str], top: Path) -> None:
    while not items(top):
        assert run_program("modelscope_monitor.py", "--once", env=env).returncode == 0


@pytest.fixture
def encoding(hub: RunningHub, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A processor in the midst of an encode that is deaf to every polite signal."""
    env = settings(hub, tmp_path, DEAF)
    queue_up(env, tmp_path)
    process = start_program("queue_processor.py", env=env)
    try:
        until(lambda: is_encoding(tmp_path), "an encode runs")
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.another_user
def test_encoder_that_is_deaf_to_the_stop_is_killed_in_time(encoding: subprocess.Popen[bytes], tmp_path: Path) -> None:
    encoding.send_signal(signal.SIGTERM)
    assert encoding.wait(PATIENCE) == 0
    assert ended_in_order(tmp_path)
    assert not children_working_in(tmp_path / "work") and [item["status"] for item in items(tmp_path)] == ["pending"]


def test_second_signal_ends_at_once_and_the_next_start_goes_on(
    encoding: subprocess.Popen[bytes], tmp_path: Path, hub: RunningHub
) -> None:
    encoding.send_signal(signal.SIGTERM)
    until(lambda: bool(list(tmp_path.rglob("*.asked"))), "the deaf encoder is asked to end")
    assert encoding.poll() is None, "it is still given its time"
    encoding.send_signal(signal.SIGINT)
    assert encoding.wait(PATIENCE) == -signal.SIGINT
    until(lambda: not children_working_in(tmp_path / "work"), "nothing of it lives")
    assert items(tmp_path)[0]["status"] in {"pending", "processing"}, "it may have been given back by then"
    assert run_program("queue_processor.py", "--drain", env=environment(hub, tmp_path)).returncode == 0
    assert len(hub.store.repo("me/out").commits) == 1 and not list((tmp_path / "work").rglob("*"))


def test_guard_keeps_the_promise_of_ten_seconds() -> None:
    assert 0 < STOP_WITHIN < 10
    for name in ("queue_processor", "modelscope_monitor", "worker", "scheduler"):
        assert "within=STOP_WITHIN" in (ROOT / f"tools/{name}.py").read_text(encoding="utf-8")


def test_programs_end_in_time_while_the_hub_hangs(hub: RunningHub, tmp_path: Path) -> None:
    """The processor in a download, the monitor in its question for the newest commit."""
    env = environment(hub, tmp_path)
    queue_up(env, tmp_path)
    download, question = (Fault(match, "hang", times=10**6) for match in ("/repo?Revision", "me/in/commits"))
    hub.faults.append(download)
    programs = [start_program("queue_processor.py", env=env)]
    try:
        until(lambda: download.hits > 0, "a download hangs")
        hub.faults.append(question)
        programs.append(start_program("modelscope_monitor.py", env=env))
        until(lambda: question.hits > 0, "a look hangs")
        for program in programs:
            program.send_signal(signal.SIGTERM)
        assert [program.wait(PATIENCE) for program in programs] == [0, 0]
    finally:
        for program in programs:
            program.kill()
            program.wait()
    assert [item["status"] for item in items(tmp_path)] == ["pending"]


@pytest.mark.parametrize("asks", [20, 1700])
def test_processor_ends_at_once_while_a_commit_has_to_wait(hub: RunningHub, tmp_path: Path, asks: int) -> None:
    """Whether the wait is kept where it was asked, or by the engine."""
    env = environment(hub, tmp_path)
    queue_up(env, tmp_path)
    busy = Fault("/commit/master", "status:429", times=10**6, retry_after=asks)
    hub.faults.append(busy)
    program = start_program("queue_processor.py", env=env)
    try:
        until(lambda: busy.hits > 0, "a commit has to wait")
        if asks > 35:
            until(lambda: "waits until" in run_program("queue_processor.py", "--status", env=env).stdout, "shown")
            shown = json.loads(run_program("queue_processor.py", "--status", "--json", env=env).stdout)
            assert [(one["kind"], one["state"]) for one in shown["hub"]] == [("publish", "waiting")]
        program.send_signal(signal.SIGTERM)
        assert program.wait(PATIENCE) == 0 and ended_in_order(tmp_path)
    finally:
        program.kill()
        program.wait()
    assert [item["status"] for item in items(tmp_path)] == ["pending"]


@pytest.mark.another_user
@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_closed_tmux_session_gives_everything_back_and_has_never_shown_the_token(
    hub: RunningHub, tmp_path: Path
) -> None:
    env = settings(hub, tmp_path, STUCK)
    env |= {"TMUX_SOCKET": "stop", "TMUX_TMPDIR": str(tmp_path)}
    for match in ("/repo/tree", "/repo?Revision"):
        hub.faults.append(Fault(match, "status:500", says=f"what a token: {hub.token}"))

    def tmux(*arguments: str) -> str:
        command = ["tmux", "-L", env["TMUX_SOCKET"], *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False).stdout

    log = tmp_path / "log" / "processing.log"
    try:
        command = ["bash", str(ROOT / "start_monitoring.sh")]
        subprocess.run(command, env=env, cwd="/", capture_output=True, timeout=120, check=True)
        until(lambda: is_encoding(tmp_path), "an encode runs")
        until(lambda: "what a token: ***" in log.read_text("utf-8"), "the token was there to be masked")
        windows = [f"animation_monitor:{name}" for name in ("0", "processor")]
        shown = [tmux("capture-pane", "-p", "-S", "-", "-t", window) for window in windows]
        kept = tmux("show-environment") + tmux("show-environment", "-g")
        assert all(" INFO " in text for text in shown) and "what a token: ***" in "".join(shown)
        assert hub.token not in "".join(shown) + kept + "".join(children_working_in(tmp_path))
        tmux("kill-session", "-t", "animation_monitor")
        until(lambda: not list(log.parent.glob(".*.pid")), "both programs end")
    finally:
        tmux("kill-server")
    assert [item["status"] for item in items(tmp_path)] == ["pending"] and not children_working_in(tmp_path)
    text = log.read_text("utf-8")
    assert text.count(" stopped\n") == 2 and "error" not in text.lower(), text
