"""Whether the two programs work, judged by what their state files say. Standard library alone, no effect.

Plain values go in, one ``Trouble`` a fact that is not as it must be comes out, and at last one line for Nagios or cron.
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
    """Ages in s, sizes in GB; ``failed`` items make a warning."""

    monitor_age: float = 1800
    processor_age: float = 180
    failed: int = 1
    disk_warning: float = 10
    disk_critical: float = 1


@dataclass(frozen=True, slots=True)
class Trouble:
    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Holder:
    """What ``.PROGRAM.pid`` tells. ``alive`` None: it can't be known from here (another machine, a damaged file)."""

    exists: bool
    alive: bool | None = None


def judge_program(name: str, holder: Holder, age: float | None, limit: float, done: str) -> list[Trouble]:
    """``age`` s since the program's last sign of life, None without one; ``done`` what that sign was."""
    if not holder.exists:
        return [Trouble(Level.CRITICAL, f"{name} does not run")]
    if holder.alive is False:
        return [Trouble(Level.CRITICAL, f"{name} died")]
    if age is None:
        return [Trouble(Level.CRITICAL, f"{name} has not {done} yet")]
    if not -limit <= age <= limit:
        when = f"{shown_age(age)} ago" if age > 0 else f"{shown_age(-age)} in the future"
        return [Trouble(Level.CRITICAL, f"{name} stalled, it last {done} {when}")]
    return []


def judge_pause(progress: Mapping[str, Any]) -> list[Trouble]:
    """A pause needs a person, or the hub: the reason is the processor's own."""
    reason = progress.get("paused")
    return [Trouble(Level.WARNING, f"processor paused: {reason}")] if reason else []


def count_items(entries: Sequence[Any]) -> dict[str, int]:
    """Entries of the queue by status; cancelled ones and those that can't be understood by themselves."""
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


def judge_queue(counts: Mapping[str, int], limit: int) -> list[Trouble]:
    found = []
    if counts["failed"] >= limit > 0:
        found.append(Trouble(Level.WARNING, f"{counts['failed']} items failed"))
    if counts["odd"]:
        found.append(Trouble(Level.WARNING, f"{counts['odd']} entries of the queue can't be understood"))
    return found


def judge_disk(free: Mapping[str, float], limits: HealthLimits) -> list[Trouble]:
    """``free`` GB by folder."""
    found = []
    for folder, size in free.items():
        level = Level.CRITICAL if size < limits.disk_critical else Level.WARNING
        if size < max(limits.disk_warning, limits.disk_critical):
            found.append(Trouble(level, f"disk low, {size:.1f} GB free at {folder}"))
    return found


def line(troubles: Sequence[Trouble], calm: str, numbers: Mapping[str, str]) -> tuple[Level, str]:
    """The exit status and the one line: the worst first, then the numbers as Nagios reads them."""
    ordered = sorted(troubles, key=lambda trouble: -trouble.level)
    level = ordered[0].level if ordered else Level.OK
    text = "; ".join(trouble.text for trouble in ordered) or calm
    # One line whatever a state file held, and no bar: what follows it is read as numbers.
    plain = "".join(char if char.isprintable() else " " for char in text).replace("|", "/")
    return level, f"{level.name} - {plain} | {' '.join(f'{key}={value}' for key, value in numbers.items())}"


def shown_age(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
