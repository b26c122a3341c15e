"""A LOG_DIR copied from elsewhere: whatever its sender put there, the dashboard answers, and nobody else gets in."""

import asyncio
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from starlette.types import Message

from config import ROOT
from tests import scene
from tests.integration.test_dashboard import served
from tests.scene import Scene
from tools.report.paint import json_text, printable
from tools.runtime.files import read_end, read_plain, size_plain
from tools.state import foreign_sqlite
from tools.state.history import HISTORY_FILE
from tools.state.history_reader import History
from tools.state.mirror_file import MIRROR_FILE
from tools.state.results import RESULTS_FILE, Known, ResultRow, ResultsFile, read_known
from tools.web.streams import Streams
from tools.web.token import TOKEN_FILE, kept_token

_PAGES = ("overview", "items", "charts", "log", "status", "folder?name=A", "hours", "videos", "totals")
_READ = (
    *("processing_queue.json", ".processing_queue.json.sum", "progress.json", "monitor_state.json", "orders.json"),
    *("processing.log", ".monitor.pid", ".monitor.lock", MIRROR_FILE, HISTORY_FILE, f"{HISTORY_FILE}-wal"),
    *(RESULTS_FILE, f"{RESULTS_FILE}-journal"),
)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def _deep(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("copied")
    scene.make(top, Scene(folders=6))
    return top


@pytest.mark.parametrize("put", [_pipe, _endless, _huge, _deep])
def test_pipes_devices_and_huge_files_are_not_waited_for(tmp_path: Path, put: Callable[[Path], None]) -> None:
    for name in _READ:
        put(tmp_path / name)
    with served(tmp_path) as address:
        answers = {page: requests.get(f"{address}/api/{page}", timeout=60).status_code for page in _PAGES}
        assert set(answers.values()) <= {200, 503}, answers
        (tmp_path / "processing_queue.json").unlink()
        seen = requests.get(f"{address}/api/overview", timeout=60).json()
        assert seen["counts"]["pending"] == 0 and seen["health"]["level"] == "CRITICAL"


def test_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert (read_plain(tmp_path / "x", 5), read_end(tmp_path / "x", 2)) == (b"12345", b"45")
    for read in (read_plain, size_plain):
        with pytest.raises(OSError, match="more than 4 bytes"):
            read(tmp_path / "x", 4)


_VIEWS = {
    "an endless view": (
        "CREATE VIEW hour AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS hour FROM n"
    ),
    "a computed column": "CREATE TABLE hour (hour, stored AS (zeroblob(1000000000)))",
    "a virtual table": "CREATE VIRTUAL TABLE hour USING fts5(x)",
}


@pytest.mark.parametrize("made", _VIEWS.values(), ids=_VIEWS.keys())
def test_schema_of_a_stranger_is_not_run(tmp_path: Path, made: str) -> None:
    with sqlite3.connect(tmp_path / HISTORY_FILE) as base:
        base.execute(made)
        base.execute("PRAGMA user_version = 1")
    past = History(tmp_path)
    assert past.hours() == [] and re.search("no plain table|computed", str(past.problem)), past.problem


def test_question_that_takes_too_long_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.make(tmp_path, Scene(folders=6))
    monkeypatch.setattr(foreign_sqlite, "_AT_ONCE", 100)
    monkeypatch.setattr(foreign_sqlite, "_STEPS", 300)
    past = History(tmp_path)
    assert past.videos() == [] and "interrupted" in str(past.problem)
    monkeypatch.setattr(foreign_sqlite, "_STEPS", 400_000_000)
    assert past.videos() and past.problem is None
    monkeypatch.setattr(foreign_sqlite, "_ROWS", 3)
    assert past.videos() == [] and "rows" in str(past.problem)


@pytest.mark.parametrize("value", ["'many'", "9e999", "x'00'", "NULL"])
def test_numbers_of_a_stranger_are_numbers(tmp_path: Path, copied: Path, value: str) -> None:
    (tmp_path / HISTORY_FILE).write_bytes((copied / HISTORY_FILE).read_bytes())
    with sqlite3.connect(tmp_path / HISTORY_FILE) as base:
        base.execute("CREATE TABLE other AS SELECT * FROM hour")
        base.execute("DROP TABLE hour")
        base.execute("CREATE TABLE hour AS SELECT * FROM other")
        base.execute(f"UPDATE hour SET stored = {value}")
    with served(tmp_path) as address:
        seen = requests.get(f"{address}/api/charts?span=month", timeout=60)
        assert seen.status_code == 200 and "is none" in seen.json()["problem"]
        assert requests.get(f"{address}/metrics", timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("progress.json", '"folder": "', '"folder": ["A"], "was": "'),
        ("progress.json", '"work": ', '"work": -1, "was": '),
        ("monitor_state.json", '"total_size": ', f'"total_size": {10**400}, "was": '),
    ],
)
def test_pages_of_odd_state_files_are_pages(tmp_path: Path, name: str, old: str, new: str) -> None:
    scene.make(tmp_path, Scene(folders=4))
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))
    with served(tmp_path) as address:
        queue = json.loads((tmp_path / "processing_queue.json").read_text())
        for page in ("overview", "status", *(f"folder?name={quote(item['folder'])}" for item in queue)):
            assert requests.get(f"{address}/api/{page}", timeout=60).status_code in {200, 503}, page


