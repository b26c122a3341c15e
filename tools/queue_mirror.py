"""``queue_processor.py --mirror``: what ``MIRROR=1`` would take out of the output dataset; ``--yes`` confirms it."""

import argparse
from itertools import groupby
from typing import TYPE_CHECKING

import config
from tools.core.errors import StateError
from tools.core.message import plural
from tools.report.paint import printable
from tools.runtime.language import translated, ui

if TYPE_CHECKING:  # --status must not wait for what it does not use
    from tools.processor.mirror_look import Look

_SHOWN = 20  # files that stay for now


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flag of this command."""
    section = parser.add_argument_group("what left the input dataset")
    section.add_argument(
        "--mirror",
        action="store_true",
        help="list, file by file, what MIRROR=1 would take out of the output dataset; with --yes: let it go, "
        "however much it is",
    )


def run(parsed: argparse.Namespace, settings: config.Settings) -> int:
    """List it, or order it; returns the exit status. Raises StateError, HubError and ConfigError."""
    from tools.core.mirror import counted, digest_of, is_too_much
    from tools.login import Login
    from tools.processor.mirror_look import MirrorRules, look
    from tools.runtime.clock import SystemClock
    from tools.state.orders import OrdersFile

    processor, log_dir = settings.processor, settings.paths.log_dir
    if parsed.yes and not processor.mirror:
        raise config.ConfigError("--mirror --yes: set MIRROR=1 first, then the processor does what is confirmed")
    rules = MirrorRules(
        input_repo=settings.hub.input_repo,
        output_repo=settings.hub.output_repo,
        extensions=settings.monitor.video_extensions,
        percent=processor.mirror_max_percent,
        quiet=settings.monitor.min_folder_stable_time,
    )
    hub, _ = Login(settings, SystemClock()).connect()
    found = look(hub, rules, log_dir)
    if found.waits:
        raise StateError(f"nothing is certain now, ask again later: {found.waits}")
    _show(found)
    gone = counted(found.gone)
    print(ui("{} of {}, {} of {} left the input", *_of(gone.videos, gone.files, found)))
    if not found.gone:
        return 0
    if parsed.yes and not parsed.dry_run:
        with OrdersFile(log_dir).transaction() as orders:
            orders.mirror = digest_of(found.gone)
        print(ui("confirmed: the processor takes these files out of {}, and no others", rules.output_repo))
    elif is_too_much(gone, type(gone)(), found.kept, rules.percent):
        limit = f"{rules.percent:g}"
        print(ui("more than MIRROR_MAX_PERCENT={} allows at once: nothing goes without --mirror --yes", limit))
    return 0


def _of(videos: int, files: int, found: "Look") -> tuple[int, str, int, str]:
    return videos, plural(videos + found.kept.videos, "video"), files, plural(files + found.kept.files, "file")


def _show(found: "Look") -> None:
    for folder, files in groupby(sorted(found.gone, key=lambda one: one.path), key=lambda one: one.folder):
        print(printable("\n".join([folder, *(f"  {one.path.rpartition('/')[2]}" for one in files)])))
    stays = sorted(found.stays.items())
    if stays:
        print(ui("without a source too, and stays for now ({}):", plural(len(stays), "file")))
    for path, why in stays[:_SHOWN]:
        print(printable(f"  {path}: {translated(why)}"))
    if len(stays) > _SHOWN:
        print("  " + ui("… and {} more", len(stays) - _SHOWN))
