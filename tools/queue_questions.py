"""What a person asks about folders: ``queue_processor.py --coverage``, ``--check`` and ``--why``. Changes nothing."""

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import config
from tools.core.errors import StateError
from tools.core.message import message
from tools.core.selection import plain_name, select
from tools.state.work_queue import WorkQueue

if TYPE_CHECKING:  # --status must not wait for what it does not use
    from tools.core.audit import FolderAudit
    from tools.core.coverage import Coverage
    from tools.core.folder import RemoteFile
    from tools.core.queue_item import Quarantined, QueueItem
    from tools.core.record import Record
    from tools.hub.client import Head, HubClient
    from tools.state.monitor_state import MonitorState


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of all questions."""
    section = parser.add_argument_group("questions")
    section.add_argument(
        "--coverage",
        action="store_true",
        help="list every folder of the input dataset under one heading (--json, --all); status 1 if one needs a person",
    )
    section.add_argument(
        "--check",
        nargs="*",
        metavar="FOLDER",
        help="compare the output dataset with the input, all of it or the folders named (--json, --all); status 1 if "
        "something is missing, differs from its record, or has no source",
    )
    section.add_argument(
        "--deep",
        nargs="?",
        type=int,
        const=1,
        metavar="N",
        help="with --check: download N results of each folder (1), drawn at random, and decode all of each",
    )
    about = "tell all that is known here of a folder, or why a file is skipped"
    section.add_argument("--why", metavar="FOLDER", help=about)


def is_given(parsed: argparse.Namespace) -> bool:
    """Whether the flags hold a question."""
    return parsed.coverage or parsed.check is not None or parsed.why is not None


def run(parsed: argparse.Namespace, settings: config.Settings) -> int:
    """Answer; returns the exit status. Raises StateError and HubError."""
    if parsed.coverage:
        return _coverage(parsed, settings)
    return _check(parsed, settings) if parsed.check is not None else _why(plain_name(parsed.why), settings)


def _coverage(parsed: argparse.Namespace, settings: config.Settings) -> int:
    from tools.report.folders import coverage_json, coverage_text
    from tools.report.paint import json_text, printable
    from tools.report.status import ALL

    commit, coverage = _covered(settings)
    repo = settings.hub.input_repo
    if parsed.json:
        print(json_text(coverage_json(repo, commit, coverage)))
    else:
        print(printable(coverage_text(repo, coverage, *([ALL] if parsed.all else []))))
    return 1 if any(names for heading, names in coverage.items() if heading.needs_person) else 0


def _covered(settings: config.Settings) -> "tuple[str | None, Coverage]":
    """The newest commit of the input dataset, and its folders by heading."""
    from tools.core.coverage import cover
    from tools.core.folder import group_folders
    from tools.login import Login
    from tools.runtime.clock import SystemClock
    from tools.state.monitor_state import MonitorStateFile
    from tools.state.orders import OrdersFile

    hub, _ = Login(settings, SystemClock()).connect()
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


def _check(parsed: argparse.Namespace, settings: config.Settings) -> int:
    from dataclasses import asdict, replace

    from tools.core.errors import HubNotFound
    from tools.deep_check import DeepCheck
    from tools.login import Login
    from tools.report.folders import audit_lines, audit_sum
    from tools.report.paint import json_text, printable
    from tools.runtime.clock import SystemClock

    hub, _ = Login(settings, SystemClock()).connect()
    into, out = settings.hub.input_repo, settings.hub.output_repo
    if not hub.repo_exists(into):
        raise HubNotFound(f"INPUT_REPO={into} does not exist, or this token can't see it")
    heads = {repo: hub.head(repo) if hub.repo_exists(repo) else None for repo in (into, out)}
    sources, results = (by_folder(hub, repo, heads[repo], settings.monitor.video_extensions) for repo in (into, out))
    items = {item.folder: item for item in WorkQueue(settings.paths.log_dir).read().items()}
    folders = dict.fromkeys((*sources, *results))
    chosen = [name for name, _ in select(parsed.check, folders, f"{into} or {out}")] if parsed.check else list(folders)
    if parsed.deep is not None and parsed.deep < 1:
        raise config.ConfigError(f"--deep {parsed.deep}: expected how many results of each folder, 1 or more")
    deep = DeepCheck(settings, hub, head, parsed.deep) if parsed.deep and (head := heads[out]) else None
    audits = []
    for name in sorted(chosen):
        held = items.get(name)
        given_up = held.quarantined if held else ()
        found, recorded = _audited(hub, out, heads[out], name, sources, results, given_up, settings)
        if deep is not None:
            found = replace(found, broken=deep.wrong(recorded))
        audits.append(found)
        if not parsed.json and (parsed.all or not found.is_right):
            print(printable("\n".join(audit_lines(found))), flush=True)
    if parsed.json:
        print(json_text([asdict(one) for one in audits]))
    else:
        print(audit_sum(audits))
    return 0 if all(one.is_right for one in audits) else 1


def by_folder(
    hub: "HubClient", repo: str, head: "Head | None", extensions: frozenset[str]
) -> "dict[str, list[RemoteFile]]":
    """The files of a repo by the folder that directly holds them."""
    from tools.core.folder import ROOT, is_video

    found: dict[str, list[RemoteFile]] = {}
    for file in hub.list_files(repo, head.commit_id) if head else ():
        found.setdefault(file.folder or ROOT, []).append(file)
    if not any(is_video(file.name, extensions | {"mkv"}) for file in found.get(ROOT, ())):
        found.pop(ROOT, None)  # a card and settings, which every repo has
    return found


def text_of(hub: "HubClient", repo: str, head: "Head | None", listed: "RemoteFile | None") -> bytes | None:
    """The content of a listed file; None if it is not listed. Raises HubUnavailable if it can't be read as listed."""
    from tools.core.errors import HubUnavailable

    if head is None or listed is None:
        return None
    content = hub.read_file(repo, head.commit_id, listed.path)
    if content is None or len(content) != listed.size:
        raise HubUnavailable(f"{listed.path} of {repo} is listed, but can't be read whole")
    return content


