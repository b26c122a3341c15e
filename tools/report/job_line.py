"""One job on one line of a terminal: where it is, its bar, its numbers. Imports nothing heavy."""

from collections.abc import Mapping, Sequence
from typing import Any

from tools.report.cells import cells, cut_name, names_apart, padded
from tools.runtime.language import ui
from tools.state.progress import JobProgress

_STAGES = ("waiting", "download", "encode", "suspended", "verify", "upload")
_SHORTEST_BAR, _LONGEST_BAR = 8, 20  # cells
_SHORTEST_NAME = 8  # cells
_LIKELY_NAME = 20  # cells of 80 that are left for it


def job_lines(jobs: Sequence[JobProgress], columns: int, done: Sequence[str] = ()) -> list[str]:
    """What the bars of jobs show on a terminal of this width; ``done``: when the whole video of each is."""
    names = names_apart([job.video for job in jobs], _LIKELY_NAME)
    return [
        _job_line(job, name, columns, when)
        for job, name, when in zip(jobs, names, done or [""] * len(jobs), strict=True)
    ]


def _job_line(job: JobProgress, name: str, columns: int, done: str) -> str:
    stage, widest = ui(job.stage), max(cells(ui(stage)) for stage in _STAGES)
    return bar_line(padded(stage, widest), name, job.percent, f"{_numbers(job)} {done}".strip(), columns)


def bar_line(heading: str, name: str, percent: float | None, numbers: str, columns: int) -> str:
    """One line that leaves the last column free: a terminal that fills it may wrap. The name takes what is left."""
    done = min(100.0, max(0.0, percent or 0.0))
    length = min(_LONGEST_BAR, max(_SHORTEST_BAR, columns // 6))
    filled = int(length * done / 100)
    bar = "" if percent is None else f"{done:3.0f}%|{'#' * filled}{'.' * (length - filled)}|"
    around = [part for part in (heading, bar, numbers) if part]
    room = columns - 1 - sum(cells(part) + 1 for part in around)
    return " ".join(part for part in (heading, cut_name(name, max(_SHORTEST_NAME, room)), bar, numbers) if part)


def _numbers(job: JobProgress) -> str:
    parts = []
    if job.stage == "encode" and job.fps is not None:
        parts.append(f"{job.fps:.1f} fps")
    if speed := speed_of(job):
        parts.append(speed)
    if job.eta_s is not None:
        parts.append("ETA " + interval(job.eta_s))
    return " ".join(parts)


def speed_of(job: JobProgress) -> str:
    """Times real time of an encode, bytes per second of a transfer; "" if unknown."""
    if job.speed is None:
        return ""
    return f"{job.speed:.2f}x" if job.stage == "encode" else f"{job.speed / 1e6:.1f} MB/s"


def job_of(entry: Mapping[str, Any]) -> JobProgress:
    """A job of ``progress.json``."""
    numbers: Any = {name: entry.get(name) for name in ("percent", "fps", "speed", "eta_s")}
    stage: Any = str(entry.get("stage"))
    return JobProgress(folder=str(entry.get("folder")), video=str(entry.get("video")), stage=stage, **numbers)


def interval(seconds: float) -> str:
    """Seconds → ``2:03``, or ``1:02:03``."""
    minutes, rest = divmod(int(min(max(0.0, seconds), 1e8)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
