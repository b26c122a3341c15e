"""Estimates: none without a history, right where folders are equal, a range that holds the truth, hours and pauses."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench import eta as bench
from tools.core.eta import Eta, Rest, Sample, UnderWay, forecast, learn, left_of
from tools.core.past import VideoLine
from tools.core.queue_item import QueueItem, Status
from tools.report.outlook import outlook, paused_share
from tools.state.history import HistoryWriter, Line, PauseBegan, PauseEnded
from tools.state.history_reader import History
from tools.state.orders import BY_HAND
from tools.state.work_queue import Waiting

NOW = 1_767_268_800.0
PLACES = {"download": 4, "encode": 1, "verify": 1, "upload": 4}
EQUAL = [Sample("A", 1000, {"encode": 100.0, "upload": 4.0})] * 8


def test_without_a_video_done_nothing_is_known() -> None:
    assert learn([], PLACES) is None
    assert forecast(None, NOW, [], [Rest("A", 1, 1)], wanted=["A"]).queue is None


def test_equal_videos_take_what_they_took_in_their_order_and_beside_each_other() -> None:
    rests = [Rest("A", 2, 2000), Rest("B", 3, 3000)]
    found = forecast(learn(EQUAL, PLACES), NOW, [], rests, wanted=["A", "B"])
    assert found.queue == found.folders["B"]
    assert found.folders["A"].likely - NOW == pytest.approx(204, abs=1)
    assert found.folders["B"].likely - NOW == pytest.approx(504, abs=1)
    assert found.folders["B"].earliest < found.folders["B"].likely < found.folders["B"].latest
    both = forecast(learn(EQUAL, PLACES | {"encode": 2}), NOW, [], rests).queue
    assert both is not None and 250 < both.likely - NOW < 300


def test_folder_whose_videos_were_dear_stays_dear() -> None:
    dear = [Sample("D", 1000, {"encode": 300.0})] * 6
    costs = learn([*EQUAL, *dear], PLACES)
    assert costs is not None
    cheap, own = (costs.of(Rest(folder, 1, 1000))[0] for folder in ("A", "D"))
    assert cheap == pytest.approx(100, rel=0.1) and own == pytest.approx(300, rel=0.1)


def test_stage_that_holds_the_others_up_is_what_counts() -> None:
    slow = [Sample("A", 1000, {"encode": 10.0, "upload": 400.0})] * 8
    found = forecast(learn(slow, PLACES), NOW, [], [Rest("A", 40, 40_000)]).queue
    assert found is not None and found.likely - NOW == pytest.approx(40 * 400 / 4 + 10, rel=0.1)


def test_what_runs_counts_with_what_is_left_of_it() -> None:
    costs = learn(EQUAL, PLACES)
    half = forecast(costs, NOW, [UnderWay("A", 1000, "encode", 50.0)], [], wanted=["A"])
    assert half.queue is not None and half.queue.likely - NOW == pytest.approx(54, abs=1)
    assert half.folders["A"] == half.queue
    uploads = forecast(costs, NOW, [UnderWay("A", 1000, "upload", 50.0)], []).queue
    assert uploads is not None and uploads.likely - NOW < 10
    nothing = forecast(costs, NOW, [], []).queue
    assert nothing == Eta(NOW, NOW, NOW)


def test_probe_tells_what_bytes_do_not() -> None:
    """Of a folder of which nothing is done, by a video that runs and has shown no pace yet."""
    known = [Sample(f"K{n}", 1000, {"encode": 100.0, "upload": 4.0}, 1e9) for n in range(9)]
    costs = learn(known, PLACES)
    assert costs is not None
    rests = [Rest("N", 9, 9000)]

    def seconds(work: float | None) -> float:
        found = forecast(costs, NOW, [UnderWay("N", None, "encode", 0.0, None, work)], rests).queue
        assert found is not None
        return found.likely - NOW

    assert seconds(None) == pytest.approx(1004, rel=0.01) and seconds(1e9) == pytest.approx(1004, rel=0.01)
    assert left_of(UnderWay("N", None, "encode", 0.0, None, 4e9), costs) == pytest.approx(400, rel=0.01)
    assert 1400 < seconds(4e9) < 4000, "others of the folder are as dear, as far as one can be believed"
    sure = learn([*known, *[Sample("N", 1000, {"encode": 100.0}, 1e9)] * 50], PLACES)
    found = forecast(sure, NOW, [UnderWay("N", None, "encode", 0.0, None, 4e9)], rests).queue
    assert found is not None and found.likely - NOW < 1400, "one that is longer says little against fifty"


def test_each_running_video_is_done_after_its_own_stages_and_its_wait_for_a_place() -> None:
    costs = learn([Sample("A", 1000, {"download": 10.0, "encode": 100.0, "verify": 6.0, "upload": 4.0})] * 9, PLACES)
    jobs = [
        UnderWay("A", None, "encode", 50.0, 40.0),
        UnderWay("A", None, "waiting", work=1e9),
        UnderWay("A", None, "download", 50.0),
        UnderWay("A", None, "verify", 50.0),
        UnderWay("A", None, "upload", 25.0, 9.0),
    ]
    found = [round(when - NOW) for when in forecast(costs, NOW, jobs, []).videos]
    assert found == [50, 150, 250, 7, 9]
    both = replace(costs, places=2) if costs is not None else None
    found = [round(when - NOW) for when in forecast(both, NOW, jobs[:2], []).videos]
    assert found == [50, 110], "what was probed is here: it is not downloaded again"
    alone = forecast(costs, NOW, jobs[:1], []).queue
    assert alone is not None and alone.earliest < alone.likely < alone.latest


@pytest.mark.parametrize(
    ("kind", "share", "most"), [("equal folders", 0.1, 0.1), ("equal folders", 0.5, 0.1), ("mixed folders", 0.5, 0.35)]
)
def test_range_holds_the_truth_and_the_middle_is_near_it(kind: str, share: float, most: float) -> None:
    """On a few of the bench's queues, which are the same each time."""
    found = bench.errors(kind, list(bench.ESTIMATORS)[-1], share, queues=24)
    assert found.median <= most and found.covered >= 0.8


