"""``queue_processor.py --status``: reads state files and the history, changes nothing, imports nothing heavy."""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Collection
from typing import Any

import config
from tools import notifying
from tools.core.hours import Opening
from tools.core.message import plural
from tools.report.cells import rows_of
from tools.report.glance import eta_json, gain_json, health_line, outlook_lines, problems
from tools.report.heading import free_space, pulse, pulse_json, pulse_lines
from tools.report.known import known_json, known_lines, mirror_json, mirror_lines
from tools.report.losses import losses, losses_json
from tools.report.outlook import Outlook, outlook, run_of
from tools.report.paint import Paint, json_text, printable
from tools.report.status import ALL, SHOWN, status_json, status_text
from tools.runtime.language import ui
from tools.state.history_reader import History
from tools.state.mirror_file import MirrorFile
from tools.state.monitor_state import MonitorStateFile
from tools.state.progress import ProgressFile
from tools.state.results import read_known
from tools.state.work_queue import Overview, WorkQueue

_LEAST = 12  # lines, however low the terminal


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``--status``."""
    parser.add_argument("--status", action="store_true", help="show health, what runs now, when it is done, failures")
    parser.add_argument("--json", action="store_true", help="with --status: as JSON, see docs/status.md")
    parser.add_argument("--failed", action="store_true", help="with --status: every failed item, the latest not")
    parser.add_argument("--all", action="store_true", help="with --status: every item and every cause")
    parser.add_argument("--watch", action="store_true", help="with --status: stay, and show it anew each second")


def run(parsed: argparse.Namespace, settings: config.Settings) -> int:
    """Show it once, or until Ctrl-C; returns the exit status. Raises StateError."""
    if parsed.json:
        print(json_text(content(settings)))
        return 0
    paint = Paint(sys.stdout)
    if parsed.watch and paint.is_terminal:
        from tools.report.live import watch

        watch(lambda: _text(parsed, settings, paint))
        return 0
    print(_text(parsed, settings, paint))
    return 0


def _text(parsed: argparse.Namespace, settings: config.Settings, paint: Paint) -> str:
    log_dir, now = settings.paths.log_dir, time.time()
    seen, known = pulse(log_dir), read_known(log_dir)
    there = MonitorStateFile(log_dir).names() if known.folders else None
    progress = ProgressFile(log_dir).read()
    latest = ALL if parsed.all else 0 if parsed.failed else SHOWN
    causes = ALL if parsed.all or parsed.failed else SHOWN
    overview = WorkQueue(log_dir).overview(latest, causes)
    found = problems(seen, progress, overview.counts, free_space(log_dir, settings.paths.work_dir), now)
    history = History(log_dir)
    ahead, run = outlook_of(settings, history, overview, progress, now), run_of(history, seen)
    history.close()
    is_mirrored = bool(settings.processor.mirror)
    known = known._replace(gone={}, folders={}) if is_mirrored else known  # they do not stay
    told = known_lines(known, there, *([ALL] if parsed.all else []))
    head = [health_line(found, paint), *pulse_lines(seen, now), *notifying.wishes(settings), ""]
    tail = [
        *([""] * bool(told)),
        *told,
        *(mirror_lines(MirrorFile(log_dir).read()) if is_mirrored else []),
    ]
    is_fitted = paint.is_terminal and not parsed.all and not parsed.failed
    columns, lines = shutil.get_terminal_size()
    above = sum(rows_of(line, columns) for line in (*head, *tail))
    shown = status_text(
        overview,
        progress,
        now,
        seen.lives["processor"].running is not False,
        causes,
        outlook=ahead,
        run=run,
        paint=paint,
        room=max(_LEAST, lines - 1 - above) if is_fitted else None,
    )
    return printable("\n".join([*head, shown, *tail]))


def queue_line(settings: config.Settings) -> str:
    """What waits, and when it will be done, in one line. Raises StateError."""
    log_dir, now = settings.paths.log_dir, time.time()
    overview, history = WorkQueue(log_dir).overview(0, 0), History(log_dir)
    ahead = outlook_of(settings, history, overview, ProgressFile(log_dir).read(), now)
    history.close()
    live = len(overview.pending) + len(overview.processing)
    shown = outlook_lines(ahead, live, now)
    return " ".join([ui("Queue: {}.", plural(live, "folder")), *shown])


def outlook_of(
    settings: config.Settings,
    history: History,
    overview: Overview,
    progress: dict[str, Any],
    now: float,
    more: Collection[str] = (),
) -> Outlook:
    """Of the queue, of the folders that are shown, and of ``more``."""
    wanted = {*more, *(item.folder for item in (*overview.latest, *overview.processing))}
    return outlook(
        history,
        overview.processing,
        overview.pending,
        progress,
        now,
        settings.processor.aging_hours,
        wanted=wanted,
        calendar=calendar_of(settings),
        following=5,
    )


def calendar_of(settings: config.Settings) -> Callable[[float, float], float] | None:
    """Of the hours in which videos are encoded; None = always."""
    wanted = settings.processor
    is_limited = wanted.active_hours.spans and "encode" in wanted.active_stages and not settings.cluster.scheduler
    return Opening(wanted.active_hours.spans) if is_limited else None


def content(settings: config.Settings) -> dict[str, Any]:
    """What ``--json`` prints: docs/status.md has each field. Raises StateError."""
    log_dir, now = settings.paths.log_dir, time.time()
    seen, known = pulse(log_dir), read_known(log_dir)
    there = MonitorStateFile(log_dir).names() if known.folders else None
    progress, items = ProgressFile(log_dir).read(), (view := WorkQueue(log_dir).read()).items()
    found = problems(seen, progress, view.counts(), free_space(log_dir, settings.paths.work_dir), now)
    overview = Overview.of(items, 0, 0)
    gain = overview.gain
    live = {item.folder for item in overview.processing} | {one.folder for one in overview.pending}
    history = History(log_dir)
    ahead = outlook(
        history,
        overview.processing,
        overview.pending,
        progress,
        now,
        settings.processor.aging_hours,
        wanted=live,
        calendar=calendar_of(settings),
    )
    run = run_of(history, seen)
    history.close()
    return {
        **status_json(view.counts(), items, progress, ahead),
        **pulse_json(seen),
        **known_json(known, there),
        **(mirror_json(MirrorFile(log_dir).read()) if settings.processor.mirror else {}),
        "health": {
            "level": found[0].level.name if found else "OK",
            "problems": [{"level": problem.level.name, "text": problem.text} for problem in found],
        },
        "eta": {
            "queue": eta_json(ahead.queue),
            "folders": {folder: eta_json(eta) for folder, eta in ahead.folders.items()},
            "if_resumed": ahead.is_held,
        },
        "gain": gain_json(gain, run),
        "warnings": losses_json(losses(ahead.videos)),
    }
