"""What fails on the way through a proxy names it."""

from pathlib import Path

import pytest

from tools.core.errors import HubUnavailable
from tools.hub.modelscope_client import ModelScopeHub
from tools.hub.proxy import by_proxy
from tools.report.checks import check_endpoint
from tools.runtime.language import both


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


def test_proxy_is_named_in_chinese_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    hub = ModelScopeHub("http://hub.invalid", "t", cache_dir=tmp_path)
    said = []
    for ask in (lambda: hub.head("me/in"), hub.whoami):
        with pytest.raises(HubUnavailable) as refused:
            ask()
        said.append(str(refused.value))
    found, _ = check_endpoint("http://hub.invalid", 5.0)
    for text in (*said, found.seen):
        assert "the proxy 127.0.0.1:9" in text and "途经代理 127.0.0.1:9" in both(text), text
