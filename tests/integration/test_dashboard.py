"""The dashboard: what it serves and to whom, over real files and real HTTP, and that nothing depends on it."""

import contextlib
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from config import ROOT, Settings
from tests import scene
from tests.patience import PATIENCE, until
from tests.scene import HOSTILE, Scene
from tests.start_script import Tmux, run_script
from tools.core.past import HourSums
from tools.dashboard import make_app
from tools.state.progress import ProgressFile
from tools.state.work_queue import WorkQueue
from tools.web.charts import HOUR, bars
from tools.web.guard import COOKIE
from tools.web.log_tail import tail

TOKEN = "made-up-for-tests-1234"


@contextlib.contextmanager
def served(log_dir: Path, token: str | None = None) -> Iterator[str]:
    """The address of a dashboard over a LOG_DIR."""
    ends = threading.Event()
    app = make_app(Settings.load({"LOG_DIR": str(log_dir)}), token, {"dash.example"}, ends.is_set)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=3))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "it listens")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        ends.set()
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A busy week, and both programs at work."""
    top = tmp_path_factory.mktemp("log")
    scene.make(top, Scene(hostile=True))
    with scene.both_running(top):
        yield top


@pytest.fixture(scope="module")
def address(log_dir: Path) -> Iterator[str]:
    with served(log_dir) as found:
        yield found


def test_values_are_those_of_status_and_change_with_the_files(log_dir: Path, address: str) -> None:
    seen = requests.get(f"{address}/api/overview", timeout=60).json()
    status = requests.get(f"{address}/api/status", timeout=60).json()
    for job in (*seen["running"], *status["running"]):
        left = job.pop("done") - time.time()
        assert abs(left - job["eta_s"]) < 600 if job["stage"] == "encode" else left > 0
    for name in ("counts", "gain", "paused", "workers", "running", "slots", "version"):
        assert seen[name] == status[name], name
    assert abs(seen["eta"]["queue"]["likely"] - status["eta"]["queue"]["likely"]) < 60
    assert seen["health"]["level"] == status["health"]["level"] == "WARNING"
    assert seen["left"]["folders"] == status["counts"]["pending"] + status["counts"]["processing"]
    folder = seen["failed"][0]["folder"]
    assert seen["failed"][0]["command"] is None or f"--retry {folder[:1]}" in seen["failed"][0]["command"].replace(
        "'", ""
    )
    with requests.get(f"{address}/api/events?lang=zh", stream=True, timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines) == b"event: overview"
        first = json.loads(next(lines).removeprefix(b"data: "))
        assert any(ch >= "\u4e00" for ch in first["health"]["problems"][0]["text"])
        ProgressFile(log_dir, interval=5.0).write(time.time(), "hub down", [])
        told: dict[str, Any] = {}
        while told.get("paused") != "hub down":
            line = next(lines)
            told = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else told
    assert told["running"] == []


def test_queue_is_searched_filtered_sorted_and_cut(address: str) -> None:

    def ask(**values: Any) -> Any:
        return requests.get(f"{address}/api/items", params=values, timeout=60).json()

    whole = ask(limit=1000)
    assert whole["total"] == 200 + len(HOSTILE) and len(whole["rows"]) == 200
    words = [row["status"] for row in whole["rows"]]
    assert words[:2] == ["processing"] * 2 and words[2] == "pending"
    etas = [row["eta"]["likely"] for row in whole["rows"] if row["eta"] and row["status"] == "pending"]
    assert len(etas) > 50 and etas == sorted(etas)
    assert ask(status="held")["total"] == sum(word == "held" for word in words) > 0
    failed = ask(status="failed", sort="size", reverse="1")["rows"]
    sizes = [row["size"] for row in failed]
    assert len(sizes) >= 5 and sizes == sorted(sizes, reverse=True) and all(row["error"] for row in failed)
    assert [row["folder"] for row in ask(text="<SCRIPT>")["rows"]] == [HOSTILE[0]]
    assert ask(offset=204)["rows"] and not ask(offset=10**9)["rows"]
    assert ask(offset="x", limit="-1", sort="nonsense")["total"] == whole["total"]


def test_folder_page_has_each_video_before_and_after_and_why(log_dir: Path, address: str) -> None:
    item = next(one for one in WorkQueue(log_dir).read().items() if one.quarantined and one.videos_done > 2)
    found = requests.get(f"{address}/api/folder", params={"name": item.folder}, timeout=60).json()
    absent = requests.get(f"{address}/api/folder", params={"name": "no/such"}, timeout=60).json()
    done = [one for one in found["videos"] if one["outcome"] == "stored"]
    lost = [one for one in found["videos"] if one["outcome"] != "stored"]
    assert len(done) == item.videos_done and lost[0]["cause"] == item.quarantined[0].cause
    assert {"source_codec", "encoder", "crf", "quality", "kept", "dropped", "fps"} <= done[0].keys()
    assert found["item"]["status"] == "failed" and any("published" in line for line in found["why"])
    assert absent["item"] is None and absent["videos"] == absent["why"] == []


def test_strangers_get_nothing(log_dir: Path) -> None:
    with served(log_dir, TOKEN) as address:

        def ask(path: str, **more: Any) -> requests.Response:
            return requests.get(address + path, timeout=60, allow_redirects=False, **more)

        private = ("/", "/folder", "/log", "/api/overview", "/api/events", "/api/log", "/api/status", "/metrics")
        assert {path: ask(path).status_code for path in private} == dict.fromkeys(private, 401)
        page = ask("/", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login")
        assert ask("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        for wrong in (TOKEN[:-1], TOKEN + "x", "", "\u00e9"):
            assert ask("/metrics", headers={"authorization": f"Bearer {wrong}".encode()}).status_code == 401
            assert requests.post(f"{address}/login", data={"token": wrong}, timeout=60).status_code == 403
        let = requests.post(f"{address}/login", data={"token": TOKEN}, timeout=60, allow_redirects=False)
        assert requests.post(f"{address}/login", data=itertools.repeat(b"x" * 4096, 3), timeout=60).status_code == 413
        cookie = let.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
        assert ask("/", cookies={COOKIE: let.cookies[COOKIE]}).status_code == 200
        assert ask("/", cookies={COOKIE: "0" * 64}).status_code == 401
        known = {"authorization": f"Bearer {TOKEN}"}
        for host, expected in {
            "evil.example": 400, "dash.example:80": 200, "10.1.2.3": 200, "[::1]:1": 200, "localhost": 200, "[": 400,
        }.items():  # fmt: skip
            assert ask("/api/overview", headers=known | {"host": host}).status_code == expected, host
        assert ask("/api/overview", headers=known | {"origin": "http://evil.example"}).status_code == 403
        assert ask("/api/overview", headers=known | {"origin": address}).status_code == 200
        for method in ("post", "put", "delete", "patch"):
            assert requests.request(method, f"{address}/api/overview", headers=known, timeout=60).status_code == 405
        assert ask("/assets/..%2fapp.py", headers=known).status_code == 404
        answer = ask("/login")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_token_is_made_where_others_reach_it_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    def told(*flags: str) -> tuple[str, int]:
        """What it says at its start, and what it answers to somebody without a token."""
        command = [sys.executable, str(ROOT / "tools/dashboard.py"), "--port", "0", *flags]
        environ = {"LOG_DIR": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "en_US.UTF-8", "DASHBOARD_TOKEN": ""}
        environ["ANIMATION_DOTENV"] = str(tmp_path / "none.env")
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            said = "".join(program.stdout.readline() for _ in range(3 if flags else 2))
            port = re.search(r":(\d+)/\n", said)
            assert port, said
            answer = requests.get(f"http://127.0.0.1:{port[1]}/api/overview", timeout=60)
            program.terminate()
            assert program.wait(PATIENCE) == 0
            return said, answer.status_code

    assert told()[1] == 200 and not (tmp_path / "dashboard.token").exists()
    said, status = told("--host", "0.0.0.0")
    path = tmp_path / "dashboard.token"
    token = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and len(token) >= 32
    assert status == 401 and str(path) in said and token not in said
    assert told("--allow-name", "dash.example")[1] == 401, "a proxy on this machine brings others"
    path.chmod(0o644)
    refused = subprocess.run(
        [sys.executable, str(ROOT / "tools/dashboard.py"), "--host", "0.0.0.0", "--port", "0"],
        env={"LOG_DIR": str(tmp_path), "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 1 and "others may read" in refused.stderr and token not in refused.stderr


def test_log_is_cut_by_level_and_text_and_a_traceback_stays_with_its_line(log_dir: Path) -> None:
    errors = tail(log_dir, level="ERROR")
    assert errors[-1].text.splitlines()[1].startswith("Traceback") and errors[-1].text.endswith("</b>")
    assert all(one.level == "ERROR" for one in errors) and len(errors) > 3
    assert len(tail(log_dir, limit=7)) == 7
    assert [one.text for one in tail(log_dir, text="NOT MARKUP")] == [errors[-1].text]


def test_log_that_was_rotated_a_moment_ago_is_read_too(tmp_path: Path) -> None:
    lines = [f"2026-01-01 00:00:{n:02} INFO monitor line {n} " + "x" * 9000 for n in range(20)]
    (tmp_path / "processing.log.1").write_text("\n".join(lines) + "\n")
    (tmp_path / "processing.log").write_text("2026-01-01 00:01:00 WARNING monitor the newest")
    found = tail(tmp_path, limit=1000)
    assert len(found) == 21 and found[-1].text == "the newest" and found[0].text.startswith("line 0 ")


def test_bars_leave_no_time_out_and_lose_nothing() -> None:
    now = 1_760_000_000.0
    first = int(now // HOUR * HOUR)
    hours = [HourSums(hour=first - n * HOUR, stored=1, failed=1, bytes_in=10, bytes_out=4) for n in range(24)]
    for span, total in (("day", 24), ("week", 24), ("year", 24)):
        made: Any = bars(hours, span, now)
        begins = [bar["begin"] for bar in made["bars"]]
        assert {b - a for a, b in itertools.pairwise(begins)} == {made["width"]}
        assert sum(bar["stored"] for bar in made["bars"]) == total


def test_copied_folder_without_rights_is_shown_and_damage_is_told(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    scene.make(copy, Scene(folders=20))
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with served(copy) as address:
        seen = requests.get(f"{address}/api/overview", timeout=60).json()
        assert seen["health"]["level"] == "CRITICAL" and seen["running"] == [] and seen["gain"]["videos"] > 0
        assert requests.get(f"{address}/api/charts?span=month", timeout=60).json()["bars"]
        for path in ("/api/items", "/api/log", "/api/folder?name=x"):
            assert requests.get(address + path, timeout=60).status_code == 200
        assert {path: path.read_bytes() for path in before} == before
        (copy / "processing_queue.json").write_text("[{")
        assert requests.get(f"{address}/api/overview", timeout=60).status_code == 503
        shutil.rmtree(copy)
        assert requests.get(f"{address}/api/overview", timeout=60).json()["counts"]["pending"] == 0


def test_assets_name_no_other_place_and_hold_no_inline_code() -> None:
    for path in (ROOT / "tools/web/assets").iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text and "//cdn" not in text, path
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "document.write" not in text, path
        if path.suffix == ".html":
            assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", text), path


@pytest.mark.another_user
def test_window_of_its_own_whose_end_costs_nothing(environ: dict[str, str], tmux: Tmux, tmp_path: Path) -> None:
    env = environ | {"TMUX_SOCKET": tmux.socket, "TMUX_SESSION": "tested", "LANG": "en_US.UTF-8", "DASHBOARD_PORT": "0"}
    try:
        first = run_script(env, "--dashboard")
        assert first.returncode == 0, first.stderr
        assert "dashboard" in tmux("list-windows", "-t", "=tested", "-F", "#{window_name}").split()
        assert "  dashboard " in first.stdout
        tmux("kill-window", "-t", "=tested:=dashboard")
        again = run_script(env, "--dashboard")
        assert again.returncode == 0 and "already running" in again.stdout
        names = tmux("list-windows", "-t", "=tested", "-F", "#{window_name}").split()
        assert sorted(names) == ["dashboard", "monitor", "processor"]
        assert "monitor" in run_script(env, "--dashboard").stdout
        assert tmux("list-windows", "-t", "=tested", "-F", "#{window_name}").split().count("dashboard") == 1
    finally:
        tmux("kill-session", "-t", "=tested")