def _audited(
    hub: "HubClient",
    out: str,
    head: "Head | None",
    folder: str,
    sources: "Mapping[str, list[RemoteFile]]",
    results: "Mapping[str, list[RemoteFile]]",
    quarantined: "Iterable[Quarantined]",
    settings: config.Settings,
) -> "tuple[FolderAudit, list[tuple[RemoteFile, Record]]]":
    """And the results that are listed as their records have them."""
    from tools.core.audit import as_recorded, audit
    from tools.core.folder import inside
    from tools.core.record import METADATA, Published
    from tools.core.sidecar import SIDECARS, Carried
    from tools.startup import sidecar_rules

    there = {file.path: file for file in results.get(folder, [])}

    metadata, carried_list = (text_of(hub, out, head, there.get(inside(folder, name))) for name in (METADATA, SIDECARS))
    published, carried = Published.parse(metadata, settings.hub.input_repo), Carried.parse(carried_list, folder)
    extensions, rules = settings.monitor.video_extensions, sidecar_rules(settings)
    files = sources.get(folder, [])
    found = audit(folder, files, there, published, quarantined, extensions, carried=carried, rules=rules)
    return found, as_recorded(there, published)


def _why_skipped(path: str, settings: config.Settings) -> str:
    """Why this file is skipped, if that is what was typed."""
    from tools.core.skipped import why_skipped
    from tools.runtime.language import translated

    return translated(why_skipped(path, settings.monitor.video_extensions))


def _ahead_and_past(folder: str, settings: config.Settings) -> list[str]:
    from tools.report.folders import past_lines
    from tools.state.history_reader import History
    from tools.state.progress import ProgressFile
    from tools.status_command import outlook_of

    log_dir, now = settings.paths.log_dir, time.time()
    history, overview = History(log_dir), WorkQueue(log_dir).overview(0, 0)
    ahead = outlook_of(settings, history, overview, ProgressFile(log_dir).read(), now, {folder})
    lines = past_lines(folder, ahead.folders.get(folder), history.videos(folder=folder, limit=20), now)
    history.close()
    return lines


def _why(name: str, settings: config.Settings) -> int:
    """Of a folder, or of a file."""
    from tools.core.folder import ROOT
    from tools.report.paint import printable
    from tools.runtime.language import ui
    from tools.state.monitor_state import MonitorStateFile

    log_dir = settings.paths.log_dir
    state = MonitorStateFile(log_dir).read()
    items = {item.folder: item for item in WorkQueue(log_dir).read().items()}
    lines = _known_of(name, state, items, settings)
    if not lines and "." in name.rpartition("/")[2]:
        folder = name.rpartition("/")[0] or ROOT
        if skipped := _why_skipped(name, settings):
            lines = [skipped]
        elif known := _known_of(folder, state, items, settings):
            lines = [ui("a video; what is known of its folder, {}:", folder), *known]
    if not lines:
        near = [one for one in (*state.folders, *items) if name in one or (one in name and one != ROOT)]
        unknown = f"nothing is known of {name}: it was not in the last listing of {settings.hub.input_repo}"
        raise StateError(f"{unknown}; perhaps you mean {near[0]}" if near else message(unknown))
    print(printable("\n".join([name, *(f"  {line}" for line in lines)])))
    return 0


def _known_of(
    folder: str, state: "MonitorState", items: "Mapping[str, QueueItem]", settings: config.Settings
) -> list[str]:
    """All that is known of a folder here, [] if nothing is."""
    from tools.report.folders import why_lines
    from tools.state.journal import Journal
    from tools.state.orders import OrdersFile

    log_dir = settings.paths.log_dir
    state.settled.update(OrdersFile(log_dir).read().forgotten)
    history = Journal(log_dir, folder).history()
    age = settings.monitor.min_folder_stable_time
    lines = why_lines(folder, items, state, history, time.time(), settings.processor.aging_hours, age)
    return lines + (_ahead_and_past(folder, settings) if folder in items else [])
