"""The first lines of ``--status`` and ``--queue``: whether monitor and processor run, and whether the hub answers.

Reads the locks and ``monitor_state.json`` of a log folder; imports nothing heavy.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.core.message import message
from tools.report.health import last_poll, monitor_silence, number_of, shown_age
from tools.runtime.language import colon, ui
from tools.state.liveness import Life, life_of
from tools.state.monitor_state import MonitorStateFile

_NAMES = {"monitor": message("Monitor"), "processor": message("Processor")}
_START = "bash start_monitoring.sh"
_GRACE = 10.0  # s that an answer may take


@dataclass(frozen=True, slots=True)
class Pulse:
    """Who runs, and when the hub last answered the monitor."""

    lives: Mapping[str, Life]  # by program
    answered: float | None  # epoch s of the last poll that was answered; None: never
    expected: float  # s after which a next answer is due
    silence: float  # s after which something is wrong


def pulse(log_dir: Path) -> Pulse:
    """As of now; takes a moment, raises nothing."""
    state = MonitorStateFile(log_dir).about()
    lives = {name: life_of(log_dir, name) for name in _NAMES}
    expected = (number_of(state, "interval") or 300.0) + _GRACE
    return Pulse(lives, last_poll(state), expected, monitor_silence(state))


def pulse_json(seen: Pulse) -> dict[str, Any]:
    """``{"monitor": {"running": bool or null, "since": epoch s or null}, "processor": …, "last_poll": epoch s}``."""
    lives: dict[str, Any] = {name: {"running": life.running, "since": life.since} for name, life in seen.lives.items()}
    return {**lives, "last_poll": seen.answered}


def pulse_lines(seen: Pulse, now: float) -> list[str]:
    """One line per program, and one for the hub."""
    return [*(_program_line(name, life, now) for name, life in seen.lives.items()), _hub_line(seen, now)]


def _program_line(name: str, life: Life, now: float) -> str:
    title = _NAMES[name]
    if life.running is None:
        return ui("{}: its lock can't be read, so whether it runs is unknown", title)
    if not life.running:
        return ui("{}: not running (it died)" if life.died else "{}: not running", title) + colon() + _START
    if life.since is None:
        return ui("{}: running", title)
    return ui("{}: running since {} ({})", title, _clock(life.since, now), shown_age(max(0.0, now - life.since)))


def _hub_line(seen: Pulse, now: float) -> str:
    if seen.answered is None:
        return ui("Hub: has not answered yet")
    age = now - seen.answered
    if age > seen.expected and seen.lives["monitor"].running is not False:
        return ui("Hub: silent since {} ({})", _clock(seen.answered, now), shown_age(age))
    return ui("Hub: last polled {} ({} ago)", _clock(seen.answered, now), shown_age(max(0.0, age)))


def _clock(when: float, now: float) -> str:
    today = time.strftime("%Y-%m-%d", time.localtime(now)) == time.strftime("%Y-%m-%d", time.localtime(when))
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", time.localtime(when))


def free_space(*folders: Path) -> dict[str, float]:
    """GB free by folder (the nearest above it that can be seen), each disk once."""
    found: dict[int, tuple[str, float]] = {}
    for folder in folders:
        for place in [folder, *folder.absolute().parents]:
            try:
                found.setdefault(place.stat().st_dev, (str(folder), shutil.disk_usage(place).free / 1e9))
            except OSError:
                continue
            break
    return dict(found.values())
