"""What both programs do to tell people by message what happens; see ``tools/report/notifier.py``."""

import os
from functools import partial
from typing import TYPE_CHECKING

import config
from tools.core.message import plural
from tools.runtime.language import ui
from tools.startup import is_demo

if TYPE_CHECKING:  # --status must not wait for what it does not use
    from tools.report.notifier import Notifier


_LIMITS = (
    "ACTIVE_HOURS",
    "ACTIVE_STAGES",
    "AFTER_HOURS",
    "NICE",
    "IONICE",
    "DOWNLOAD_LIMIT",
    "UPLOAD_LIMIT",
)


def notifier_of(settings: config.Settings, other: str) -> "Notifier | None":
    """Tells people what happens, also to the ``other`` program; None if nobody wants to be told."""
    wanted = settings.notify
    if not wanted.urls or is_demo(settings.paths.log_dir):  # nobody waits for news of a demo
        return None
    from tools.core.news import NewsDesk
    from tools.report.addresses import Addresses
    from tools.report.notifier import GATHER, Notifier
    from tools.report.other_program import problem_of

    addresses = Addresses(wanted.urls)
    desk = NewsDesk(wanted.events, min(GATHER, wanted.interval), wanted.interval)
    watch = partial(problem_of, settings.paths.log_dir, other)
    return Notifier(desk, addresses.send, addresses.names(), os.uname().nodename, watch)


def wishes(settings: config.Settings) -> list[str]:
    """What an operator has set beyond the defaults, in a line each, for ``--status``."""
    lines = []
    limits = {name: value for name, value in config.shown(settings, "processor", "encode").items() if name in _LIMITS}
    usual = config.shown(config.Settings(), "processor", "encode")
    if changed := [f"{name}={value}" for name, value in limits.items() if value != usual[name]]:
        lines.append(ui("Hours and limits: {}", " ".join(changed)))
    if settings.notify.urls and not is_demo(settings.paths.log_dir):
        events = " ".join(sorted(settings.notify.events))
        addresses = plural(len(settings.notify.urls), "address", "addresses")
        lines.append(ui("Notifications to {}: {}", addresses, events))
    return lines


def send_test(settings: config.Settings) -> int:
    """One message to each address; a line for each, and the exit status. Raises ConfigError without an address."""
    from tools.report.addresses import Addresses

    if not settings.notify.urls:
        raise config.ConfigError("NOTIFY_URLS is empty: put the addresses that are to be told into .env")
    addresses = Addresses(settings.notify.urls)
    title = f"{os.uname().nodename}: {ui('a test')}"
    failed = addresses.send(title, ui("If you can read this, you will be told what happens."))
    for name in addresses.names():
        print(ui("{}: NOT sent, check the address", name) if name in failed else ui("{}: sent", name))
    return 1 if failed else 0
