"""Whether the two programs work, judged by what their state files say. Standard library alone, no effect.

Plain values go in, one ``Problem`` for each thing that is wrong comes out, and at last one line for Nagios or cron.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from tools.core.hours import OUTSIDE
from tools.core.message import message
from tools.core.queue_item import CANCELLED, Status
from tools.runtime.language import side_by_side
from tools.state.liveness import Life

_UNITS = ((86400, message("{} days")), (3600, message("{} h")), (60, message("{} min")), (1, message("{} s")))  # s


class Level(IntEnum):
    """The exit status, as Nagios understands it."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLimits:
    """Thresholds: beyond them something is a problem."""

    monitor_age: float | None = None  # s since the last poll that was answered: critical; None: by its own interval
    processor_age: float | None = None  # s since progress.json was written: critical; None likewise
    failed: int = 1  # items that failed: a warning; 0 = never
    disk_warning: float = 10  # GB free
    disk_critical: float = 1  # GB free


@dataclass(frozen=True, slots=True)
class Problem:
    level: Level
    text: str


def monitor_silence(state: Any) -> float:
    """Seconds since the last answered poll above which something is wrong, by the monitor's own interval.

    Its state file carries that, as ``progress.json`` does the processor's; a file that does not counts as the default.
    """
    return max(20.0, 6 * (number_of(state, "interval") or 300.0))


def processor_silence(progress: Any) -> float:
    """Seconds since ``progress.json`` was written above which something is wrong; it is written at each turn, and a
    turn that is blocked waits for the processor's interval."""
    return max(60.0, 3 * (number_of(progress, "interval") or 60.0))


def last_poll(state: Any) -> float | None:
    """Epoch s of the monitor's last poll that was answered, by its state file."""
    exact = number_of(state, "last_check_epoch")
    if exact is not None or not isinstance(state, dict):
        return exact
    try:
        return datetime.fromisoformat(state["last_check"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def number_of(content: Any, key: str) -> float | None:
    """A number in a state file; None for what is none, or makes no sense."""
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e12:
        return None
    return float(value)


def judge_program(name: str, life: Life, age: float | None, limit: float, now: float) -> list[Problem]:
    """``age`` s since the program's last sign of life (of the monitor a poll), None without one.

    One that has only just begun may be silent as long as one that worked: what is older is its predecessor's.
    """
    if life.running is False:
        return [Problem(Level.CRITICAL, f"{name} died" if life.died else f"{name} is not running")]
    up = now - life.since if life.running and life.since is not None else None
    if up is not None and -1 <= up <= limit and (age is None or age > up):
        return []
    if age is None:
        return [Problem(Level.CRITICAL, f"{name} has shown no sign of life yet")]
    if not -limit <= age <= limit:
        when = f"{shown_age(age)} ago" if age > 0 else f"{shown_age(-age)} in the future"
        done = "polled" if name == "monitor" else "wrote"
        return [Problem(Level.CRITICAL, f"{name} stalled, it last {done} {when}")]
    return []


def judge_pause(progress: Mapping[str, Any]) -> list[Problem]:
    """A pause needs a person, or the hub; the reason is the processor's own."""
    reason = progress.get("paused")
    if not reason or str(reason).startswith(OUTSIDE):  # which is as somebody wants it
        return []
    return [Problem(Level.WARNING, f"processor paused: {reason}")]


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
        number = counts["failed"]
        found.append(Problem(Level.WARNING, "1 item failed" if number == 1 else f"{number} items failed"))
    if counts["odd"]:
        number = counts["odd"]
        some = "1 entry" if number == 1 else f"{number} entries"
        found.append(Problem(Level.WARNING, f"{some} of the queue can't be understood"))
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
    text = side_by_side([problem.text for problem in ordered] or [calm])
    # One line whatever a state file held, and no bar: what follows it is read as numbers.
    plain = "".join(char if char.isprintable() else " " for char in text).replace("|", "/")
    return level, f"{level.name} - {plain} | {' '.join(f'{key}={value}' for key, value in numbers.items())}"


def shown_age(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    for size, unit in _UNITS:
        if seconds >= 2 * size or size == 1:
            return unit.format(f"{seconds / size:.0f}")
    raise AssertionError
