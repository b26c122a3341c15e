"""The token that a program works with: found again after each trouble, and what is worth saying about it."""

import argparse
import ipaddress
import logging
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from config import ConfigError, Settings, with_token
from tools.core.errors import HubForbidden
from tools.core.message import message, plural
from tools.runtime.once import Once
from tools.startup import DEMO_FILE, make_hub, read_dotenv, read_settings

if TYPE_CHECKING:
    from tools.hub.client import HubClient
    from tools.hub.modelscope_sdk import SavedLogin
    from tools.runtime.clock import Clock

log = logging.getLogger("animation.login")
_REMIND = 6 * 3600.0  # s
ENDS_SOON = 7 * 24 * 3600.0  # s


class Login:
    """Of one program. Nothing is asked or read before ``connect``."""

    def __init__(self, settings: Settings, clock: "Clock") -> None:
        self._settings = settings
        self._clock = clock
        self.in_use: str | None = settings.hub.token
        """The token that was accepted last, or is tried first."""
        self._said = Once()
        self._reminded = -_REMIND  # monotonic s

    def begin(self) -> None:
        """Remember what is used from the start, for a program that does not begin with ``connect``."""
        if self.in_use is None and not is_of_demo(self._settings) and (saved := login_of(self._settings)):
            self.in_use = saved.token

    def connect(self) -> "tuple[HubClient, str]":
        """The hub with the first token that it accepts, and the user whose token that is.

        Tried are the token in use, the settings', the one in ``.env`` as it is now, and the login that was saved for
        this hub: the environment of a program that runs can't be changed, so a new token must be found elsewhere; and a
        saved login ends while the token that it held may work on. Raises HubForbidden if the hub accepts none of them,
        and HubUnavailable.
        """
        refused: HubForbidden | None = None
        saved = None if is_of_demo(self._settings) else login_of(self._settings)
        for token in dict.fromkeys([*tokens(self._settings, saved), self.in_use]):
            if token is None and refused is not None:
                continue
            hub = make_hub(with_token(self._settings, token), self._clock)
            try:
                user = hub.whoami()
            except HubForbidden as exc:
                refused = refused or exc
                continue
            self.in_use = token
            self._warn(saved if saved is not None and saved.token == token else None)
            return hub, user
        assert refused is not None
        raise refused

    def remind(self) -> None:
        """Call it now and then: what works for weeks is asked for nothing, and the login that it has may end."""
        now = self._clock.monotonic()
        if self.in_use is None or now < self._reminded + _REMIND or is_of_demo(self._settings):
            return
        self._reminded = now
        saved = login_of(self._settings)
        if saved is not None and saved.token == self.in_use:
            self._warn(saved)

    def _warn(self, used: "SavedLogin | None") -> None:
        if (text := exposure(self._settings.hub.endpoint)) and self._said.is_news(text, "way"):
            log.warning("%s", text)
        if used is not None and (text := end_of(used, self._clock.time())) and self._said.is_news(text, "end"):
            log.warning("%s", text)


def login_of(settings: Settings) -> "SavedLogin | None":
    """The login that ``modelscope login`` saved for the hub of these settings."""
    from tools.hub.modelscope_sdk import saved_login

    return saved_login(settings.hub.endpoint)


def has_token(settings: Settings) -> bool:
    """Whether there is any token for this hub: a setting, or a saved login."""
    return bool(settings.hub.token) or login_of(settings) is not None


def is_of_demo(settings: Settings) -> bool:
    """A token for the real hub is none of the demo's business."""
    return read_dotenv(settings.paths.log_dir / DEMO_FILE).get("MODELSCOPE_ENDPOINT") == settings.hub.endpoint


def tokens(settings: Settings, saved: "SavedLogin | None") -> list[str | None]:
    """Those that there are, the most likely first; None stands for none at all."""
    if is_of_demo(settings):
        return [settings.hub.token]
    try:
        fresh = read_settings(argparse.Namespace())
        bare = {name: value for name, value in os.environ.items() if name == "ANIMATION_DOTENV"}
        written = read_settings(argparse.Namespace(), bare)
    except ConfigError:
        fresh = written = settings  # it is being edited
    found = [fresh.hub.token, settings.hub.token, written.hub.token, saved and saved.token]
    return [token for token in found if token] or [None]


def end_of(login: "SavedLogin", now: float) -> str:
    """That a saved login ends soon, and what to do; "" if it does not."""
    if login.ends is None or login.ends - now > ENDS_SOON:
        return ""
    days = max(0, int((login.ends - now) // 86400))
    return message(
        f"the saved login ends in {plural(days, 'day')}: run `modelscope login` again, "
        f"or put MODELSCOPE_API_TOKEN into .env, which does not end"
    )


def exposure(endpoint: str) -> str:
    """That a token travels to this hub for everybody on the way to read; "" if it does not."""
    parts = urlsplit(endpoint)
    if parts.scheme != "http" or is_near(endpoint):
        return ""
    host = parts.hostname
    return message(f"the token is sent to {host} over plain http, where anyone on the way can read it: use https")


def is_near(endpoint: str) -> bool:
    """Whether a hub is this machine, or one with a private address. A name that can't be looked up reaches nobody."""
    host = urlsplit(endpoint).hostname or ""
    found = [host]
    with suppress(OSError, UnicodeError):
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None)]
    for one in found:
        try:
            address = ipaddress.ip_address(one.partition("%")[0])
        except ValueError:
            return True
        if not (address.is_private or address.is_loopback or address.is_link_local):
            return False
    return True
