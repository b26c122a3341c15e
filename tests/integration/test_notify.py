"""Messages to people through the real library, to a real server, by the real programs."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("apprise", reason="requirements-notify.txt is not installed")

from apprise import Apprise

from tests.hub_server import RunningHub, running_hub
from tests.integration.test_operator import items, log_of, once, upload
from tests.patience import until
from tests.programs import environment, run_program, running_program
from tests.unit.test_readme import CHINESE, ENGLISH
from tools.report.addresses import Addresses


@pytest.fixture
def received() -> Iterator[tuple[int, list[tuple[str, dict[str, Any]]]]]:
    """The port of a server, and the paths and contents of what it was sent."""
    seen: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, content))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port, seen
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        (running.root / "datasets" / "me" / "in").mkdir(parents=True)
        yield running


SECRET = "hook0123456789secret"


def test_folders_that_end_are_told_and_no_address_is_shown_anywhere(
    hub: RunningHub, received: tuple[int, list[tuple[str, dict[str, Any]]]], tmp_path: Path
) -> None:
    port, seen = received
    dead = f"json://127.0.0.1:1/{SECRET}"
    urls = f"json://127.0.0.1:{port}/{SECRET} {dead}"
    env = environment(hub, tmp_path, NOTIFY_URLS=urls, NOTIFY_INTERVAL="0.5", UI_LANG="en")
    inbox = hub.root / "datasets" / "me" / "in"
    upload(inbox, "番剧", "1.mp4")
    upload(inbox, "坏", "1.mp4", content=b"no video" * 99)
    until(lambda: len(items(tmp_path)) == 2 or not once(env), lambda: log_of(tmp_path))
    with running_program("queue_processor.py", env=env) as process:
        until(lambda: any("empty" in content["message"] for _, content in seen), lambda: log_of(tmp_path))
        assert SECRET not in Path(f"/proc/{process.pid}/cmdline").read_text()
    told = "\n".join(content["message"] for _, content in seen)
    assert {path for path, _ in seen} == {f"/{SECRET}"}
    assert "completed: 番剧, videos: 1" in told and "failed: 坏: 0 of 1 published, 1 can't be converted" in told
    assert log_of(tmp_path).count("address 2 (json) of NOTIFY_URLS did not take a message") == 1
    seen.clear()
    done = run_program("queue_processor.py", "--notify-test", env=env)
    assert done.returncode == 1 and done.stdout.splitlines()[0].startswith("1 (json): sent")
    assert "2 (json): NOT sent" in done.stdout and len(seen) == 1
    status = run_program("queue_processor.py", "--status", env=env).stdout
    files = [path for path in (tmp_path / "log").rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert SECRET not in status + done.stdout + done.stderr and "2 addresses" in status
    alone = run_program("queue_processor.py", "--notify-test", env=environment(hub, tmp_path))
    assert alone.returncode == 2 and alone.stderr.count("\n") == 1


def examples(path: Path) -> list[str]:
    """The addresses of the guide's table."""
    rows = path.read_text(encoding="utf-8").partition("<!-- addresses -->")[2].partition("<!-- /addresses -->")[0]
    return [cell.strip("` ") for row in rows.splitlines() for cell in row.split("|")[2:3] if "://" in cell]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Apprise imports
def test_every_form_of_an_address_in_the_guides_is_one() -> None:
    assert len(examples(ENGLISH)) >= 8 and examples(ENGLISH) == examples(CHINESE)
    for url in examples(ENGLISH):
        assert Apprise().add(url), url
    assert Addresses(examples(ENGLISH)).names()[0].startswith("1 (")
