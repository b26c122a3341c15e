"""What a person asks about folders: ``queue_processor.py --coverage`` and ``--why``. Changes nothing."""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import config
from tools.core.errors import StateError
from tools.core.selection import plain_name
from tools.state.work_queue import WorkQueue

if TYPE_CHECKING:  # --status must not wait for what it does not use
    from tools.core.coverage import Coverage
    from tools.core.folder import RemoteFile


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of all questions."""
    section = parser.add_argument_group("questions")
    section.add_argument(
        "--coverage",
        action="store_true",
        help="list every folder of the input dataset under one heading (--json, --all); status 1 if one needs a person",
    )
    section.add_argument("--why", metavar="FOLDER", help="tell all that is known here of a folder")


def is_given(parsed: argparse.Namespace) -> bool:
    """Whether the flags hold a question."""
    return parsed.coverage or parsed.why is not None


def run(parsed: argparse.Namespace, settings: config.Settings) -> int:
    """Answer; returns the exit status. Raises StateError and HubError."""
    return _coverage(parsed, settings) if parsed.coverage else _why(plain_name(parsed.why), settings)


def _coverage(parsed: argparse.Namespace, settings: config.Settings) -> int:
    from tools.report.folders import coverage_json, coverage_text
    from tools.report.status import ALL

    commit, coverage = _covered(settings)
    repo = settings.hub.input_repo
    if parsed.json:
        print(json.dumps(coverage_json(repo, commit, coverage), ensure_ascii=False, indent=1))
    else:
        print(coverage_text(repo, coverage, *([ALL] if parsed.all else [])))
    return 1 if any(names for heading, names in coverage.items() if heading.needs_person) else 0


def _covered(settings: config.Settings) -> "tuple[str | None, Coverage]":
    """The newest commit of the input dataset, and its folders by heading."""
    from tools.core.coverage import cover
    from tools.core.folder import group_folders
    from tools.runtime.clock import SystemClock
    from tools.startup import connect
    from tools.state.monitor_state import MonitorStateFile
    from tools.state.orders import OrdersFile

    hub, _ = connect(settings, SystemClock())
    head = hub.head(settings.hub.input_repo)
    there: set[str] = set()
    files = _noting(hub.list_files(settings.hub.input_repo, head.commit_id), there) if head else iter(())
    monitor, log_dir = settings.monitor, settings.paths.log_dir
    folders = group_folders(files, monitor.video_extensions, monitor.complete_marker)
    # The queue after the listing, so that what was queued meanwhile counts as queued.
    items = {item.folder: item for item in WorkQueue(log_dir).read().items()}
    settled = MonitorStateFile(log_dir).read().settled | OrdersFile(log_dir).read().forgotten
    return head.commit_id if head else None, cover(there, folders, items, settled)


def _noting(files: "Iterable[RemoteFile]", folders: set[str]) -> "Iterator[RemoteFile]":
    from tools.core.coverage import folders_of

    for file in files:
        folders |= folders_of((file,))
        yield file


def _why(folder: str, settings: config.Settings) -> int:
    from tools.report.folders import why_lines
    from tools.state.journal import Journal
    from tools.state.monitor_state import MonitorStateFile
    from tools.state.orders import OrdersFile

    log_dir = settings.paths.log_dir
    state = MonitorStateFile(log_dir).read()
    state.settled.update(OrdersFile(log_dir).read().forgotten)
    items = {item.folder: item for item in WorkQueue(log_dir).read().items()}
    history = Journal(log_dir, folder).history()
    lines = why_lines(folder, items, state, history, time.time(), settings.processor.aging_hours)
    if not lines:
        near = [name for name in (*state.folders, *items) if folder in name or name in folder]
        hint = f"; perhaps {near[0]}" if near else ""
        raise StateError(
            f"nothing is known of {folder}: it was not in the last listing of {settings.hub.input_repo}{hint}"
        )
    print("\n".join([folder, *(f"  {line}" for line in lines)]))
    return 0
