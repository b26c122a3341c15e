"""How many encodes an aim takes, and which one counts: with an encoder and a meter that follow a curve."""

import math
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools.core.crf_search import Probe
from tools.core.errors import ProbeError, ReadTooSlow, TooBig
from tools.media import aim
from tools.media.aim import Hints, Hit, Shot, aimed
from tools.media.encoding import OutputOptions
from tools.media.facts import Stream
from tools.media.quality import Meter, Running, Scores

TARGET = 95.0
Curve = Callable[[int], float]


class Rig:
    """A video whose score at a CRF is ``curve`` of it, and whose size halves in 12 steps."""

    def __init__(
        self,
        folder: Path,
        seconds: float,
        curve: Curve,
        source_size: int = 10**6,
        picture: tuple[int, int] = (640, 360),
        **options: Any,
    ) -> None:
        self.encoded: list[int] = []  # CRFs, in order
        self.probed: list[int] = []  # of samples
        self.scored = 0
        self.every: set[int] = set()  # of how many pictures one was scored
        self.curve = curve
        self.trouble: Exception | None = None  # of whoever reads a size
        times = array("d", (second / 10 for second in range(round(seconds * 10))))
        shape = dict(zip(("width", "height"), picture, strict=True))
        stream = Stream(0, "video", "h264", shape, bytes=source_size, begin=0.0, end=seconds, times=times)
        facts = SimpleNamespace(is_jumpy=lambda one: False)
        self.shot = Shot(
            plan=SimpleNamespace(main_video=stream, facts=facts),  # type: ignore[arg-type]
            encoder=SimpleNamespace(label="an encoder"),  # type: ignore[arg-type]
            options=OutputOptions(**{"target_vmaf": TARGET, **options}),
            source=folder / "source",
            encoded=folder / "encoded",
            meter=Meter(Path("ffmpeg"), "vmaf"),
            size_of=self.size_of,
            running=Running(threading.Event(), 1.0, 0),
            threads=None,
            hints=Hints(),
        )

    def size_at(self, crf: int) -> int:
        return int(1e6 * math.exp((38 - crf) / 17))

    def encode(self, options: OutputOptions) -> int:
        crf = round(options.crf)
        self.encoded.append(crf)
        self.shot.encoded.write_text(str(crf))
        return crf

    def score(self, path: Path, reference: Any, samples: Any, meter: Meter, *others: Any, **named: Any) -> Scores:
        self.scored += 1
        self.every.add(meter.every)
        mean = self.curve(int(path.read_text()))
        return Scores("vmaf", "", mean, mean, mean, 1, 1.0, mean)

    def size_of(self, path: Path) -> int:
        if self.trouble is not None:
            raise self.trouble
        return self.size_at(int(path.read_text()))

    def probe(self, crf: int) -> Probe:
        self.probed.append(crf)
        return Probe(crf, self.curve(crf), self.size_at(crf))

    def run(self, monkeypatch: pytest.MonkeyPatch) -> Hit[int]:
        monkeypatch.setattr(aim, "score", self.score)
        monkeypatch.setattr(aim, "reference_of", lambda *_: SimpleNamespace(pix_fmt="yuv420p10le"))
        monkeypatch.setattr(aim._Aim, "_sampler", lambda _: self)
        hit = aimed(self.shot, self.encode)
        assert hit.made == int(self.shot.encoded.read_text()) == round(hit.options.crf), "another encode lies there"
        return hit


def straight(at: int, slope: float) -> Curve:
    """Through the target at a CRF."""
    return lambda crf: TARGET + slope * (crf - at)


def test_short_video_that_hits_is_encoded_once_and_its_scores_go_to_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, 15, straight(38, -0.3))
    hit = rig.run(monkeypatch)
    assert (rig.encoded, rig.scored, hit.told["reason"]) == ([38], 1, "reached")
    assert hit.scores is not None and hit.scores.mean == hit.told["predicted"] == TARGET
    assert rig.every == {1}


