"""One ffmpeg run under supervision: progress, stall, memory, and what its complaints mean."""

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from tools.core.errors import DiskFull, TranscodeError
from tools.runtime.child import ChildLimits, run

_NO_SPACE = "No space left on device"
_SMOOTHING = 30.0  # s over which the rate behind the ETA is taken


@dataclass(frozen=True, slots=True)
class EncodeProgress:
    """``percent`` of the duration, ``fps`` frames/s, ``speed`` times real time, ``eta_s`` s; None where unknown."""

    percent: float | None
    fps: float | None
    speed: float | None
    eta_s: float | None


OnProgress = Callable[[EncodeProgress], None]


def transcode(
    argv: Sequence[str | PathLike[str]],
    *,
    duration: float | None,
    stall_timeout: float,
    max_rss: int,
    stop: threading.Event,
    on_progress: OnProgress,
) -> int:
    """Run to the end; returns how many pictures the source's decoder complained about. ``duration`` s of the source.

    Raises TranscodeError, EncoderStalled, ChildOutgrew, DiskFull, Stopped. Status 0 proves nothing yet: see ``verify``.
    """
    reader = ProgressReader(duration, on_progress)
    damage = _Damage()
    ended = run(
        argv,
        limits=ChildLimits(stall=stall_timeout, rss=max_rss),
        stop=stop,
        on_line=reader.line,
        on_complaint=damage.line,
        env=_QUIET,
    )
    if ended.status != 0:
        if _NO_SPACE in ended.stderr:
            raise DiskFull("no space left for the encode: make room in WORK_DIR")
        raise TranscodeError(
            f"ffmpeg ended with status {ended.status}: {_cause(ended.stderr)}",
            argv=[str(part) for part in argv],
            status=ended.status,
            stderr=ended.stderr,
            pictures=reader.pictures,
        )
    return damage.pictures


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


def _cause(stderr: str) -> str:
    """The most telling of the last lines."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and "Conversion failed" not in line]
    telling = [line for line in lines if re.search(r"error|invalid|fail|not|unable|maximum", line, re.IGNORECASE)]
    # The first one is the cause, the later ones its consequences.
    own = [line for line in telling if not re.search(r"^\[(in|out|vost|aost|fc|vf|af)#|^Error (while|init|open)", line)]
    return (own or telling or lines[-1:] or ["it said nothing"])[0][:300]


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
        frame, seconds = int(_number(block.get("frame")) or 0), (_number(block.get("out_time_us")) or 0.0) / 1e6
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
        return EncodeProgress(percent, _number(block.get("fps")), _number(block.get("speed", "").rstrip("x")), eta)


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def part_of(target: Path) -> Path:
    """Where an output grows until it is verified."""
    # Not the target's name with something added: that may have 255 bytes already.
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    return target.with_name(f".{digest}.part")
