"""What this machine does to the programs (kills, slow and full disks, missing programs) is never blamed on the file.

Real ffmpeg; the end of single runs is replaced, which a test can't bring about otherwise at a chosen moment.
"""

import errno
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conversion import convert
from tests.media import make_clip
from tools.core.errors import DiskFull, MachineError, NoEncoder, ReadTooSlow, Stopped, TranscodeError
from tools.media import pace, program
from tools.media.converter import FfmpegConverter, OutputOptions
from tools.media.pace import Pace, usual_limit
from tools.runtime.child import ChildTimeout, Ended, run
from tools.runtime.files import copy_file, sha256_of

KILLED = Ended(-signal.SIGKILL, "")
QUESTIONS = ["-show_format", "-f matroska", "-f null"]
"""What tells the runs of a conversion apart: probe, encode, verifying decode."""


@dataclass
class Ends:
    """Replaces how the first ``times`` runs end whose command has all words of ``mark`` in it; the others are real."""

    mark: str
    end: Ended | Exception
    times: int = 1
    says: str = ""
    seen: list[str] = field(default_factory=list)
    encodes: int = 0

    def __call__(self, argv: Sequence[str | os.PathLike[str]], **rest: Any) -> Ended:
        line = " ".join(os.fspath(part) for part in argv)
        self.encodes += "-f matroska" in line
        if not all(word in line for word in self.mark.split(" & ")):
            return run(argv, **rest)
        self.seen.append(line)
        if len(self.seen) > self.times:
            return run(argv, **rest)
        if isinstance(self.end, Exception):
            raise self.end
        if self.says:
            rest["on_complaint"](self.says)
        return self.end


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ends]:
    monkeypatch.setattr(pace, "_WAIT", 0.05)

    def replace(*args: Any, **more: Any) -> Ends:
        made = Ends(*args, **more)
        monkeypatch.setattr(program, "run", made)
        return made

    return replace


@pytest.mark.parametrize("mark", QUESTIONS)
def test_one_kill_of_any_program_is_retried_and_the_video_converted(
    mark: str, tmp_path: Path, ends: Callable[..., Ends]
) -> None:
    killed = ends(mark, KILLED)
    report = convert(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv")
    assert report.frames == 24 and len(killed.seen) >= 2


@pytest.mark.parametrize("mark", [QUESTIONS[0], QUESTIONS[1]])
def test_program_that_is_killed_each_time_is_the_machine_s_trouble(
    mark: str, tmp_path: Path, ends: Callable[..., Ends]
) -> None:
    ends(mark, KILLED, times=99)
    with pytest.raises(MachineError, match="SIGKILL"):
        convert(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_encode_that_was_killed_starts_again_with_fewer_threads(tmp_path: Path, ends: Callable[..., Ends]) -> None:
    killed = ends("-f matroska", KILLED, times=2)
    report = convert(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv")
    assert ["lp=2" in line for line in killed.seen] == [False, True, False]
    assert "lp=1" in killed.seen[2] and "lp=1" in report.settings


@pytest.mark.parametrize("end", [KILLED, ChildTimeout("did not end within 60 s")])
def test_verification_that_this_machine_broke_off_keeps_what_was_encoded(
    end: Ended | Exception, tmp_path: Path, ends: Callable[..., Ends]
) -> None:
    broken = ends("-show_format & result.mkv", end, times=2)
    convert(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv")
    assert (len(broken.seen), broken.encodes) == (3, 1)


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("av_interleaved_write_frame(): No space left on device", DiskFull),
        ("av_interleaved_write_frame(): Disk quota exceeded", DiskFull),
        ("av_interleaved_write_frame(): File too large", DiskFull),
        ("Error opening output: No such file or directory", MachineError),
        ("Error while decoding: Invalid data found when processing input", TranscodeError),
    ],
)
def test_what_ffmpeg_says_of_this_machine_is_not_the_file_s_fault(
    says: str, error: type[Exception], tmp_path: Path, ends: Callable[..., Ends]
) -> None:
    ends("-f matroska", Ended(1, says), times=99, says=says)
    with pytest.raises(error) as caught:
        convert(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv")
    assert type(caught.value) is error


@pytest.mark.parametrize(("mark", "number"), [("-show_format", errno.ENOMEM), ("-f matroska", errno.ENOENT)])
def test_program_that_can_not_be_started_is_no_file_s_fault_and_chosen_again(
    mark: str, number: int, tmp_path: Path, ends: Callable[..., Ends]
) -> None:
    ends(mark, OSError(number, os.strerror(number)))
    converter = FfmpegConverter(OutputOptions(preset=12))
    clip = make_clip(tmp_path / "in.mp4")
    with pytest.raises(NoEncoder, match="can't be started"):
        convert(clip, tmp_path / "out.mkv", converter)
    assert converter._programs is None
    assert convert(clip, tmp_path / "out.mkv", converter).frames == 24


@pytest.mark.parametrize("mark", ["-show_format", "stream_index,pts_time"])
def test_read_that_was_too_slow_is_retried_with_a_longer_limit(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    def slow(argv: Sequence[str | os.PathLike[str]], **rest: Any) -> Ended:
        if mark in " ".join(os.fspath(part) for part in argv):
            limits.append(rest["limits"].timeout)
            if len(limits) < 3:
                raise ChildTimeout("did not end within 60 s")
        return run(argv, **rest)

    monkeypatch.setattr(program, "run", slow)
    convert(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv")
    # What a disk's pace adds to the 60 s differs from one moment to the next.
    assert 60 <= limits[0] < 120 <= limits[1] < 240 <= limits[2]


@pytest.mark.parametrize("mark", ["-show_format & in.mp4", "-show_format & result.mkv"])
def test_read_that_stays_too_slow_fails_the_attempt_and_refuses_nothing(
    mark: str, tmp_path: Path, ends: Callable[..., Ends]
) -> None:
    ends(mark, ChildTimeout("did not end within 60 s"), times=99)
    with pytest.raises(ReadTooSlow):
        convert(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv")
    assert ReadTooSlow.retryable


def test_limit_follows_what_the_disk_was_seen_to_do() -> None:
    disk = Pace()
    assert disk.limit()(10**9) == usual_limit(10**9) == 180.0
    disk.seen(10**9, 500.0)
    assert disk.limit()(10**9) == 60 + 4 * 500 and disk.limit(2.0)(10**9) == 2 * (60 + 4 * 500)
    assert disk.limit()(10**6) < 63
    disk.seen(10**9, 1.0)
    assert disk.limit()(10**9) == 180.0, "it recovered"


def test_copy_and_digest_stop_at_once(tmp_path: Path) -> None:
    stop = threading.Event()
    (tmp_path / "big").write_bytes(bytes(3 << 20))
    copy_file(tmp_path / "big", tmp_path / "copy", stop)
    assert (tmp_path / "copy").read_bytes() == bytes(3 << 20)
    stop.set()
    with pytest.raises(Stopped):
        copy_file(tmp_path / "big", tmp_path / "other", stop)
    with pytest.raises(Stopped):
        sha256_of(tmp_path / "big", stop)
    assert (tmp_path / "other").stat().st_size == 0, "before the first MiB"
