"""One ffmpeg run under supervision: progress, stall, memory, and what is left in the log when it fails."""

import logging
import re
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TypeVar

from tools.core.errors import DiskFull, EncoderStalled, MachineError, PipelineError, Stopped, TranscodeError
from tools.media.complaints import Complaints, bare
from tools.media.ffprobe_json import number
from tools.media.inside import Inside
from tools.media.program import machine_fault, run_program
from tools.runtime.child import ChildLimits, ChildStalled, Ended
from tools.runtime.logs import fields, masked
from tools.runtime.spawn import Access

log = logging.getLogger("animation.media")
_LONGEST_CAUSE, _LONGEST_STDERR = 300, 4000  # characters
_SMOOTHING = 30.0  # s over which the rate behind the ETA is taken


@dataclass(frozen=True, slots=True)
class EncodeProgress:
    """How far an encode is; None if unknown."""

    percent: float | None  # of the duration
    fps: float | None  # frames/s
    speed: float | None  # times real time
    eta_s: float | None  # s


_Error = TypeVar("_Error", bound=PipelineError)
OnProgress = Callable[[EncodeProgress], None]


class PicturesChange(Exception):
    """They do so within the source, and nobody knew that when the command was made; ``said`` by ffmpeg."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


def transcode(
    argv: Sequence[str | PathLike[str]],
    *,
    access: Access,
    duration: float | None,
    stall_timeout: float,
    max_rss: int,
    stop: threading.Event,
    on_progress: OnProgress,
    expects_changes: bool = True,
    inside: Inside | None = None,
) -> int:
    """Run to the end; returns how many pictures the source's decoder complained about. ``duration`` s of the source.

    ``expects_changes``: that pictures change is no news; else PicturesChange is raised. ``inside`` is told what they
    carry. Raises TranscodeError, EncoderStalled, ChildOutgrew, DiskFull, MachineError, NoEncoder, Stopped. Status 0
    proves nothing yet: see ``verify``.
    """
    reader = ProgressReader(duration, on_progress)
    damage, complaints = _Damage(), Complaints()
    ending = _Ending(stop)

    def complain(line: str) -> bool:
        level, text = level_of(line)
        if inside is not None:
            inside.line(text)
        if level == "info":
            if not expects_changes and (change := _CHANGE.search(text)):
                ending.said = change[1]
            return False
        damage.line(text)
        complaints.line(text)
        return True

    try:
        ended = run_program(
            argv,
            access=access,
            limits=ChildLimits(stall=stall_timeout, rss=max_rss),
            stop=ending,
            on_line=reader.line,
            on_complaint=complain,
            env=_QUIET,
        )
    except Stopped:
        if ending.said and not stop.is_set():
            raise PicturesChange(ending.said) from None
        raise
    except ChildStalled as exc:
        command = [str(part) for part in argv]
        raise _logged(EncoderStalled(str(exc), argv=command, stderr=exc.stderr, pictures=reader.pictures)) from exc
    if ending.said:
        raise PicturesChange(ending.said)
    if ended.status != 0:
        raise failure("ffmpeg", argv, ended, complaints, access, pictures=reader.pictures)
    return damage.pictures


def failure(
    what: str,
    argv: Sequence[str | PathLike[str]],
    ended: Ended,
    complaints: Complaints,
    access: Access,
    pictures: int = 0,
) -> TranscodeError | DiskFull | MachineError:
    """The error for a run of ffmpeg that ended badly, by how it ended and what it said; logged. ``what`` begins its
    message."""
    cause = bare(complaints.cause())[:_LONGEST_CAUSE]
    error = TranscodeError(
        f"{what} failed: {cause}" if cause else f"{what} failed without a word",
        argv=[str(part) for part in argv],
        status=ended.status,
        stderr=ended.stderr,
        pictures=pictures,
    )
    fault = machine_fault(what, ended, complaints, access)
    if fault is None:
        return _logged(error)
    fault.__cause__ = error  # which has the command
    return _logged(fault)


def failed_run(exc: BaseException | None) -> dict[str, str]:
    """``command`` (as a shell takes it) and ``stderr`` (its end) of the ffmpeg run behind an error; {} if none is."""
    if isinstance(exc, DiskFull | MachineError):
        exc = exc.__cause__
    if not isinstance(exc, TranscodeError) or not exc.argv:
        return {}
    command = shlex.join(exc.argv).encode("utf-8", "backslashreplace").decode()  # a name need not be UTF-8
    return {"command": masked(command), "stderr": _cut(masked(exc.stderr))}


def _cut(text: str) -> str:
    half = _LONGEST_STDERR // 2
    return text if len(text) <= _LONGEST_STDERR else f"{text[:half]}\n…\n{text[-half:]}"


def _logged(error: _Error) -> _Error:
    """The error itself, after its command and what that said are in the log."""
    about = failed_run(error)
    log.warning("ffmpeg failed: %s %s", error, fields(stderr=" | ".join(about["stderr"].splitlines())))
    log.debug("the command of the ffmpeg that failed: %s", about["command"])
    return error


_LEVEL = re.compile(r"((?:\[\S+ @ 0x[0-9a-f]+\] )*)\[(info|warning|error|fatal|panic)\] ")
_CHANGE = re.compile(r"graph because video parameters changed to (.{1,100})")


def level_of(line: str) -> tuple[str, str]:
    """A line of ffmpeg with ``-v level+…`` → its level, "" if it has none, and the line without it."""
    match = _LEVEL.match(line)
    return (match[2], match[1] + line[match.end() :]) if match else ("", line)


class _Ending(threading.Event):
    """The wish to stop, also once something was ``said`` that makes the run useless."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop
        self.said = ""

    def is_set(self) -> bool:
        return bool(self.said) or self._stop.is_set()


