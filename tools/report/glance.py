"""What a person wants to know first: is it healthy, when is it done, what was gained. Imports nothing heavy."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tools.core.aimed import saved_percent
from tools.core.eta import Eta
from tools.core.message import plural
from tools.core.past import Sums, VideoLine
from tools.report import health
from tools.report.heading import Pulse
from tools.report.health import HealthLimits, Level, Problem
from tools.report.outlook import Outlook
from tools.report.paint import Paint
from tools.report.units import human_size
from tools.runtime.language import translated, ui
from tools.state.work_queue import Gain

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.CRITICAL: "red"}


def problems(
    seen: Pulse, progress: Mapping[str, Any], counts: Mapping[str, int], free: Mapping[str, float], now: float
) -> list[Problem]:
    """What is wrong, the worst first, as ``check_animation_service.sh`` judges it. ``free`` GB by folder."""
    updated = float(progress["updated"])
    ages = {
        "monitor": None if seen.answered is None else now - seen.answered,
        "processor": now - updated if updated else None,
    }
    limits = {"monitor": seen.silence, "processor": health.processor_silence(progress)}
    found: list[Problem] = []
    for name, life in seen.lives.items():
        found += health.judge_program(name, life, ages[name], limits[name], now)
    found += health.judge_pause(progress)
    found += health.judge_queue({"odd": 0, **counts}, 1)
    found += health.judge_disk(free, HealthLimits())
    return sorted(found, key=lambda problem: -problem.level)


def health_line(found: Sequence[Problem], paint: Paint) -> str:
    """The first line of all."""
    if not found:
        return paint("green", ui("OK: everything works"))
    level = found[0].level
    return paint(_COLOURS[level], f"{level.name}: {'; '.join(translated(problem.text) for problem in found)}")


def outlook_lines(outlook: Outlook, live: int, now: float) -> list[str]:
    """When the queue will be done; nothing if it is empty. ``live``: items that wait or are in work."""
    if not live:
        return []
    eta = outlook.queue
    if eta is None:
        return [ui("Done: unknown until a video has been converted here")]
    times = tuple(clock(when, now) for when in (eta.likely, eta.earliest, eta.latest))
    if outlook.is_held:
        return [ui("Done: about {} if resumed now, between {} and {}", *times)]
    return [ui("Done: about {}, between {} and {}", *times)]


def gain_lines(gain: Gain, lines: Sequence[VideoLine], run: Sums | None = None) -> list[str]:
    """What was gained; ``lines``: the latest videos, for their quality where it was measured; ``run``: what was stored
    since the processor was started."""
    if not gain.videos:
        return []
    sizes = _sizes(gain.bytes_in, gain.bytes_out, gain.videos)
    if gain.bytes_in >= gain.bytes_out:
        found = [ui("Saved: {} ({}%) of {} in {}", *sizes)]
    else:
        found = [ui("Grown: by {} ({}%) from {} in {}", *sizes)]
    if run is not None and run.stored:
        sizes = _sizes(run.bytes_in, run.bytes_out, run.stored)
        if run.saved >= 0:
            found.append(ui("Saved in this run: {} ({}%) of {} in {}", *sizes))
        else:
            found.append(ui("Grown in this run: by {} ({}%) from {} in {}", *sizes))
    if gain.bigger:
        found.append(ui("Bigger than MAX_SIZE_PERCENT, whatever was tried: {}", plural(gain.bigger, "video")))
    if gain.frames:
        found.append(ui("Scene frames: {} of {}", plural(gain.frames, "picture"), plural(gain.scenes, "scene")))
    if crfs := [line.crf for line in lines if line.crf is not None]:
        usual, low, high = f"{sum(crfs) / len(crfs):.0f}", f"{min(crfs):g}", f"{max(crfs):g}"
        found.append(ui("CRF: {} on average of the last {}, {} to {}", usual, plural(len(crfs), "video"), low, high))
    return found + _quality_lines(mean_quality(lines))


def _sizes(bytes_in: int, bytes_out: int, videos: int) -> tuple[str, str, str, str]:
    share = f"{abs(100 * (bytes_in - bytes_out) / bytes_in):.0f}" if bytes_in else "0"
    return human_size(abs(bytes_in - bytes_out)), share, human_size(bytes_in), plural(videos, "video")


def _quality_lines(values: Mapping[str, tuple[float, int]]) -> list[str]:
    """One for each metric, with its 5th percentile and minimum behind it."""
    return [
        ui("Quality: {} {} on average of the last {}", name, shown, plural(videos, "video"))
        for name, shown, videos in quality_of(values)
    ]


def quality_of(values: Mapping[str, tuple[float, int]]) -> list[tuple[str, str, int]]:
    """Of each metric its name, its mean with its 5th percentile and minimum behind it, and of how many videos."""
    found = []
    for name, (mean, videos) in values.items():
        metric, _, part = name.partition("_")
        if part and metric in values:
            continue
        parts = [f"{one.partition('_')[2]} {_score(values[one][0])}" for one in values if one.startswith(f"{name}_")]
        found.append((name, _score(mean) + (f" ({', '.join(parts)})" if parts else ""), videos))
    return found


def _score(value: float) -> str:
    return f"{value:.1f}" if value > 1 else f"{value:.4f}"  # SSIM ends at 1


def gain_json(gain: Gain, run: Sums) -> dict[str, Any]:
    """What was gained, for programs and pages. ``run``: what was stored since the processor was started."""
    return {
        **gain._asdict(),
        "saved_percent": saved_percent(gain.bytes_in, gain.bytes_out),
        "run": {
            "videos": run.stored,
            "bytes_in": run.bytes_in,
            "bytes_out": run.bytes_out,
            "saved_percent": saved_percent(run.bytes_in, run.bytes_out),
        },
    }


def mean_quality(lines: Iterable[VideoLine]) -> dict[str, tuple[float, int]]:
    """What was measured of the pictures: the mean by name, and of how many videos."""
    values: dict[str, list[float]] = {}
    for line in lines:
        for name, value in line.quality.items():
            values.setdefault(name, []).append(value)
    return {name: (sum(found) / len(found), len(found)) for name, found in sorted(values.items())}


def clock(when: float, now: float) -> str:
    """Local time as short as it is plain: ``04:20``, with the date if that is another day."""
    there, here = time.localtime(when), time.localtime(now)
    if there[:3] == here[:3]:
        return time.strftime("%H:%M", there)
    return time.strftime("%m-%d %H:%M" if there[0] == here[0] else "%Y-%m-%d", there)


def short_time(text: str | None, now: float) -> str:
    """A time of the queue as ``clock`` shows it; "" for none."""
    return "" if text is None else clock(datetime.fromisoformat(text).timestamp(), now)


def eta_json(eta: Eta | None) -> dict[str, float] | None:
    """``{"likely", "earliest", "latest"}``, epoch s; null if unknown."""
    if eta is None:
        return None
    return {name: round(getattr(eta, name)) for name in ("likely", "earliest", "latest")}
