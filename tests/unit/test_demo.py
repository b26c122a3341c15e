"""What the demo says in the end."""

from types import SimpleNamespace
from typing import Any

from tools import demo


def test_demo_tells_quality_by_the_metric_that_measured_it_and_nothing_where_none_did() -> None:
    def told(*measured: dict[str, float]) -> list[str]:
        videos: Any = [SimpleNamespace(quality=quality) for quality in measured]
        return [line.partition(": ")[2].split(" 与")[0] for line in demo._measured(videos)]

    assert told({"vmaf": 95.0, "vmaf_p5": 90.0}, {}, {"vmaf": 97.0}) == ["VMAF 96.0"]
    assert told({"ssim": 0.99}) == ["SSIM 0.9900"] and told({"xpsnr": 40.0}) == ["XPSNR 40.0 dB"]
    assert told({}, {}) == [] and told() == []
