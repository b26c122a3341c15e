"""Whether another encoder may manage a file that one did not: only if it was the encoder that failed."""

import threading
from collections.abc import Callable
from pathlib import Path

from tools.core.blame import is_short_of_memory
from tools.core.errors import MachineError, PipelineError, Stopped, TranscodeError
from tools.media.encoders import Encoder
from tools.media.plan import Plan
from tools.media.probe import SAFE_INPUT
from tools.media.program import run_program
from tools.runtime.child import ChildLimits
from tools.runtime.spawn import Access


def may_be_the_encoder(encoder: Encoder, exc: TranscodeError | MachineError, has_pictures: Callable[[], bool]) -> bool:
    """Whether it was the encoder. ``has_pictures``, asked only if it matters: see there."""
    if isinstance(exc, MachineError):  # a driver that crashes takes ffmpeg with it
        return encoder.is_hardware and not is_short_of_memory(exc.status)
    if exc.retryable:
        return False
    # A software encoder that has begun fails for the file's sake: the next one would, too.
    return has_pictures() if exc.pictures == 0 else encoder.is_hardware


def has_pictures(plan: Plan, encoder: Encoder, source: Path, limits: ChildLimits, stop: threading.Event) -> bool:
    """Whether each video that is to be encoded has a picture that the encoder's ffmpeg decodes, within ``limits``.

    Raises Stopped.
    """
    videos = [kept.source.index for kept in plan.kept("video") if kept.action == "encode"]
    maps = [part for index in videos for part in ("-map", f"0:{index}")]
    head: list[str | Path] = [
        encoder.ffmpeg,
        "-hide_banner",
        "-nostdin",
        "-v",
        "error",
        *SAFE_INPUT,
        "-i",
        f"file:{source}",
    ]
    seen: set[str] = set()

    def line(text: str) -> None:
        if not text.startswith("#"):
            seen.add(text.split(",")[0])

    # One line per picture, which begins with the number of its stream. Source: ffmpeg's framecrcenc.c.
    command = [*head, *maps, "-frames:v", "1", "-f", "framecrc", "-"]
    try:
        run_program(command, access=Access(reads=(source,)), limits=limits, stop=stop, on_line=line)
    except Stopped:
        raise
    except PipelineError:
        return False
    return len(seen) == len(videos)
