"""What the monitor knows and the queue does not hold: folders that are not quiet yet, and those without a video."""

from collections.abc import Mapping

from tools.core.message import plural
from tools.core.queue_item import QueueItem
from tools.core.stability import Snapshot, seconds_until_stable
from tools.report.glance import clock
from tools.report.job_line import interval
from tools.report.monitor_log import half_uploaded, no_video
from tools.runtime.language import translated, ui
from tools.state.monitor_state import MonitorState

SHOWN = 20
"""How many folders of a kind ``waiting_lines`` shows."""
_NEXT = 3  # folders in a line


def not_quiet(
    state: MonitorState, items: Mapping[str, QueueItem], now: float, default_age: float
) -> list[tuple[str, float]]:
    """Folders with videos that are not queued as they are now, with the s that they must stay so; next one first.

    ``default_age`` s after which a folder is stable, unless the monitor says by what it judges.
    """
    found = []
    for name, snapshot in state.folders.items():
        item = items.get(name)
        known = {state.settled.get(name), item.hash if item else None}
        if snapshot.folder.video_count and snapshot.folder.fingerprint not in known:
            found.append((name, seconds_left(state, snapshot, now, default_age)))
    return sorted(found, key=lambda one: (one[1], one[0]))


def steady_at(state: MonitorState, now: float) -> float:
    """The monitor's steady clock, in s, at ``now``."""
    return state.steady + max(0.0, now - (state.last_check or now))


def seconds_left(state: MonitorState, snapshot: Snapshot, now: float, default_age: float) -> float:
    """How long a folder must stay as it is before it is queued; ``default_age`` as of ``not_quiet``."""
    min_age = default_age if state.stable_time is None else state.stable_time
    return seconds_until_stable(snapshot, steady_at(state, now), min_age)


def waiting_lines(state: MonitorState, items: Mapping[str, QueueItem], now: float, default_age: float) -> list[str]:
    """One line per folder that waits for quiet, and per folder that is never queued."""
    lines = []
    for name, left in not_quiet(state, items, now, default_age):
        if left <= 0 and state.folders[name].folder.partial:
            lines.append(f"{name}: {translated(half_uploaded(state.folders[name].folder))}")
        elif left > 0:
            lines.append(ui("{}: not quiet yet, {} s left", name, f"{left:.0f}"))
        else:
            lines.append(ui("{}: not quiet yet, queued at the next poll", name))
    empty = [name for name, snapshot in state.folders.items() if not snapshot.folder.video_count]
    rest = [f"{name}: {translated(no_video(state.folders[name].folder))}" for name in sorted(empty)]
    return [*_shortened(lines), *_shortened(rest)]


def _shortened(lines: list[str]) -> list[str]:
    hidden = len(lines) - SHOWN
    return lines if hidden <= 0 else [*lines[:SHOWN], ui("… and {} more", hidden)]


def waiting_line(state: MonitorState | None, waiting: Mapping[str, float], now: float, left: float) -> str:
    """Between two polls: ``left`` s until the next one; ``waiting``: s until folders are stable, by name."""
    last = ui("never") if state is None or state.last_check is None else clock(state.last_check, now)
    polls = ui("Last poll {}, next in {} s.", last, f"{left:.0f}")
    if not waiting:
        return polls
    shown = [f"{name} {interval(seconds)}" for name, seconds in list(waiting.items())[:_NEXT]]
    names = ", ".join(shown) + (" …" if len(waiting) > _NEXT else "")
    return f"{polls} {ui('{} not quiet yet: {}', plural(len(waiting), 'folder'), names)}"
