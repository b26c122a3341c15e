"""The observer that writes the history: attempts at videos, and pauses."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tools.core.aimed import aim_of
from tools.core.past import VideoLine
from tools.processor.reporting import AttemptOver, Event, Progress
from tools.stages.video_job import Outcome
from tools.state.history import Deferral, HistoryWriter, PauseBegan, PauseEnded

_QUALITY = re.compile(r"-(?:crf|cq|global_quality) (\d+(?:\.\d+)?)\b")

_LONGEST_STEP = 60.0  # s between two reports of progress


class Historian:
    """Tells the history what happens. Never waits: see ``HistoryWriter``."""

    def __init__(self, history: HistoryWriter) -> None:
        self._history = history
        self._paused: str | None = None
        self._suspended: dict[str, float] = {}  # s, by source path of what is encoded
        self._told = 0.0  # epoch s of the latest progress
        self._is_new = True

    def observe(self, event: Event) -> None:
        if isinstance(event, AttemptOver):
            self._history.add(line_of(event, self._suspended.pop(event.result.job.source.path, 0.0)))
        elif isinstance(event, Progress):
            self._pause(event)
            self._suspend(event)

    def _suspend(self, now: Progress) -> None:
        """Add up for how long encodes stood still."""
        passed, self._told = now.time - self._told, now.time
        if 0 < passed < _LONGEST_STEP:
            for job in now.jobs:
                if job.stage == "suspended":
                    self._suspended[job.video] = self._suspended.get(job.video, 0.0) + passed

    def _pause(self, now: Progress) -> None:
        cause = None if now.paused is None else now.paused.partition("; next try at ")[0]
        if self._is_new:  # what an earlier run died in
            self._is_new = False
            self._history.add(PauseEnded(0.0))
        if cause == self._paused:
            return
        self._paused = cause
        self._history.add(PauseEnded(now.time) if cause is None else PauseBegan(now.time, cause))

    def close(self, now: float) -> None:
        """At the end of the program, ``now`` epoch s: a pause ends with it."""
        if self._paused is not None:
            self._history.add(PauseEnded(now))
        self._history.close()


def line_of(over: AttemptOver, suspended: float = 0.0) -> VideoLine | Deferral:
    """An attempt as the history keeps it; ``suspended`` s of its encode count as waiting."""
    result = over.result
    job, trouble = result.job, result.trouble.value if result.trouble else ""
    spent = dict(result.spent)
    if still := min(suspended, spent.get("encode", 0.0)):
        spent |= {"encode": spent["encode"] - still, "waiting": spent.get("waiting", 0.0) + still}
    if result.outcome is Outcome.DEFERRED:
        return Deferral(over.time, trouble, spent)
    record: Any = {} if result.output is None else result.output.record
    streams = record.get("streams") or ()
    codecs = (str(one.get("source_codec") or "") for one in streams if one.get("type") == "video")
    kept = sum(one.get("codec") is not None for one in streams)
    return VideoLine(
        ended=over.time,
        folder=job.folder,
        video=job.source.name,
        outcome=result.outcome.value,
        final=over.final,
        attempt=job.attempt,
        worker=result.worker,
        trouble=trouble,
        cause=result.cause,
        bytes_in=job.source.size,
        bytes_out=record.get("size") or 0,
        duration_s=record.get("duration_s") or 0.0,
        frames=record.get("frames") or 0,
        width=record.get("width") or 0,
        height=record.get("height") or 0,
        source_codec=next(codecs, ""),
        encoder=record.get("encoder") or "",
        crf=crf_of(record.get("settings") or ""),
        quality=_numbers(record.get("quality")) | _predicted(aim_of(record)),
        kept=kept,
        dropped=len(streams) - kept,
        warnings=warnings_of(record.get("warnings") or ""),
        seconds=spent,
    )


def warnings_of(said: str | Sequence[str]) -> str:
    """One line each; records of older versions have a list."""
    return said if isinstance(said, str) else "\n".join(said)


def crf_of(settings: str) -> float | None:
    """The quality that an encoder was called with, on its own scale; None if its arguments name none."""
    found = _QUALITY.search(settings)
    return float(found[1]) if found else None


def _predicted(aim: Mapping[str, Any]) -> dict[str, float]:
    found = aim.get("predicted")
    return {"predicted": float(found)} if isinstance(found, int | float) and not isinstance(found, bool) else {}


def _numbers(quality: Any) -> dict[str, float]:
    """Measured values by name: ``vmaf``, its mean, and ``vmaf_p5``, ``vmaf_min``; of older records what they have."""
    found = quality if isinstance(quality, dict) else {}
    if metric := found.get("metric"):
        named = {str(metric): "mean", f"{metric}_p5": "p5", f"{metric}_min": "min"}
        found = {name: found.get(field) for name, field in named.items()}
    return {str(name): value for name, value in found.items() if type(value) in (int, float)}
