"""What a person orders of the queue: ``queue_processor.py --retry``, ``--cancel``, ``--hold``, ``--pause`` and so on.

Each command changes state files in one step, which the running programs obey within seconds, prints one line, and
changes nothing at all if it can't do what was asked.
"""

import argparse
import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import config
from tools import queue_mirror, queue_redo
from tools.core.errors import StateError
from tools.core.message import message
from tools.report.paint import printable
from tools.runtime.language import ui

if TYPE_CHECKING:  # --status must not wait for what it does not use
    from tools.core.queue_item import QueueItem
    from tools.hub.client import HubClient
    from tools.state.work_queue import QueueView

_HIGHEST, _LOWEST = 0, 9


class _Verb(NamedTuple):
    change: "Callable[[QueueItem], QueueItem | None]"  # None: the item leaves the queue
    done: str
    would: str  # the same with --dry-run
    after: str = ""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of all commands."""
    section = parser.add_argument_group("commands", "FOLDER may be a pattern such as '番剧*'; several may be given")

    def add(flag: str, help: str, nargs: str = "+") -> None:
        section.add_argument(flag, nargs=nargs, metavar="FOLDER", help=help)

    add("--retry", "requeue failed items; all of them if none is named", "*")
    add("--cancel", "cancel pending or running items")
    add("--forget", "take settled items out of the queue for good; a folder that changes is queued again")
    add("--add", "queue folders of the input dataset now as they are, quiet or not, also what was done or forgotten")
    add("--frames-only", "queue published folders for the scene frames that they lack, made from the published MKVs")
    add("--hold", "keep pending items from being started")
    add("--release", "the end of --hold")
    add("--bump", "let pending items be the next ones")
    section.add_argument(
        "--priority", nargs="+", metavar=("N", "FOLDER"), help="give pending items priority N, 0 (first) to 9"
    )
    section.add_argument(
        "--pause", nargs="?", const="", metavar="REASON", help="finish the folders in work, then start no other one"
    )
    section.add_argument("--after-video", action="store_true", help="with --pause: finish only the videos in work")
    section.add_argument("--now", action="store_true", help="with --pause: end what runs, it is done again later")
    section.add_argument("--resume", action="store_true", help="the end of --pause")
    queue_redo.add_flags(parser)
    queue_mirror.add_flags(parser)
    section.add_argument("--dry-run", action="store_true", help="say what a command would do, change nothing")


_VERBS = ("redo", "retry", "cancel", "forget", "hold", "release", "bump", "priority")


def is_given(parsed: argparse.Namespace) -> bool:
    """Whether the flags hold a command."""
    return bool(_given(parsed))


def _given(parsed: argparse.Namespace) -> list[str]:
    return (
        [name for name in ("pause", "add", "frames_only", *_VERBS) if getattr(parsed, name) is not None]
        + ["resume"] * parsed.resume
        + ["mirror"] * parsed.mirror
    )


def need_sense(parsed: argparse.Namespace) -> None:
    """Raises ConfigError for a flag that says how, without the command that it belongs to: else a typing error would
    start the program, or do something else than was meant."""
    if parsed.now and parsed.after_video:
        raise config.ConfigError("--now and --after-video: give one of them")
    for flag, command in (("now", "pause"), ("after_video", "pause"), ("if_settings_differ", "redo")):
        if getattr(parsed, flag) and getattr(parsed, command) is None:
            raise config.ConfigError(f"--{flag.replace('_', '-')} goes with --{command}")
    if parsed.yes and not (parsed.mirror or parsed.redo is not None):
        raise config.ConfigError("--yes goes with --redo or --mirror")
    if parsed.dry_run and not is_given(parsed):
        raise config.ConfigError("--dry-run goes with a command, such as --cancel")


def _need_same_version(settings: config.Settings) -> None:
    """A program of another version may not understand an order, or take it for something else."""
    from tools.startup import version
    from tools.state.liveness import life_of

    for program in ("processor", "monitor"):
        running = life_of(settings.paths.log_dir, program).version
        if running is not None and running != version():
            raise StateError(f"the {program} that runs is version {running}, this is {version()}: restart it first")


def run(parsed: argparse.Namespace, settings: config.Settings) -> int:
    """Do what was ordered; returns the exit status. Raises StateError and ConfigError."""
    from tools.core.ordering import hold, release, with_priority
    from tools.core.queue_item import cancel, retry

    given = _given(parsed)
    if len(given) > 1:
        first, second = (name.replace("_", "-") for name in given[:2])
        raise config.ConfigError(f"--{first} and --{second}: give one command at a time")
    _need_same_version(settings)
    if parsed.pause is not None or parsed.resume:
        return _pause(parsed, settings)
    if parsed.redo is not None:
        return queue_redo.run(parsed, settings)
    if parsed.mirror:
        return queue_mirror.run(parsed, settings)
    if parsed.add is not None or parsed.frames_only is not None:
        return _add(parsed, settings)
    if parsed.priority is not None and (len(parsed.priority) < 2 or parsed.priority[0] not in list("0123456789")):
        raise config.ConfigError(f"--priority: expected a number from {_HIGHEST} to {_LOWEST} and then a folder")
    verbs = {
        "retry": _Verb(retry, message("requeued"), message("would be requeued")),
        "cancel": _Verb(
            lambda item: cancel(item, time.time()),
            message("cancelled"),
            message("would be cancelled"),
            message("queued again when it changes, or by --retry"),
        ),
        "forget": _Verb(
            _forgotten,
            message("forgotten"),
            message("would be forgotten"),
            message("queued again when it changes"),
        ),
        "hold": _Verb(hold, message("held"), message("would be held"), message("--release lets it continue")),
        "release": _Verb(release, message("released"), message("would be released")),
        "bump": _Verb(partial(with_priority, priority=_HIGHEST), message("next"), message("would be next")),
        "priority": _Verb(
            lambda item: with_priority(item, int(parsed.priority[0])),
            message("given another place"),
            message("would be given another place"),
        ),
    }
    folders = getattr(parsed, given[0])
    return _change(settings, verbs[given[0]], folders[1:] if given[0] == "priority" else folders, parsed.dry_run)


def _forgotten(item: "QueueItem") -> None:
    from tools.core.ordering import need_settled

    need_settled(item)


def _change(settings: config.Settings, verb: _Verb, folders: list[str], dry_run: bool) -> int:
    from tools.state.work_queue import WorkQueue

    queue = WorkQueue(settings.paths.log_dir)
    with queue.transaction() if not dry_run else contextlib.nullcontext(queue.read()) as view:
        made = _made(view, verb, folders)
        if not dry_run:
            _put(settings, view, verb, made)
    _tell([before.folder for before, _ in made], verb.would if dry_run else verb.done, "" if dry_run else verb.after)
    return 0


def _tell(folders: list[str], done: str, after: str = "") -> None:
    names = printable(", ".join(folders)) or "-"
    if len(folders) == 1:
        print(ui("1 folder {}: {}; {}", done, names, after) if after else ui("1 folder {}: {}", done, names))
    elif after:
        print(ui("{} folders {}: {}; {}", len(folders), done, names, after))
    else:
        print(ui("{} folders {}: {}", len(folders), done, names))


def _made(view: "QueueView", verb: _Verb, folders: list[str]) -> "list[tuple[QueueItem, QueueItem | None]]":
    from tools.core.queue_item import Status
    from tools.core.selection import changed, select

    items = {item.folder: item for item in view.items()}
    if not folders:  # --retry alone
        return [(item, verb.change(item)) for item in items.values() if item.status is Status.FAILED]
    return changed(select(folders, items, "the queue; --status shows what is"), items, verb.change)


def _put(
    settings: config.Settings, view: "QueueView", verb: _Verb, made: "list[tuple[QueueItem, QueueItem | None]]"
) -> None:
    from tools.core.queue_item import retry
    from tools.state.journal import Journal
    from tools.state.orders import OrdersFile
    from tools.state.results import forgive

    leaving = [before for before, after in made if after is None]
    if leaving:  # first: the monitor must not see a folder that is neither queued nor forgotten
        with OrdersFile(settings.paths.log_dir).transaction() as orders:
            orders.forgotten.update({item.folder: item.hash for item in leaving})
    if verb.change is retry:
        forgive(settings.paths.log_dir, (one.sha256 for before, _ in made for one in before.quarantined))
    for before, after in made:
        # First: a journal that outlived its item (a crash came between) would refuse its videos again.
        journal = Journal(settings.paths.log_dir, before.folder)
        if after is None:
            journal.remove()
        elif verb.change is retry:
            journal.keep_results()
        if after is None:
            view.remove(before.folder)
        elif after != before:
            view.put(after)


def _add(parsed: argparse.Namespace, settings: config.Settings) -> int:
    from tools.core.folder import group_folders
    from tools.core.ordering import add_now
    from tools.core.selection import changed, select
    from tools.login import Login
    from tools.runtime.clock import SystemClock
    from tools.state.work_queue import WorkQueue

    repo, monitor = settings.hub.input_repo, settings.monitor
    hub, _ = Login(settings, SystemClock()).connect()
    head = hub.head(repo)
    files = hub.list_files(repo, head.commit_id) if head else iter(())
    listed = group_folders(files, monitor.video_extensions, monitor.complete_marker)
    folders = {name: folder for name, folder in listed.items() if folder.video_count}
    if parsed.frames_only is None:
        chosen = select(parsed.add, folders, f"{repo}, or holds no video")
    else:
        known = _published(hub, settings).intersection(folders)
        chosen = select(parsed.frames_only, sorted(known), f"{settings.hub.output_repo} with anything published")
    queue = WorkQueue(settings.paths.log_dir)
    with queue.transaction() if not parsed.dry_run else contextlib.nullcontext(queue.read()) as view:
        made = changed(chosen, folders, lambda folder: add_now(view.get(folder.name), folder, time.time()))
        for _, entry in made:
            if not parsed.dry_run:
                view.put(entry)
    _tell([folder.name for folder, _ in made], message("would be queued") if parsed.dry_run else message("queued"))
    return 0


def _published(hub: "HubClient", settings: config.Settings) -> set[str]:
    """The folders of which something is published. Raises ConfigError without a dataset for scene frames."""
    from tools.core.folder import ROOT
    from tools.core.record import METADATA

    out = settings.hub.output_repo
    if not settings.frames.repo:
        raise config.ConfigError("--frames-only: set FRAMES_REPO to the dataset that receives the scene frames")
    head = hub.head(out) if hub.repo_exists(out) else None
    files = hub.list_files(out, head.commit_id) if head else iter(())
    return {file.folder or ROOT for file in files if file.name == METADATA}


def _pause(parsed: argparse.Namespace, settings: config.Settings) -> int:
    from tools.state.orders import OrdersFile, PauseHow, PauseOrder

    how = PauseHow.NOW if parsed.now else PauseHow.VIDEO if parsed.after_video else PauseHow.FOLDER
    orders_file = OrdersFile(settings.paths.log_dir)
    before = orders_file.read().pause
    if parsed.resume and before is None:
        raise StateError("it is not paused by --pause; --status says what it waits for")
    order = None if parsed.resume else PauseOrder(how, " ".join(parsed.pause.split()), time.time())
    if not parsed.dry_run:
        with orders_file.transaction() as orders:
            orders.pause = order
    if order is None:
        print(ui("would be resumed") if parsed.dry_run else ui("resumed"))
    elif parsed.dry_run:
        print(ui("would be paused ({})", _MEANING[how.value]))
    else:
        print(ui("paused ({}); --resume continues", _MEANING[how.value]))
    return 0


_MEANING = {
    "folder": "folders in work are finished first",
    "video": "videos in work are finished first",
    "now": "what runs is ended and done again later",
}
