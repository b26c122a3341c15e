"""Whether the two programs work, judged by what their state files say. Standard library alone, no effect.

Plain values go in, one ``Problem`` for each thing that is wrong comes out, and at last one line for Nagios or cron.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from tools.core.queue_item import CANCELLED, Status


class Level(IntEnum):
    """The exit status, as Nagios understands it."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLimits:
    """Thresholds: beyond them something is a problem."""

    monitor_age: float = 1800  # s since the last poll that was answered: critical
    processor_age: float = 180  # s since progress.json was written: critical
    failed: int = 1  # items that failed: a warning; 0 = never
    disk_warning: float = 10  # GB free
    disk_critical: float = 1  # GB free


@dataclass(frozen=True, slots=True)
class Problem:
    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Holder:
    """What ``.PROGRAM.pid`` tells of the process that holds the program's lock."""

    exists: bool
    alive: bool | None = None  # None: can't be known from here (another machine, a damaged file)


def judge_program(name: str, holder: Holder, age: float | None, limit: float, done: str) -> list[Problem]:
    """``age`` s since the program's last sign of life, None without one; ``done`` what that sign was."""
    if not holder.exists:
        return [Problem(Level.CRITICAL, f"{name} is not running")]
    if holder.alive is False:
        return [Problem(Level.CRITICAL, f"{name} died")]
    if age is None:
        return [Problem(Level.CRITICAL, f"{name} has shown no sign of life yet")]
    if not -limit <= age <= limit:
        when = f"{shown_age(age)} ago" if age > 0 else f"{shown_age(-age)} in the future"
        return [Problem(Level.CRITICAL, f"{name} stalled, it last {done} {when}")]
    return []


def judge_pause(progress: Mapping[str, Any]) -> list[Problem]:
    """A pause needs a person, or the hub; the reason is the processor's own."""
    reason = progress.get("paused")
    return [Problem(Level.WARNING, f"processor paused: {reason}")] if reason else []


def count_items(entries: Sequence[Any]) -> dict[str, int]:
    """Entries of the queue by status; cancelled ones, and those that can't be understood, counted apart."""
    counts = {status.value: 0 for status in Status} | {"cancelled": 0, "odd": 0}
    for entry in entries:
        status = entry.get("status") if isinstance(entry, dict) else None
        if status == Status.FAILED.value and entry.get("error") == CANCELLED:
            counts["cancelled"] += 1
        elif status in [known.value for known in Status]:
            counts[status] += 1
        else:
            counts["odd"] += 1
    return counts


def judge_queue(counts: Mapping[str, int], limit: int) -> list[Problem]:
    found = []
    if counts["failed"] >= limit > 0:
        found.append(Problem(Level.WARNING, f"{counts['failed']} items failed"))
    if counts["odd"]:
        found.append(Problem(Level.WARNING, f"{counts['odd']} entries of the queue can't be understood"))
    return found


def judge_disk(free: Mapping[str, float], limits: HealthLimits) -> list[Problem]:
    """``free`` GB by folder."""
    found = []
    for folder, size in free.items():
        level = Level.CRITICAL if size < limits.disk_critical else Level.WARNING
        if size < max(limits.disk_warning, limits.disk_critical):
            found.append(Problem(level, f"disk low, {size:.1f} GB free at {folder}"))
    return found


def line(problems: Sequence[Problem], calm: str, numbers: Mapping[str, str]) -> tuple[Level, str]:
    """The exit status and the one line: the worst first, then the numbers as Nagios reads them."""
    ordered = sorted(problems, key=lambda problem: -problem.level)
    level = ordered[0].level if ordered else Level.OK
    text = "; ".join(problem.text for problem in ordered) or calm
    # One line whatever a state file held, and no bar: what follows it is read as numbers.
    plain = "".join(char if char.isprintable() else " " for char in text).replace("|", "/")
    return level, f"{level.name} - {plain} | {' '.join(f'{key}={value}' for key, value in numbers.items())}"


def shown_age(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
