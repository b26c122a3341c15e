"""Sums per hour → a few bars: what was done, saved, failed and paused over some time."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from tools.core.past import HourSums

HOUR, DAY = 3600, 86400
SPANS = {"day": (DAY, HOUR), "week": (7 * DAY, 6 * HOUR), "month": (30 * DAY, DAY), "year": (365 * DAY, 7 * DAY)}
"""By name, how far back a chart reaches and how long a bar is, in s."""


@dataclass(slots=True)
class Bar:
    """Sums from ``begin`` (epoch s) on."""

    begin: int
    stored: int = 0  # videos
    failed: int = 0  # attempts that ended otherwise
    bytes_in: int = 0
    bytes_out: int = 0
    duration_s: float = 0.0  # of pictures
    paused_s: float = 0.0


def bars(hours: Iterable[HourSums], span: str, now: float) -> dict[str, object]:
    """``{"width": s, "bars": […]}``, oldest first, none left out."""
    reach, width = SPANS[span]
    first = int((now - reach) // width + 1) * width
    found = [Bar(begin) for begin in range(first, int(now) + 1, width)]
    for hour in hours:
        place = (hour.hour - first) // width
        if not 0 <= place < len(found):
            continue
        bar = found[place]
        bar.stored += hour.stored
        bar.failed += hour.refused + hour.failed + hour.crashed
        bar.bytes_in += hour.bytes_in
        bar.bytes_out += hour.bytes_out
        bar.duration_s += hour.duration_s
        bar.paused_s += hour.paused_s
    return {"width": width, "bars": [asdict(bar) for bar in found]}
