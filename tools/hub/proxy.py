"""Which proxy stands between this machine and the hub: what fails there looks like the hub's own trouble."""

import urllib.request
from urllib.parse import urlsplit


def by_proxy(url: str) -> str:
    """For a message: the proxy that requests to ``url`` go through by the environment, without its password; "" if
    none does."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass_environment(host, proxies):  # type: ignore[attr-defined]
        return ""
    at = proxy.rpartition("@")[2].rpartition("//")[2].partition("/")[0]  # a password may have any character
    return f"; the way there is the proxy {at}, set by {parts.scheme}_proxy or all_proxy"
