"""Where a token goes, which one is used, and what is said of it."""

import logging
import os
import pickle
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from requests.cookies import RequestsCookieJar

from config import ConfigError, Settings
from tests.fakes import FakeClock
from tests.hub_server import Fault, running_hub
from tools import queue_processor
from tools.core.errors import HubForbidden, HubFull, HubNotFound
from tools.core.folder import Folder
from tools.core.queue_item import new_item
from tools.hub.modelscope_client import ModelScopeHub
from tools.hub.modelscope_sdk import SavedLogin, saved_login
from tools.login import Login, end_of, exposure, has_token
from tools.state.work_queue import QUEUE_FILE, WorkQueue

DAY = 86400.0


def save(home: Path, domain: str, token: str = "t0ken", ends: float | None = None) -> None:
    """As ``modelscope login`` does."""
    jar = RequestsCookieJar()
    jar.set("m_session_id", token, domain=domain, expires=int(time.time() + (30 * DAY if ends is None else ends)))
    (home / "credentials").mkdir(parents=True, exist_ok=True)
    (home / "credentials/cookies").write_bytes(pickle.dumps(jar))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ANIMATION_DOTENV", str(tmp_path / "dotenv"))
    monkeypatch.setenv("LOG_DIR", str(tmp_path / "log"))
    monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
    monkeypatch.delenv("MODELSCOPE_ENDPOINT", raising=False)
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("domain", "endpoint", "is_used"),
    [
        ("modelscope.cn", "https://www.modelscope.cn", True),
        ("www.modelscope.cn", "https://modelscope.cn", True),
        (".modelscope.cn", "https://MODELSCOPE.cn/", True),
        ("127.0.0.1", "http://127.0.0.1:8765", True),
        ("modelscope.cn", "http://192.168.1.7:8765", False),
        ("modelscope.cn", "https://www.modelscope.ai", False),
        ("modelscope.cn", "https://www.modelscope.cn.example.com", False),
        ("modelscope.cn", "https://evil-modelscope.cn", False),
        ("cn", "https://www.modelscope.cn", False),
        ("", "https://www.modelscope.cn", False),
    ],
)
def test_saved_login_is_used_only_for_the_host_that_it_was_made_for(
    domain: str, endpoint: str, is_used: bool, home: Path
) -> None:
    save(home, domain)
    found = saved_login(endpoint)
    assert (found is not None and found.token == "t0ken") is is_used
    assert has_token(Settings.load({**os.environ, "MODELSCOPE_ENDPOINT": endpoint})) is is_used
    hub = ModelScopeHub(endpoint, None, cache_dir=home / "cache")
    assert hub._secret == ("t0ken" if is_used else "") and (hub._sdk._config.token or "") == hub._secret


def test_login_of_another_hub_is_not_sent_and_says_what_to_do(home: Path, tmp_path: Path) -> None:
    save(home, "modelscope.cn")
    with running_hub(tmp_path / "hub") as hub:
        settings = Settings.load({**os.environ, "MODELSCOPE_ENDPOINT": hub.endpoint})
        with pytest.raises(HubForbidden, match="no token"):
            Login(settings, FakeClock()).connect()
        assert hub.requests == []


