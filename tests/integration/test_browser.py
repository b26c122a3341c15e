"""The dashboard in a real browser: what a person sees, with names that a stranger chose.

``PICTURES=1`` makes the screenshots of ``docs/images`` as well. Without Debian's ``chromium`` this is skipped.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from config import ROOT
from tests import scene
from tests.integration.test_dashboard import served
from tests.patience import until
from tests.scene import HOSTILE, Scene
from tools.core.past import VideoLine
from tools.state.history import HistoryWriter
from tools.state.work_queue import WorkQueue

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="pip install -r requirements-dev.txt brings the browser's driver"
)
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium here: apt install chromium")
_AS_IN_BROWSERS = "!'()*~-_."  # what encodeURIComponent leaves as it is
_WAIT = 120_000  # ms; on a busy machine a browser may get no time for long
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"], timeout=120_000)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    top = tmp_path_factory.mktemp("log")
    scene.make(top, Scene(hostile=True))
    with scene.both_running(top), served(top) as found:
        yield found, top


class Visit:
    """A page of its own, and what its console said."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": DESK, "reduced_motion": "reduce", **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(_WAIT)
        self.said: list[str] = []
        self.page.on("console", self._told)
        self.page.on("pageerror", lambda one: self.said.append(str(one)))
        self.page.on("requestfailed", self._failed)
        self.page.goto(url)

    def _failed(self, one: Any) -> None:
        """Chromium's name for what the page itself gave up: a list that another one replaced, events at its end."""
        if one.failure != "net::ERR_ABORTED":
            self.said.append(f"failed: {one.url}: {one.failure}")

    def _told(self, one: Any) -> None:
        if one.type in {"error", "warning"}:
            self.said.append(one.text)

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.said == []

    def waits_for(self, selector: str) -> Any:
        return self.page.wait_for_selector(selector)

    def ends(self, *parts: str) -> list[float]:
        """Where the first of each ends, in pixels from the top, all at one moment: what changes is made anew."""
        asked = f"{json.dumps(parts)}.map((part) => document.querySelector(part).getBoundingClientRect().bottom)"
        return list(self.page.evaluate(asked))

    def waits_for_jobs(self, top: Path) -> None:
        """Of a processor that tells of them, however long the page took: what is old is not believed."""

        def shown() -> bool:
            _freshen(top)
            return bool(self.page.evaluate("document.querySelector('.job progress') !== null"))

        until(shown, "what runs")

    def until(self, expression: str) -> None:
        """Wait for what is true in the page. Its policy lets nobody evaluate a text there but the debugger."""
        until(lambda: bool(self.page.evaluate(expression)), expression)


def serious(page: Any) -> list[tuple[str, str]]:
    """What axe-core finds that is serious or worse. It is put in by the debugger, which no policy of the page binds."""
    from axe_playwright_python.base import AXE_FILE_PATH

    page.evaluate(Path(AXE_FILE_PATH).read_text(encoding="utf-8") + "; undefined")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
    ]


def test_five_questions_are_answered_without_a_click_or_a_scroll(browser: Any, address: tuple[str, Path]) -> None:
    url, top = address
    for colours in ("light", "dark"):
        _freshen(top)
        with Visit(browser, url, color_scheme=colours) as visit:
            visit.waits_for(".queue tbody tr")
            visit.waits_for(".charts svg")
            visit.waits_for_jobs(top)
            ends = visit.ends(".banner", ".job progress", ".done .big", ".needs code", ".gained .big")
            assert max(ends) <= DESK["height"], ends
            assert "Warning" in visit.page.inner_text(".banner")
            assert "≈" in visit.page.inner_text(".done") and "GiB" in visit.page.inner_text(".gained")
            assert "--retry" in visit.page.inner_text(".needs")
            visit.waits_for_jobs(top)
            _picture(visit.page, f"dashboard-{colours}.png")
            assert serious(visit.page) == []


def test_phone_has_them_in_order_and_chinese_by_its_language(browser: Any, address: tuple[str, Path]) -> None:
    url, top = address
    _freshen(top)
    with Visit(browser, url, viewport=PHONE, is_mobile=True, has_touch=True) as visit:
        visit.waits_for(".queue tbody tr")
        visit.waits_for_jobs(top)
        ends = visit.ends(".banner", ".job progress", ".done .big", ".gained .big", ".needs .cause")
        assert ends == sorted(ends) and ends[-1] <= PHONE["height"]
        wide = visit.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE["width"]
        visit.waits_for_jobs(top)
        _picture(visit.page, "dashboard-phone.png")
        assert serious(visit.page) == []
    _freshen(top)
    with Visit(browser, url, locale="zh-CN") as visit:
        visit.waits_for(".queue tbody tr")
        visit.waits_for(".charts svg")
        visit.waits_for_jobs(top)
        assert visit.page.get_attribute("html", "lang") == "zh-CN"
        assert "警告" in visit.page.inner_text(".banner") and "正在运行" in visit.page.inner_text(".running")
        assert "个项目失败" in visit.page.inner_text(".banner")
        assert "{" not in visit.page.inner_text("main")
        visit.waits_for_jobs(top)
        _picture(visit.page, "dashboard-zh.png")
        visit.page.select_option("#language", "en")
        visit.waits_for("html[lang=en] .queue tbody tr")
        assert "Running now" in visit.page.inner_text(".running")
        visit.page.reload()
        visit.waits_for("html[lang=en]")


