"""What fails on the way through a proxy names it."""

import pytest

from tools.hub.proxy import by_proxy


@pytest.mark.parametrize(
    ("environment", "url", "named"),
    [
        ({}, "https://www.modelscope.cn", ""),
        ({"https_proxy": "http://me:secret@proxy.lan:3128"}, "https://www.modelscope.cn", "proxy.lan:3128"),
        ({"https_proxy": "http://me:se/secret@proxy.lan:3128"}, "https://www.modelscope.cn", "proxy.lan:3128"),
        ({"https_proxy": "http://me:se#secret?a//b@proxy.lan:3128/x"}, "https://www.modelscope.cn", "proxy.lan:3128,"),
        ({"https_proxy": "me:secret@secret@proxy.lan:3128"}, "https://www.modelscope.cn", "proxy proxy.lan:3128"),
        ({"https_proxy": "proxy.lan:3128"}, "https://www.modelscope.cn", "proxy.lan:3128"),
        ({"all_proxy": "socks5://10.0.0.1:1080"}, "http://hub.lan:8765", "10.0.0.1:1080"),
        ({"https_proxy": "http://proxy.lan:3128"}, "http://127.0.0.1:8765", ""),
        ({"http_proxy": "http://proxy.lan:3128", "no_proxy": "127.0.0.1"}, "http://127.0.0.1:8765", ""),
    ],
)
def test_proxy_of_the_environment_is_named_without_its_password(
    environment: dict[str, str], url: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said = by_proxy(url)
    assert named in said and bool(said) is bool(named) and "secret" not in said
