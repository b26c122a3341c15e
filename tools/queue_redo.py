"""``queue_processor.py --redo``: make what is published again, with other settings or as far as settings differ."""

import argparse
import contextlib
import os
import time
from typing import TYPE_CHECKING

import config
from tools.core.message import plural
from tools.report.paint import printable
from tools.runtime.language import ui

if TYPE_CHECKING:  # --status must not wait for what it does not use
    from tools.core.folder import Folder
    from tools.core.options import Option
    from tools.core.redo import Difference, Redo
    from tools.hub.client import HubClient

_OPTIONS = {"CRF": "crf", "PRESET": "preset", "TARGET_VMAF": "target_vmaf"}
"""Settings that ``--redo`` takes as flags, and the options that they become: they hold for this order alone."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command; those of the settings are the program's."""
    section = parser.add_argument_group("making published videos again")
    section.add_argument(
        "--redo",
        nargs="*",
        metavar="FOLDER",
        help="convert again what is published of folders, with --crf, --target-vmaf and --preset if given here, else "
        "with those in force; the old files stay until the new ones replace them",
    )
    section.add_argument(
        "--if-settings-differ",
        action="store_true",
        help="with --redo: only what was made with other settings, of all folders if none is named; lists it first",
    )
    section.add_argument(
        "--yes",
        action="store_true",
        help="with --redo --if-settings-differ: queue what is listed; with --mirror: let it go",
    )


def run(parsed: argparse.Namespace, settings: config.Settings) -> int:
    """Do what was ordered; returns the exit status. Raises StateError, HubError and ConfigError."""
    from tools.core.ordering import redo_now
    from tools.core.selection import changed
    from tools.state.journal import Journal
    from tools.state.work_queue import WorkQueue

    options = _options(parsed, settings)
    if not parsed.redo and not parsed.if_settings_differ:
        raise config.ConfigError("--redo: name a folder or a pattern, or give --if-settings-differ")
    folders, orders, chosen = _wanted(parsed, settings, options)
    is_dry = parsed.dry_run or (parsed.if_settings_differ and not parsed.yes)
    queue = WorkQueue(settings.paths.log_dir)
    with queue.transaction() if not is_dry else contextlib.nullcontext(queue.read()) as view:
        made = changed(
            chosen,
            folders,
            lambda folder: redo_now(view.get(folder.name), folder, orders[folder.name], time.time()),
        )
        for folder, entry in [] if is_dry else made:
            Journal(settings.paths.log_dir, folder.name).discard()  # it tells of results that are not wanted any more
            view.put(entry)
    names = printable(", ".join(folder.name for folder, _ in made)) or "-"
    if not is_dry:
        print(ui("{} queued to be made again: {}", plural(len(made), "folder"), names))
    else:
        print(ui("{} would be queued to be made again: {}", plural(len(made), "folder"), names))
        if made and not parsed.dry_run:
            print(ui("nothing was queued: add --yes to queue them"))
    return 0


def _options(parsed: argparse.Namespace, settings: config.Settings) -> "dict[str, Option]":
    """Of the flags that stand beside ``--redo``. Raises ConfigError for one that it does not take."""
    given = {name for name, value in config.flag_values(parsed).items() if value is not None}
    encode = {spec.env for group, _, spec in config.specs() if group == "encode"}
    if refused := sorted((given & encode) - _OPTIONS.keys()):
        raise config.ConfigError(f"--redo takes {', '.join(sorted(_OPTIONS))}; set {refused[0]} in .env instead")
    return {option: getattr(settings.encode, option) for name, option in _OPTIONS.items() if name in given}


def _wanted(
    parsed: argparse.Namespace, settings: config.Settings, options: "dict[str, Option]"
) -> "tuple[dict[str, Folder], dict[str, Redo], list[tuple[str, bool]]]":
    """The folders that have something published, the order for each that is meant, and which are (see ``select``)."""
    from tools.core.errors import HubNotFound, StateError
    from tools.core.redo import redo_with
    from tools.core.selection import select
    from tools.login import Login
    from tools.runtime.clock import SystemClock

    hub, _ = Login(settings, SystemClock()).connect()
    out = settings.hub.output_repo
    if not hub.repo_exists(out):
        raise HubNotFound(f"OUTPUT_REPO={out} does not exist, or this token can't see it")
    listed = _Listed(hub, settings)
    everywhere = [(name, True) for name in listed.folders]
    chosen = select(parsed.redo, listed.folders, f"{out} with anything published") if parsed.redo else everywhere
    orders: dict[str, Redo] = {}
    meant, untold = [], 0
    for name, by_pattern in sorted(chosen):
        found = listed.compared(name)
        if not found.published and not by_pattern:
            raise StateError(f"nothing of {name} is published as it is now: the queue does it, or --add")
        again = sorted(found.videos) if parsed.if_settings_differ else found.published
        if parsed.if_settings_differ:
            untold += len(found.untold)
            _tell(name, found)
        if again:
            orders[name] = redo_with(options, again if parsed.if_settings_differ else (), os.urandom(6).hex())
            meant.append((name, by_pattern))
    if untold:
        videos = plural(untold, "video")
        print(ui("{} of an earlier version without a record of the settings: name the folders to redo them", videos))
    return listed.folders, orders, meant


def _tell(folder: str, found: "Difference") -> None:
    names = ", ".join(sorted({option for differing in found.videos.values() for option in differing}))
    if names:
        of = len(found.videos), plural(len(found.published), "video")
        print(ui("{}: {} of {} made otherwise: {}", printable(folder), *of, names))


class _Listed:
    """Both repos as they are now; ``folders`` are those that have something published."""

    def __init__(self, hub: "HubClient", settings: config.Settings) -> None:
        from tools.core.folder import group_folders, inside
        from tools.core.record import METADATA
        from tools.media.converter import FfmpegConverter
        from tools.queue_questions import by_folder
        from tools.startup import encode_options

        self._hub, self._into, self._out = hub, settings.hub.input_repo, settings.hub.output_repo
        monitor, head = settings.monitor, hub.head(self._into)
        self._sources = by_folder(hub, self._into, head, monitor.video_extensions)
        self._head = hub.head(self._out)
        results = by_folder(hub, self._out, self._head, monitor.video_extensions)
        self._lists = {
            name: file for name, there in results.items() for file in there if file.path == inside(name, METADATA)
        }
        files = (file for folder in self._sources.values() for file in folder)
        grouped = group_folders(files, monitor.video_extensions, monitor.complete_marker)
        self.folders = {name: folder for name, folder in grouped.items() if name in self._lists}
        self._wanted = FfmpegConverter(*encode_options(settings)).wanted()

    def compared(self, folder: str) -> "Difference":
        """What of it was made otherwise than wanted. Raises HubError."""
        from tools.core.record import Published
        from tools.core.redo import compare
        from tools.queue_questions import text_of

        content = text_of(self._hub, self._out, self._head, self._lists[folder])
        return compare(self._sources[folder], Published.parse(content, self._into), self._wanted)