def test_folder_that_has_just_begun_is_estimated_better_by_its_probes() -> None:
    """On the bench's queues: films, episodes and shorts, whose bytes tell little."""
    by_bytes, by_probes = (
        bench.folder_errors("mixed folders", name, queues=24) for name in list(bench.ESTIMATORS)[-2:]
    )
    assert by_probes.median < 0.8 * by_bytes.median and by_probes.covered >= 0.8


def line(ended: float, folder: str = "A") -> VideoLine:
    return VideoLine(ended=ended, folder=folder, video="1", outcome="stored", bytes_in=1000, seconds={"encode": 100.0})


def history(log_dir: Path, *lines: Line) -> History:
    writer = HistoryWriter(log_dir)
    for one in lines:
        writer.add(one)
    writer.close(30)
    return History(log_dir)


def seen(
    past: History, paused: str | None = None, workers: tuple[dict[str, Any], ...] = (), **more: Any
) -> float | None:
    job = {"folder": "A", "video": "A/1", "stage": "encode", "percent": 50.0, "eta_s": 50.0}
    progress: dict[str, Any] = {"jobs": [job], "workers": list(workers), "paused": paused, "slots": 1}
    item = QueueItem(
        folder="A", hash="", file_count=3, total_size=3000, added_time="2026-01-01T00:00:00",
        status=Status.PROCESSING, videos_total=3, videos_done=1, bytes_in=1000,
    )  # fmt: skip
    pending = [Waiting("B", 1, item.added_time, False, 2, 2000), Waiting("C", 1, item.added_time, True, 9, 9000)]
    found = outlook(past, [item], pending, progress, NOW, 24, **more).queue
    return None if found is None else round((found.likely - NOW) / 10) * 10


def test_history_queue_and_what_runs_come_together(tmp_path: Path) -> None:
    assert seen(History(tmp_path)) is None
    past = history(tmp_path, *[line(NOW - 3600)] * 9)
    assert seen(past) == 50 + 100 + 200
    assert seen(past, BY_HAND) == 350
    until = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(NOW + 1000))
    assert seen(past, f"hub down; next try at {until}") == 1350
    assert seen(past, calendar=lambda start, seconds: start + 3600 + seconds) == 3950
    ready, gone = {"slots": 2, "state": "ready"}, {"slots": 8, "state": "silent"}
    assert seen(past, workers=(gone,)) is None
    several = seen(past, workers=(ready, gone))
    assert several is not None and 150 < several < 250


def test_pauses_of_the_last_days_are_taken_for_what_is_to_come(tmp_path: Path) -> None:
    hand = (PauseBegan(NOW - 9000, BY_HAND), PauseEnded(NOW - 5400))
    past = history(
        tmp_path, *[line(NOW - 14400)] * 9, *hand, PauseBegan(NOW - 5400, "hub down"), PauseEnded(NOW - 1800)
    )
    assert paused_share(past, NOW) == pytest.approx(0.25)
    assert seen(past) == pytest.approx(350 / 0.75, abs=10)