def test_what_this_run_saved_shows_by_itself_as_status_says_it(browser: Any, tmp_path: Path) -> None:
    scene.make(tmp_path, Scene(folders=8))
    with scene.both_running(tmp_path), served(tmp_path) as url:
        with Visit(browser, url) as visit:
            visit.waits_for(".gained .big")
            assert "this run" not in visit.page.inner_text(".gained")  # nothing was stored since the start
            _store(tmp_path, 4 * 2**20, 2**20)
            visit.until("document.querySelector('.gained').innerText.includes('this run')")
            shown = visit.page.inner_text(".gained").splitlines()
            assert "Saved in this run: 3.0 MiB (75%) of 4.0 MiB in 1 video" in shown
        _store(tmp_path, 2**20, 8 * 2**20)
        with Visit(browser, url, viewport=PHONE, locale="zh-CN", is_mobile=True, has_touch=True) as visit:
            visit.waits_for(".gained .big")
            shown = visit.page.inner_text(".gained").splitlines()
            assert "本次运行变大：4.0 MiB（80%），原为 5.0 MiB，共 2 个视频" in shown
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
            assert visit.page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('.gained'))")


def _store(top: Path, bytes_in: int, bytes_out: int) -> None:
    """As a processor does that stored a video just now."""
    writer = HistoryWriter(top)
    line = VideoLine(ended=time.time(), folder="A", video=f"{bytes_in}.mp4", outcome="stored")
    writer.add(replace(line, bytes_in=bytes_in, bytes_out=bytes_out))
    writer.close(60)


def test_names_of_strangers_are_text_and_nothing_else(browser: Any, address: tuple[str, Path]) -> None:
    url, _ = address
    with Visit(browser, url) as visit:
        visit.waits_for(".queue tbody tr")
        for name in HOSTILE:
            visit.page.fill(".queue input", name[:20])
            place = f"/folder?name={quote(name, safe=_AS_IN_BROWSERS)}"
            visit.until(f"document.querySelector('.queue tbody a')?.getAttribute('href') === {json.dumps(place)}")
            shown = visit.page.inner_text(".queue tbody td.folder a")
            assert shown.replace("U+202E", "\u202e").replace("U+2066", "\u2066").replace("U+2069", "\u2069") == name
        assert visit.page.title() == "Animation AV1"
        wide = visit.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= DESK["width"]
    with Visit(browser, f"{url}/folder?name={quote(HOSTILE[0])}") as visit:
        visit.waits_for(".videos tbody tr, .needs")
        assert HOSTILE[0] in visit.page.inner_text("h1")
        assert visit.page.evaluate("document.querySelectorAll('main script, main img').length") == 0
        assert serious(visit.page) == []


def test_change_shows_by_itself_and_the_keyboard_is_enough(browser: Any, address: tuple[str, Path]) -> None:
    url, top = address
    _freshen(top)
    with Visit(browser, url) as visit:
        page = visit.page
        visit.waits_for(".queue tbody tr")
        visit.waits_for_jobs(top)
        page.focus(".job a")
        held = page.evaluate("document.activeElement.dataset.key")
        items = [one for one in WorkQueue(top).read().items() if one.status.value == "pending"]
        item, number = next(one for one in items if not one.held), sum(one.held for one in items) + 1
        with WorkQueue(top).transaction() as view:
            view.put(replace(item, held=True))
        scene.tell(top, _running(top), Scene(), time.time(), percent=77)
        visit.until("document.querySelector('.job .numbers').textContent.startsWith('77%')")
        assert page.evaluate("document.activeElement.dataset.key") == held
        visit.until(f"[...document.querySelectorAll('.chips button')].some((b) => b.textContent === 'held {number}')")
        page.focus(".chips [data-key='status failed']")
        page.keyboard.press("Enter")
        visit.until("[...document.querySelectorAll('.queue tbody .status')].every((s) => s.textContent === 'failed')")
        assert page.evaluate("document.activeElement.dataset.key") == "status failed"
        page.focus(".queue thead [data-key='sort size']")
        page.keyboard.press("Enter")
        visit.waits_for("th[aria-sort=descending]")
        page.keyboard.press("Enter")
        visit.waits_for("th[aria-sort=ascending]")
        page.focus(".queue tbody a")
        page.keyboard.press("Enter")
        visit.waits_for(".videos tbody tr")
        _picture(page, "dashboard-folder.png")
        page.goto(url + "/log")
        visit.waits_for("ol.log li.ERROR")
        page.select_option("main select", "ERROR")
        visit.until("document.querySelectorAll('ol.log li:not(.ERROR)').length === 0")
        assert serious(page) == []


def test_token_is_typed_once(browser: Any, tmp_path: Path) -> None:
    scene.make(tmp_path, Scene(folders=8))
    with served(tmp_path, "made-up-for-tests-1234") as url, Visit(browser, url) as visit:
        visit.waits_for("#token")
        assert serious(visit.page) == []
        visit.page.fill("#token", "made-up-for-tests-1234")
        visit.page.keyboard.press("Enter")
        visit.waits_for(".queue tbody tr")
        visit.page.goto(url + "/log")
        visit.waits_for("ol.log li")


def _running(top: Path) -> list[Any]:
    return [item for item in WorkQueue(top).read().items() if item.status.value == "processing"]


def _freshen(top: Path) -> None:
    """As a processor at work does, so that what runs is believed."""
    scene.tell(top, _running(top), Scene(), time.time())


def _picture(page: Any, name: str) -> None:
    if os.environ.get("PICTURES"):
        folder = ROOT / "docs/images"
        folder.mkdir(exist_ok=True)
        page.screenshot(path=folder / name)
        shrunk(folder / name)


def shrunk(path: Path) -> None:
    """To 256 colours, which is a third of the size; as it is where there is no Pillow."""
    with contextlib.suppress(ImportError):
        from PIL import Image

        with Image.open(path) as picture:
            picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
