"""A poll of a repo of a million files: without news, and after a commit; beside the SDK's own listing."""

import json
import logging
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

from config import Settings
from tests.bench.measure import in_process, serving
from tests.bench.table import Row, at_least, at_most, ratio

FILES, FOLDERS = 1_000_000, 10_000
_REPEATS = 3
_DELAY = 0.1  # s added to each request
_SERVER = "tests.bench.listing_server"


def polls(endpoint: str, more: int) -> dict[str, Any]:
    """CPU s and requests of the first poll, and of each of ``more`` polls without a new commit."""
    from tools.modelscope_monitor import ModelScopeMonitor

    with tempfile.TemporaryDirectory() as top:
        given = {"MODELSCOPE_ENDPOINT": endpoint, "MODELSCOPE_API_TOKEN": "made-up", "LOG_DIR": f"{top}/log"}
        settings = Settings.load({**given, "WORK_DIR": f"{top}/work", "INPUT_REPO": "me/in", "OUTPUT_REPO": "me/out"})
        monitor = ModelScopeMonitor(settings)
        found: dict[str, Any] = {"cpu": [], "wall": [], "requests": []}
        for _ in range(1 + more):
            cpu, wall = time.process_time(), time.perf_counter()
            monitor.check()
            found["cpu"].append(time.process_time() - cpu)
            found["wall"].append(time.perf_counter() - wall)
            with urllib.request.urlopen(f"{endpoint}/asked") as answer:
                found["requests"].append(json.load(answer)["requests"])
        return found


def by_sdk(endpoint: str) -> int:
    """The SDK's own way; returns the number of files."""
    from modelscope_hub import HubApi

    logging.getLogger("modelscope_hub").setLevel(logging.ERROR)  # it tells of every page
    with tempfile.TemporaryDirectory() as top:
        Path(top).mkdir(exist_ok=True)
        return len(HubApi(endpoint=endpoint, token="made-up").list_repo_files("me/in", "dataset"))


def run() -> list[Row]:
    """The SDK asks for 200 entries one page after the other, whatever the server gives: one run of it serves both.

    It takes ten minutes of waiting for answers, so it is not repeated; ours is.
    """
    data = f"{FILES:,} files in {FOLDERS:,} folders"
    rows = []
    with _hub(3000, 0.0) as hub:
        used = in_process(polls, hub, 8)
    quiet, pages = used.value["cpu"][2:], -(-(FILES + FOLDERS) // 3000)
    rows.append(at_most("poll without a new commit: CPU", data, [1000 * s for s in quiet], 50, "ms"))
    rows.append(at_most("poll without a new commit: requests", data, used.value["requests"][2:], 2, "requests"))
    asked = used.value["requests"][0]
    shown = f"{asked} requests for {pages} pages of 3000"
    rows.append(at_most("poll after a commit: requests beyond its pages", data, [asked - pages], 2, "", shown))
    rows.append(at_most("poll after a commit: peak memory of the monitor", data, [used.peak / 1e6], 150, "MB"))
    with _hub(3000, _DELAY) as hub:
        large = [in_process(polls, hub, 0) for _ in range(_REPEATS)]
    with _hub(200, _DELAY) as hub:
        small = [in_process(polls, hub, 0) for _ in range(_REPEATS)]
        sdk = in_process(by_sdk, hub)
    for ours, size, times in ((large, 3000, 20), (small, 200, 8)):
        took = [used.value["wall"][0] for used in ours]
        shown = ratio(sdk.wall / median(took), (sdk.wall, median(took)), "s", (1, 1))
        what = f"poll after a commit, 100 ms per request, pages of {size}: faster than list_repo_files"
        rows.append(at_least(what, data, [sdk.wall / one for one in took], times, "×", shown))
    peaks = [used.peak for used in large]
    shown = ratio(sdk.peak / median(peaks), (sdk.peak / 1e6, median(peaks) / 1e6), "MB", (1, 0))
    rows.append(at_least("the same: less memory", data, [sdk.peak / peak for peak in peaks], 8, "×", shown))
    return rows


class _hub:
    """The made-up hub on a port of its own."""

    def __init__(self, page: int, delay: float) -> None:
        arguments = ("--files", str(FILES), "--folders", str(FOLDERS), "--page", str(page), "--delay", str(delay))
        self._serving = serving(_SERVER, *arguments)

    def __enter__(self) -> str:
        return f"http://127.0.0.1:{self._serving.__enter__()}"

    def __exit__(self, *_: object) -> None:
        self._serving.__exit__(None, None, None)
