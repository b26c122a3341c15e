"""Where messages go: addresses as Apprise has them. No other module knows that library, which need not be installed.

Addresses are secrets: whoever has one can write there. They are in no log line and no exception; one is named by its
number and its kind.
"""

import logging
import re
from collections.abc import Sequence
from urllib.parse import unquote

from tools.core.errors import PipelineError
from tools.runtime import logs

_SHORTEST_SECRET = 8  # characters


class Addresses:
    """Messages go to all of them, one after the other."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Sends and imports nothing."""
        self._urls = list(urls)
        for url in self._urls:
            logs.keep_secret(url, *_secrets_in(url))

    def names(self) -> list[str]:
        """``NUMBER (KIND)`` of each, the number from 1."""
        return [f"{number} ({url.partition(':')[0].lower()})" for number, url in enumerate(self._urls, 1)]

    def send(self, title: str, body: str) -> list[str]:
        """Send to each; returns the names of those that did not take it. Raises PipelineError without the library."""
        try:
            from apprise import Apprise, NotifyFormat
        except ImportError as exc:
            raise PipelineError(
                "NOTIFY_URLS needs Apprise, which is not installed: run `bash start_monitoring.sh --setup-only`"
            ) from exc
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it would say where it sends
        failed = []
        for name, url in zip(self.names(), self._urls, strict=True):
            one = Apprise()
            if not (one.add(url) and one.notify(title=title, body=body, body_format=NotifyFormat.TEXT)):
                failed.append(name)
        return failed


def _secrets_in(url: str) -> list[str]:
    """Parts of an address that must not be shown, whoever logs them; names of hosts are none."""
    rest = url.partition("://")[2]
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].partition(":")[0]
    is_name = re.fullmatch(r"[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,}|\d+(\.\d+){3}", host)
    parts = re.split(r"[/:@?&=,#;]+", rest.replace(host, "", 1) if is_name else rest)
    found = {part for one in parts for part in (one, unquote(one)) if len(part) >= _SHORTEST_SECRET}
    return sorted(found, key=len, reverse=True)