def test_numbers_of_the_queue_are_bounded(tmp_path: Path) -> None:
    item = '{"folder": "A", "total_size": %s, "videos_total": 2, "added_time": "2026-01-01T00:00:00"}'
    (tmp_path / "processing_queue.json").write_text(f"[{item % ('9' * 400)}, {item.replace('A', 'B') % 7}]")
    with served(tmp_path) as address:
        rows = requests.get(f"{address}/api/items", timeout=60).json()["rows"]
        assert [row["folder"] for row in rows] == ["B"]
        assert requests.get(f"{address}/api/overview", timeout=60).json()["left"]["videos"] == 2


def test_index_of_results_is_read_without_being_written(tmp_path: Path) -> None:
    index = ResultsFile(tmp_path, "a b")
    index.put("F", "m", [ResultRow("ab", "cd", "{}", 7.0)])
    index.note_gone("F", ["1.mkv"])
    index.close()
    assert read_known(tmp_path) == Known(1, 7.0, {"F": ["1.mkv"]}, {"F": 1})
    with sqlite3.connect(tmp_path / RESULTS_FILE) as base:
        base.execute("DROP TABLE gone")
        base.execute("CREATE VIEW gone AS SELECT 1, 2")
    before = (tmp_path / RESULTS_FILE).read_bytes()
    assert read_known(tmp_path) == Known() and (tmp_path / RESULTS_FILE).read_bytes() == before
    (tmp_path / RESULTS_FILE).unlink()
    assert read_known(tmp_path) == Known() and not (tmp_path / RESULTS_FILE).exists()


def test_token_that_came_with_a_copy_lets_nobody_in(tmp_path: Path) -> None:
    sender, here = tmp_path / "sender", tmp_path / "here"
    sender.mkdir()
    here.mkdir()
    sent = kept_token(sender)
    assert kept_token(sender) == sent
    (here / TOKEN_FILE).write_bytes((sender / TOKEN_FILE).read_bytes())
    (here / TOKEN_FILE).chmod(0o600)
    made = kept_token(here)
    assert made != sent and len(made) >= 32 and kept_token(here) == made
    assert stat.S_IMODE((here / TOKEN_FILE).stat().st_mode) == 0o600
    for put in (_pipe, _endless):
        (here / TOKEN_FILE).unlink()
        put(here / TOKEN_FILE)
        with pytest.raises(Exception, match="set DASHBOARD_TOKEN"):
            kept_token(here)


def test_burst_of_pages_gets_no_further_than_the_limit() -> None:
    """All at once, before any of them has begun to stream."""
    asked: list[int] = []
    streams = Streams(3)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        pass

    async def ask() -> bool:
        asked.append(1)
        answer = streams.opened(lambda: {}, lambda: len(asked) % 5 == 0)
        if answer is not None:
            scope: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.4"}}
            await answer(scope, receive, send)
        return answer is not None

    async def burst() -> list[bool]:
        return await asyncio.gather(*(ask() for _ in range(5)))

    assert asyncio.run(burst()) == [True] * 3 + [False] * 2
    assert asyncio.run(burst()).count(True) == 3, "those that ended count no more"


def test_pages_of_other_sites_ask_for_nothing(copied: Path) -> None:
    with served(copied) as address:

        def ask(path: str, **headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return requests.get(address + path, headers=named, timeout=60).status_code

        for site, expected in {"cross-site": 403, "same-site": 403, "same-origin": 200, "none": 200}.items():
            assert ask("/api/totals", sec_fetch_site=site, sec_fetch_mode="no-cors") == expected, site
        assert ask("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document") == 200
        assert ask("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="iframe") == 403
        assert ask("/api/totals") == 200


_ODD = "\\ud800 \\u001b[2J \\u202e"
_ITEM = {"folder": "A", "status": "failed", "videos_total": 2, "error": _ODD, "added_time": "2026-01-01T00:00:00"}


def test_texts_of_a_stranger_command_nothing(tmp_path: Path) -> None:
    """Halves of characters, what clears a terminal, and marks that turn the direction of writing."""
    queue = [{**_ITEM, "quarantined": [{"path": _ODD, "cause": _ODD}]}, _ITEM | {"folder": "B", "status": "processing"}]
    job, worker = {"folder": "B", "video": _ODD, "stage": _ODD}, {"name": _ODD, "state": _ODD, "slots": 1}
    told = {"updated": time.time(), "paused": _ODD, "jobs": [job], "workers": [worker], "hub": [{"kind": _ODD}]}
    for name, content in {"processing_queue.json": queue, "progress.json": told}.items():
        (tmp_path / name).write_text(json.dumps(content).replace("\\\\", "\\"))
    with served(tmp_path) as address:
        answers = {page: requests.get(f"{address}/api/{page}", timeout=60) for page in _PAGES}
        assert {page: answer.status_code for page, answer in answers.items()} == dict.fromkeys(_PAGES, 200)
        assert answers["overview"].json()["pause"].count("\u202e") == 1
        assert requests.get(f"{address}/metrics", timeout=60).status_code == 200
    (tmp_path / ".processor.lock").touch()
    with scene.both_running(tmp_path):
        command = [sys.executable, str(ROOT / "tools/queue_processor.py"), "--status"]
        env = {"LOG_DIR": str(tmp_path), "PATH": os.environ["PATH"], "ANIMATION_DOTENV": str(tmp_path / "none")}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count("\\u001b[2J") >= 6 and not re.search("[\x1b\u202e]", done.stdout)


def test_json_commands_no_terminal_and_says_the_same() -> None:
    content = {"番 \033[2J\x9b2J\u202e\u2028": ["\x85\n", 1.5, None]}
    text = json_text(content)
    assert json.loads(text) == content and "番" in text
    assert not [char for char in text if not char.isprintable() and char != "\n"]


def test_own_colours_stay() -> None:
    assert printable("\033[31mred\033[0m \033[2J\n") == "\033[31mred\033[0m \\u001b[2J\n"