@pytest.mark.parametrize(("seconds", "picture"), [(60, (640, 360)), (15, (1920, 1080))])
def test_of_a_short_video_of_many_or_large_pictures_some_are_scored_and_the_gate_looks_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, picture: tuple[int, int]
) -> None:
    rig = Rig(tmp_path, seconds, straight(38, -0.3), picture=picture)
    assert rig.run(monkeypatch).scores is None and rig.every == {3}


def test_earlier_encode_of_a_short_video_that_was_nearer_counts_and_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steep = {38: 93.8, 33: 98.0}  # 35 would be next: for two steps nothing is encoded again
    rig = Rig(tmp_path, 15, steep.__getitem__)
    hit = rig.run(monkeypatch)
    assert (rig.encoded, hit.told["crf"], hit.told["reason"]) == ([38, 33], 38, "nearest")
    assert hit.scores is not None and hit.scores.mean == 93.8, "the scores are those of the encode that counts"


def test_short_video_far_from_its_target_takes_three_encodes_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cliff = Rig(tmp_path, 60, lambda crf: 98.0 if crf < 40 else 90.0, crf_max=63)
    assert (cliff.run(monkeypatch).told["reason"], cliff.encoded) == ("nearest", [38, 50, 42])
    flat = Rig(tmp_path, 60, straight(60, -0.1), crf_max=45)
    assert (flat.run(monkeypatch).told["reason"], flat.encoded) == ("bound", [38, 45])


@pytest.mark.parametrize("seconds", [15, 600])
def test_crf_beside_a_target_counts_only_if_the_search_comes_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    found = Rig(tmp_path, seconds, straight(38, -0.3), crf=20)
    hit = found.run(monkeypatch)
    assert (hit.told["crf"], [*found.probed, *found.encoded][0]) == (38, 38), "the search begins and ends elsewhere"
    assert 20 not in {*found.probed, *found.encoded}
    rising = Rig(tmp_path, seconds, straight(50, 0.3), crf=20)  # no encoder is like that
    hit = rising.run(monkeypatch)
    assert (hit.told["crf"], rising.encoded[-1]) == (20, 20) and "the fixed CRF is used" in hit.told["not_found"]


@pytest.mark.parametrize("rule", ["keep", "remux", "refuse"])
def test_samples_tell_that_a_result_would_be_bigger_before_the_whole_is_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    monkeypatch.setattr(aim, "can_keep_video", lambda facts: True)
    rig = Rig(tmp_path, 600, straight(38, -1.5), source_size=10**5, max_size_percent=100, when_bigger=rule)
    if rule != "keep":
        with pytest.raises(TooBig, match="MAX_SIZE_PERCENT"):
            rig.run(monkeypatch)
        assert rig.encoded == [] and rig.probed
        return
    hit = rig.run(monkeypatch)
    assert hit.told["bigger"] == "keep" and len(rig.encoded) == 1, "no second encode is wasted on it either"


def test_samples_find_the_crf_that_fits_so_that_the_whole_is_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, 600, straight(38, -0.4), source_size=900_000, max_size_percent=100)
    hit = rig.run(monkeypatch)
    assert len(rig.encoded) == 1 and hit.told["reason"] == "size" and hit.told["video_size"] <= 900_000
    assert hit.told["crf"] > 38 and not hit.warnings


@pytest.mark.parametrize("trouble", [ReadTooSlow("a slow disk"), ProbeError("unreadable")])
def test_size_that_can_not_be_read_costs_no_encode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """The check of the result, which reads it again, knows whose fault it is."""
    rig = Rig(tmp_path, 600, straight(38, -0.4), target_vmaf=0.0, max_size_percent=100, crf=30.0)
    rig.trouble = trouble
    hit = rig.run(monkeypatch)
    assert (rig.encoded, hit.made) == ([30], 30) and "video_size" not in hit.told


@pytest.mark.parametrize(("seconds", "count"), [(21, 2), (30, 2), (50, 3), (60, 4), (600, 4), (1440, 10), (9000, 12)])
def test_samples_are_spread_from_the_begin_to_the_end_and_are_a_tenth_at_most(seconds: int, count: int) -> None:
    found = aim.samples_of(5.0, 5.0 + seconds)
    assert len(found) == count and found[0].begin == 5.0
    assert found[-1].begin + found[-1].length == pytest.approx(5.0 + seconds, abs=0.01)
