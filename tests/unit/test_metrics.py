"""Metrics: every fact has its name, the panels of Grafana ask for names that exist, and nobody else may read them."""

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from config import ROOT, Settings
from tests.patience import until
from tools.core.past import PollLine, VideoLine
from tools.core.queue_item import QueueItem, Status, local_time
from tools.dashboard import make_app
from tools.state.history import Deferral, HistoryWriter, Line
from tools.state.progress import JobProgress, ProgressFile, WorkerState
from tools.state.work_queue import WorkQueue


@contextlib.contextmanager
def served(log_dir: Path) -> Iterator[str]:
    """The address of a dashboard over a little of everything."""
    now = time.time()
    item = QueueItem(
        folder="番剧 <script>", hash="h", file_count=2, total_size=2000, added_time=local_time(now),
        status=Status.PROCESSING, videos_total=2,
    )  # fmt: skip
    with WorkQueue(log_dir).transaction() as view:
        view.put(item)
    job = JobProgress(folder=item.folder, video="1.mp4", stage="encode")
    worker = WorkerState(name="w", address="x", slots=3, state="ready")
    ProgressFile(log_dir).write(now, "hub down", [job], [worker])
    writer = HistoryWriter(log_dir)
    stored = VideoLine(
        ended=now, folder=item.folder, video="1.mp4", outcome="stored", bytes_in=1000, bytes_out=400, frames=50,
        duration_s=2.0, seconds={"encode": 5.0}, quality={"vmaf": 95.0},
    )  # fmt: skip
    polls = [PollLine(time=now, answered=answered) for answered in (False, True, True)]
    lines: list[Line] = [stored, Deferral(now, "disk_full", {}), *polls]
    for line in lines:
        writer.add(line)
    writer.close(30)
    app = make_app(Settings.load({"LOG_DIR": str(log_dir)}))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_every_fact_has_its_metric_and_every_panel_its_facts(tmp_path: Path) -> None:
    with served(tmp_path) as address:
        answer = requests.get(f"{address}/metrics", timeout=60)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [one for family in text_string_to_metric_families(answer.text) for one in family.samples]
    values = {(one.name, *one.labels.values()): one.value for one in samples}
    expected = {
        ("animation_items", "processing"): 1,
        ("animation_running_videos", "encode"): 1,
        ("animation_attempts_total", "stored"): 1,
        ("animation_source_bytes_total",): 1000,
        ("animation_result_bytes_total",): 400,
        ("animation_stage_seconds_total", "encode"): 5,
        ("animation_failures_total", "deferred", "disk_full"): 1,
        ("animation_polls_total", "failed"): 1,
        ("animation_polls_total", "answered"): 2,
        ("animation_paused",): 1,
        ("animation_workers", "ready"): 1,
        ("animation_slots",): 3,
        ("animation_quality", "vmaf"): 95,
        ("animation_up", "monitor"): 0,
    }
    assert {key: values.get(key) for key in expected} == expected
    assert values["animation_eta_timestamp_seconds", "likely"] > time.time()
    assert any(key[0] == "animation_free_bytes" and value > 1e6 for key, value in values.items())
    names = {key[0] for key in values} | set(re.findall(r"^# TYPE (\S+)", answer.text, re.MULTILINE))
    grafana = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in grafana["panels"]}
    unknown = {
        (title, name)
        for title, queries in asked.items()
        for query in queries
        for name in re.findall(r"animation_\w+", query)
        if name not in names
    }
    assert len(asked) > 10 and unknown == set()
    shown = {name for queries in asked.values() for query in queries for name in re.findall(r"animation_\w+", query)}
    assert sorted(names - shown - {name.removesuffix("_total") for name in shown}) == []


def test_history_and_status_are_read_by_whoever_asks_here_and_by_nobody_else(tmp_path: Path) -> None:
    def ask(path: str, **more: Any) -> Any:
        return requests.get(address + path, timeout=60, **more)

    with served(tmp_path) as address:
        assert ask("/api/status").json()["items"][0]["folder"] == "番剧 <script>"
        (video,) = ask("/api/videos", params={"folder": "番剧 <script>", "limit": "x"}).json()
        assert (video["video"], video["bytes_out"]) == ("1.mp4", 400)
        assert ask("/api/hours").json()[0]["stored"] == ask("/api/totals").json()["stored"] == 1
        assert ask("/metrics", headers={"host": "evil.example"}).status_code == 400
        assert requests.post(f"{address}/api/status", timeout=60).status_code == 405
        (tmp_path / "processing_queue.json").write_text("[{")
        assert ask("/api/status").status_code == 503
