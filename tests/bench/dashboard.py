"""The dashboard over a long queue: how soon its first page is seen, how soon a change, and what it holds in memory."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests import scene
from tests.bench.measure import ROOT
from tests.bench.table import Row, at_most
from tests.scene import Scene
from tools.state.work_queue import WorkQueue

_REPEATS = 5
_ITEMS = 10_000


def run() -> list[Row]:
    """Without a browser there are no rows."""
    browser = shutil.which("chromium")
    if browser is None:
        print("dashboard: no chromium here, nothing is measured", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as top:
        log_dir = Path(top)
        scene.make(log_dir, Scene(folders=_ITEMS))
        with scene.both_running(log_dir):
            return _measured(log_dir, browser)


def _measured(log_dir: Path, browser: str) -> list[Row]:
    from playwright.sync_api import sync_playwright

    command = [sys.executable, str(ROOT / "tools/dashboard.py"), "--port", "0"]
    environ = {"PATH": os.environ["PATH"], "LOG_DIR": str(log_dir), "ANIMATION_DOTENV": str(log_dir / "none")}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        address = re.search(r"http://\S+/(?=\n)", program.stdout.readline())
        assert address
        try:
            with sync_playwright() as driver:
                started = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
                views, changes = [], []
                for _ in range(_REPEATS):
                    page = started.new_page()
                    began = time.perf_counter()
                    page.goto(address[0], wait_until="commit")
                    page.wait_for_selector(".queue tbody tr")
                    page.wait_for_selector(".done .big")
                    views.append(time.perf_counter() - began)
                    changes.append(_change(log_dir, page))
                    page.close()
                started.close()
            memory = int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{program.pid}/status").read_text())[0]) / 1e3
        finally:
            program.terminate()
    data = f"{_ITEMS:,} items"
    return [
        at_most("dashboard: first page seen, in a browser", data, views, 1.0, "s"),
        at_most("dashboard: a change of the queue seen", data, changes, 2.0, "s"),
        at_most("dashboard: peak memory", data, [memory], 150, "MB"),
    ]


def _change(log_dir: Path, page: "object") -> float:
    """s from a change of the queue until the page shows it."""
    queue = WorkQueue(log_dir)
    items = queue.read().items()
    number = sum(item.held for item in items) + 1
    item = next(one for one in items if one.status.value == "pending" and not one.held)
    with queue.transaction() as view:
        view.put(replace(item, held=True))
    began = time.perf_counter()
    shown = f"[...document.querySelectorAll('.chips button')].some((b) => b.textContent === 'held {number}')"
    while not page.evaluate(shown):  # type: ignore[attr-defined]
        time.sleep(0.02)
    return time.perf_counter() - began
