"""Notices that ``.env`` was edited while a program runs, and says once what follows from it.

A setting counts after a restart; a token is taken without one, see ``connect`` in ``tools.startup``.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import config

log = logging.getLogger("animation.settings")


class EnvWatch:
    """Compares the file's settings with those in force whenever the file changed."""

    def __init__(
        self, path: Path, in_force: config.Settings, reload: Callable[[], config.Settings], *groups: str
    ) -> None:
        """``groups`` of settings that concern the program. ``reload`` may raise ConfigError."""
        self._path = path
        self._in_force = in_force
        self._reload = reload
        self._groups = groups
        self._seen = self._stamp()
        self._said = ""

    def changed(self) -> bool:
        """Whether the file is another than at the last call; what that means is logged."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        text = self._news()
        if text and text != self._said:
            log.warning("%s", text)
        self._said = text
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _news(self) -> str:
        try:
            fresh = self._reload()
        except config.ConfigError as exc:
            return f"{self._path.name} changed and the next start would refuse it, fix it: {exc}"
        before, after = (config.shown(settings, *self._groups) for settings in (self._in_force, fresh))
        news = [f"{name}={value} (now {before[name]})" for name, value in after.items() if value != before[name]]
        counts = f"{', '.join(news)} counts after a restart 重启后生效" if news else ""
        if fresh.hub.token == self._in_force.hub.token:
            return f"{self._path.name} changed: {counts}" if counts else ""
        token = "the new token is used once the hub refuses the one in use"
        return f"{self._path.name} changed: {'; '.join(part for part in (counts, token) if part)}"