def test_token_in_use_outlives_the_login_that_it_came_from(home: Path, tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as hub:
        settings = Settings.load({**os.environ, "MODELSCOPE_ENDPOINT": hub.endpoint})
        save(home, "127.0.0.1", hub.token, ends=3 * DAY)
        login, late = Login(settings, FakeClock()), Login(settings, FakeClock())
        late.begin()
        assert login.connect()[1] == "local"
        save(home, "127.0.0.1", hub.token, ends=-5)
        assert saved_login(hub.endpoint) is None, "it has ended"
        assert login.connect()[1] == late.connect()[1] == "local"
        with pytest.raises(HubForbidden):
            Login(settings, FakeClock()).connect()


@pytest.mark.parametrize(
    ("ends", "says"), [(None, ""), (8 * DAY, ""), (6.5 * DAY, "in 6 days"), (3600.0, "in 0 days"), (-DAY, "in 0 days")]
)
def test_end_of_a_saved_login_is_told_from_seven_days_before(ends: float | None, says: str) -> None:
    text = end_of(SavedLogin("t", "h", None if ends is None else 1e9 + ends), 1e9)
    assert says in text and bool(text) is bool(says)


@pytest.mark.parametrize(
    ("endpoint", "is_exposed"),
    [
        ("https://www.modelscope.cn", False),
        ("http://127.0.0.1:1", False),
        ("http://localhost:1", False),
        ("http://192.168.1.2:1", False),
        ("http://[::1]:1", False),
        ("http://[fe80::1]:1", False),
        ("http://no-such-host.invalid", False),
        ("http://8.8.8.8:1", True),
        ("http://[2001:4860:4860::8888]:1", True),
    ],
)
def test_token_over_plain_http_to_a_public_address_is_told(endpoint: str, is_exposed: bool) -> None:
    assert bool(exposure(endpoint)) is is_exposed


def test_what_is_to_be_said_of_a_token_is_said_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tools.login.is_near", lambda endpoint: False)
    with running_hub(tmp_path / "hub") as hub:
        save(home, "127.0.0.1", hub.token, ends=3 * DAY)
        clock = FakeClock(now=time.time())
        login = Login(Settings.load({**os.environ, "MODELSCOPE_ENDPOINT": hub.endpoint}), clock)
        for _ in range(3):
            login.connect()
            login.remind()
        clock.now += 2 * DAY
        login.remind()
        clock.steady += DAY
        login.remind()
    told = [record.getMessage() for record in caplog.records if record.name == "animation.login"]
    assert len(told) == 3 and "plain http" in told[0] and "the saved login ends" in told[1]
    assert "in 2 days" in told[1] and "in 0 days" in told[2], "also of a program that asks for nothing for weeks"
    assert not any(hub.token in text for text in told)


def test_start_says_whose_right_is_missing_where_instead_of_hours_later(home: Path, tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as hub:
        given = {"MODELSCOPE_ENDPOINT": hub.endpoint, "INPUT_REPO": "me/in", "OUTPUT_REPO": "them/out"}
        settings = Settings.load({**os.environ, **given})
        client = ModelScopeHub(hub.endpoint, hub.token, cache_dir=tmp_path)
        with pytest.raises(HubNotFound, match="INPUT_REPO=me/in does not exist"):
            queue_processor._need_repos(settings, client, "me")
        hub.store.create("me/in", 1)
        no_right = "the token of me may not create or write OUTPUT_REPO=them/out"
        hub.faults[:] = [Fault("POST /api/v1/datasets", "status:403")]
        with pytest.raises(HubForbidden, match=no_right):
            queue_processor._need_repos(settings, client, "me")
        queue_processor._need_repos(settings, client, "me")
        assert hub.store.names() == ["me/in", "them/out"]
        hub.faults[:] = [Fault("/objects/batch", "status:403")]
        with pytest.raises(HubForbidden, match=no_right):
            queue_processor._need_repos(settings, client, "me")
        full = '{"Code": 1, "Message": "dataset storage quota exceeded"}'
        hub.faults[:] = [Fault("/objects/batch", "status:400", says=full)]
        with pytest.raises(HubFull, match="free space or ask for more"):
            queue_processor._need_repos(settings, client, "me")
        assert not hub.asked("PUT") and not hub.asked("/commit/")


def test_output_that_was_deleted_after_something_was_published_is_created_again_and_it_is_said(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running_hub(tmp_path / "hub") as hub:
        hub.store.create("me/in", 1)
        given = {"INPUT_REPO": "me/in", "OUTPUT_REPO": "me/out", "FRAMES_REPO": "me/frames"}
        env = {"MODELSCOPE_ENDPOINT": hub.endpoint, "LOG_DIR": str(tmp_path / "log"), **given}
        settings = Settings.load({**os.environ, **env})
        client = ModelScopeHub(hub.endpoint, hub.token, cache_dir=tmp_path)
        told: list[str] = []
        for done in (0, 3):
            with WorkQueue(tmp_path / "log").transaction() as view:
                for name in "AB":
                    item = new_item(Folder(name, "", 3, 3, 9, None, False), 0.0)
                    view.put(replace(item, videos_done=done if name == "A" else 0))
            queue_processor._need_repos(settings, client, "me")
            queue_processor._need_repos(settings, client, "me")
            told += [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
            for name in ("me/out", "me/frames"):
                shutil.rmtree(hub.root / "datasets" / name)
        (said,) = told
        caplog.clear()
        hub.store.create("me/out", 1)
        hub.faults[:] = [Fault("GET /api/v1/datasets/me/out", "status:404", times=10**6)]  # as what a token can't see
        queue_processor._need_repos(settings, client, "me")
        assert not [record.getMessage() for record in caplog.records if "me/out" in record.getMessage()]
        hub.faults.clear()
        (hub.root / "datasets" / "me" / "out").rmdir()
        (tmp_path / "log" / QUEUE_FILE).write_text("[", encoding="utf-8")
        (tmp_path / "log" / f"{QUEUE_FILE}.prev").write_text("[", encoding="utf-8")
        queue_processor._need_repos(settings, client, "me")
        assert [record.levelname for record in caplog.records if "me/out" in record.getMessage()] == ["INFO"]
    assert "OUTPUT_REPO=me/out was gone and is created again, empty, though 1 folder of the queue had videos" in said


def test_right_that_is_missing_for_scene_frames_and_a_name_that_serves_twice_are_said_at_the_start(
    home: Path, tmp_path: Path
) -> None:
    with running_hub(tmp_path / "hub") as hub:
        for repo in ("me/in", "me/out"):
            hub.store.create(repo, 1)
        given = {"MODELSCOPE_ENDPOINT": hub.endpoint, "INPUT_REPO": "me/in", "OUTPUT_REPO": "me/out"}
        settings = Settings.load({**os.environ, **given, "FRAMES_REPO": "them/frames"})
        client = ModelScopeHub(hub.endpoint, hub.token, cache_dir=tmp_path)
        hub.faults[:] = [Fault("POST /api/v1/datasets", "status:403")]
        with pytest.raises(HubForbidden, match="of me may not create or write FRAMES_REPO=them/frames"):
            queue_processor._need_repos(settings, client, "me")
        queue_processor._need_repos(settings, client, "me")
        assert hub.store.names() == ["me/in", "me/out", "them/frames"]
        for name in ("me/in", "me/out"):
            with pytest.raises(ConfigError, match=f"FRAMES_REPO='{name}' is also (IN|OUT)PUT_REPO"):
                Settings.load({**os.environ, **given, "FRAMES_REPO": name})