_QUIET = {"SVT_LOG": "1"}  # SVT-AV1 prints its banner to standard error whatever -v says


class _Damage:
    """Counts damaged pictures by what decoders say: one says so when it gives up on a part, or when it fills it in."""

    def __init__(self) -> None:
        self._gave_up = self._filled_in = self._broken = 0

    def line(self, line: str) -> None:
        self._gave_up += "error while decoding" in line
        self._filled_in += "concealing" in line
        self._broken += bool(re.search(r"Error submitting packet to decoder|corrupt decoded frame", line))

    @property
    def pictures(self) -> int:
        return max(self._gave_up, self._filled_in, self._broken)


_SLOWEST = 0.05  # frames/s that are shown as 0.1; less would be shown as 0.0


class ProgressReader:
    """Lines of ``-progress`` → EncodeProgress. Source: ffmpeg's print_report; out_time_us is in microseconds."""

    def __init__(self, duration: float | None, on_progress: OnProgress) -> None:
        self._duration = duration
        self._on_progress = on_progress
        self._block: dict[str, str] = {}
        self._position: tuple[int, float] = (0, 0.0)
        self._marks: list[tuple[float, float]] = []

    @property
    def pictures(self) -> int:
        """How many were encoded so far."""
        return self._position[0]

    def line(self, line: str) -> bool:
        """Take one line in; True when the encode has moved on since the block before."""
        name, _, value = line.partition("=")
        self._block[name.strip()] = value.strip()
        if name.strip() != "progress":
            return False
        block, self._block = self._block, {}
        frame, seconds = int(number(block.get("frame")) or 0), (number(block.get("out_time_us")) or 0.0) / 1e6
        moved = (frame, seconds) != self._position or value.strip() == "end"
        self._position = (frame, seconds)
        self._on_progress(self._progress(block, seconds))
        return moved

    def _progress(self, block: dict[str, str], seconds: float) -> EncodeProgress:
        now = time.monotonic()
        self._marks = [mark for mark in self._marks if now - mark[0] < _SMOOTHING] + [(now, seconds)]
        percent = eta = None
        if self._duration:
            percent = min(100.0, max(0.0, 100.0 * seconds / self._duration))
            first = self._marks[0]
            if now > first[0] and seconds > first[1]:
                eta = max(0.0, self._duration - seconds) * (now - first[0]) / (seconds - first[1])
        # At its start ffmpeg prints rates of 0, or next to it while an encoder looks ahead: they say nothing yet.
        fps, speed = number(block.get("fps")) or 0.0, number(block.get("speed", "").rstrip("x")) or 0.0
        return EncodeProgress(percent, fps if fps >= _SLOWEST else None, speed if speed >= _SLOWEST / 10 else None, eta)
