"""What is remembered of trials: true for this program on this machine, and harmless if it is not."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tools.media import memory
from tools.media.memory import ONE_DAY, Memory, machine_here

QUESTION = ["-c:v", "av1_nvenc"]
ANSWER: dict[str, Any] = {"reason": "", "svt_version": [4, 2]}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "ffmpeg"
    path.write_bytes(b"one")
    return path


@pytest.fixture
def kept(tmp_path: Path, program: Path) -> Path:
    path = tmp_path / "encoders.json"
    first = Memory(path)
    first.remember(program, QUESTION, ANSWER)
    first.keep()
    return path


def test_next_start_knows_the_answer_to_this_question_alone(kept: Path, program: Path) -> None:
    assert Memory(kept).recall(program, QUESTION) == ANSWER
    assert Memory(kept).recall(program, [*QUESTION, "-preset"]) is None
    assert Memory(kept).recall(program.with_name("other"), QUESTION) is None


def test_another_program_in_its_place_is_not_known(kept: Path, program: Path) -> None:
    program.write_bytes(b"another")
    assert Memory(kept).recall(program, QUESTION) is None
    program.write_bytes(b"one")
    os.utime(program, (1, 1))
    assert Memory(kept).recall(program, QUESTION) is None


def test_nothing_is_known_on_another_machine(kept: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_here", lambda: ["another card"])
    assert Memory(kept).recall(program, QUESTION) is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"machine": 1, "answers": 2}', "\udcff", '{"answers": {}}']
)
def test_damaged_file_is_nothing_known(content: str, kept: Path, program: Path) -> None:
    kept.write_text(content, encoding="utf-8", errors="surrogateescape")
    found = Memory(kept)
    assert found.recall(program, QUESTION) is None
    found.remember(program, QUESTION, ANSWER)
    found.keep()
    assert Memory(kept).recall(program, QUESTION) == ANSWER


def test_answer_grows_old(kept: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then = time.time()
    monkeypatch.setattr(time, "time", lambda: then + ONE_DAY + 10)
    assert Memory(kept).recall(program, QUESTION, ONE_DAY) is None
    assert Memory(kept).recall(program, QUESTION) == ANSWER
    monkeypatch.setattr(time, "time", lambda: then - 1000)  # the clock was set back
    assert Memory(kept).recall(program, QUESTION, ONE_DAY) is None


def test_forgotten_answer_is_gone_for_the_next_start_too(kept: Path, program: Path) -> None:
    found = Memory(kept)
    found.forget()
    assert found.recall(program, QUESTION) is None and Memory(kept).recall(program, QUESTION) is None


def test_place_that_cannot_be_written_does_no_harm(tmp_path: Path, program: Path) -> None:
    for path in (tmp_path / "none" / "encoders.json", program / "encoders.json", None):
        found = Memory(path)
        found.remember(program, QUESTION, ANSWER)
        found.keep()
        assert found.recall(program, QUESTION) == ANSWER
        found.forget()


def test_machine_is_its_cards_their_rights_and_drivers(tmp_path: Path) -> None:
    seen = [machine_here(tmp_path)]

    def see(name: str, content: str = "") -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        seen.append(machine_here(tmp_path))

    see("dev/nvidia0")
    see("dev/dri/renderD128")
    see("proc/driver/nvidia/version", "NVRM version: 550")
    see("proc/driver/nvidia/version", "NVRM version: 560")
    see("usr/lib/x86_64-linux-gnu/dri/iHD_drv_video.so")
    assert all(seen.count(one) == 1 for one in seen)
    assert machine_here(tmp_path) == seen[-1]
