"""How far estimates of the remaining time are off, on simulated queues: the one in use beside simpler ones.

Nothing is encoded, so the numbers are the same on every machine. A queue is worked off by the places of an encoder; an
estimator is told what is done so far and how many videos and bytes each other folder has, no more.
"""

import heapq
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.bench.table import Row
from tools.core.eta import Costs, Eta, Forecast, Rest, Sample, UnderWay, forecast, learn

QUEUES = 200  # of each kind
_SPEED = 40e6  # pixels per second of one place, for pictures without grain


@dataclass(frozen=True, slots=True)
class _Video:
    folder: str
    size: int  # bytes
    seconds: dict[str, float]
    work: float  # seconds × pixels


@dataclass(frozen=True, slots=True)
class _Kind:
    """Folders of one kind."""

    videos: tuple[int, int]
    minutes: tuple[float, float]
    pixels: int
    megabits: tuple[float, float]  # per second


_KINDS = (
    _Kind((12, 13), (23, 24.5), 1920 * 1080, (1.5, 9)),
    _Kind((24, 26), (23, 24.5), 1280 * 720, (0.8, 4)),
    _Kind((26, 52), (22, 25), 720 * 480, (1, 6)),
    _Kind((1, 3), (80, 130), 1920 * 1080, (3, 30)),
    _Kind((1, 2), (90, 140), 3840 * 2160, (10, 60)),
    _Kind((12, 40), (2, 6), 1920 * 1080, (2, 8)),
)


def _folder(name: str, kind: _Kind, chance: random.Random) -> Iterator[_Video]:
    megabits = math.exp(chance.uniform(*map(math.log, kind.megabits)))
    minutes, grain = chance.uniform(*kind.minutes), chance.lognormvariate(0, 0.3)
    small = 1 if kind.pixels > 1e6 else 1.3  # pixels of small pictures cost more
    for _ in range(chance.randint(*kind.videos)):
        length = 60 * minutes * chance.uniform(0.95, 1.05)
        size = int(length * megabits * 1e6 / 8 * chance.lognormvariate(0, 0.15))
        encode = length * 24 * kind.pixels * small * grain / _SPEED * chance.lognormvariate(0, 0.1)
        moved = size / 12e6
        spent = {"download": moved, "encode": encode, "verify": encode * 0.06, "upload": moved / 3}
        yield _Video(name, size, spent, length * kind.pixels)


def _mixed(chance: random.Random) -> list[list[_Video]]:
    return [list(_folder(f"F{n}", chance.choice(_KINDS), chance)) for n in range(30)]


def _equal(chance: random.Random) -> list[list[_Video]]:
    return [list(_folder(f"F{n}", _KINDS[0], random.Random(n))) for n in [chance.randint(0, 9)] * 20]


def _alike(chance: random.Random) -> list[list[_Video]]:
    """One kind, each folder with its own bit rate and grain."""
    return [list(_folder(f"F{n}", _KINDS[0], chance)) for n in range(20)]


@dataclass(frozen=True, slots=True)
class _Moment:
    """A queue when a share of its time is over."""

    now: float
    end: float
    done: list[Sample]
    under_way: list[UnderWay]
    rests: list[Rest]


_Span = tuple[float, float, _Video]


def _spans(folders: Sequence[Sequence[_Video]], slots: int) -> list[_Span]:
    """When each video is encoded."""
    free = [0.0] * slots
    spans = []
    for video in (video for folder in folders for video in folder):
        began = heapq.heappop(free)
        heapq.heappush(free, began + video.seconds["encode"])
        spans.append((began, began + video.seconds["encode"], video))
    return spans


def _end(spans: Sequence[_Span]) -> float:
    return max(ended + video.seconds["verify"] + video.seconds["upload"] for _, ended, video in spans)


def _moment(spans: Sequence[_Span], now: float, end: float) -> _Moment:
    done = [Sample(video.folder, video.size, video.seconds, video.work) for _, ended, video in spans if ended <= now]
    running = []
    for began, ended, video in spans:
        if began <= now < ended:
            part = (now - began) / (ended - began)
            left = None if part < 0.02 else (ended - now) * 1.1  # what ffmpeg's own pace tells, a little off
            running.append(UnderWay(video.folder, video.size, "encode", 100 * part, left, video.work))
    rests: dict[str, Rest] = {}
    for began, _, video in spans:
        if began > now:
            before = rests.get(video.folder, Rest(video.folder, 0, 0))
            rests[video.folder] = Rest(video.folder, before.videos + 1, before.size + video.size)
    return _Moment(now, end, done, running, list(rests.values()))


Estimator = Callable[[_Moment, int], Forecast]


def _by(exponent: float | None, by_folder: bool, by_work: bool = False) -> Estimator:
    def estimate(moment: _Moment, slots: int) -> Forecast:
        places = {"download": 4, "encode": slots, "verify": slots, "upload": 4}
        costs: Costs | None = learn(moment.done[-400:], places, exponent, by_folder=by_folder, by_work=by_work)
        folders = {one.folder for one in moment.under_way} | {one.folder for one in moment.rests}
        return forecast(costs, moment.now, moment.under_way, moment.rests, wanted=folders)

    return estimate


ESTIMATORS: dict[str, Estimator] = {
    "bytes": _by(1.0, False),
    "videos": _by(0.0, False),
    "power of bytes, fitted": _by(None, False),
    "the same, each folder with its own factor": _by(None, True),
    "the same, with what probes have told (in use)": _by(None, True, True),
}
QUEUES_OF = {"equal folders": _equal, "one kind of folder": _alike, "mixed folders": _mixed}
SHARES = (0.1, 0.5)


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one estimator: share by which the remaining time was off, and how often the range held it."""

    median: float
    worst_of_ten: float  # nine of ten are better
    covered: float


def errors(kind: str, estimator: str, share: float, queues: int = QUEUES) -> Errors:
    """Over queues of a kind worked off by 1, 2 and 4 places, when a share of the time is over."""
    found = []
    for number in range(queues):
        slots = (1, 2, 4)[number % 3]
        spans = _spans(QUEUES_OF[kind](random.Random(number)), slots)
        moment = _moment(spans, share * _end(spans), _end(spans))
        found.append((moment, ESTIMATORS[estimator](moment, slots).queue))
    return _errors(found)


def folder_errors(kind: str, estimator: str, queues: int = QUEUES) -> Errors:
    """Likewise of a folder in the middle of each queue, a second after its first video has begun."""
    found = []
    for number in range(queues):
        slots, folders = (1, 2, 4)[number % 3], QUEUES_OF[kind](random.Random(number))
        spans, name = _spans(folders, slots), folders[len(folders) // 2][0].folder
        mine = [span for span in spans if span[2].folder == name]
        moment = _moment(spans, mine[0][0] + 1, _end(mine))
        found.append((moment, ESTIMATORS[estimator](moment, slots).folders.get(name)))
    return _errors(found)


def _errors(found: Sequence[tuple[_Moment, Eta | None]]) -> Errors:
    known = [(moment, eta) for moment, eta in found if eta is not None]  # None: nothing is done yet
    off = [abs(eta.likely - moment.end) / (moment.end - moment.now) for moment, eta in known]
    covered = sum(eta.earliest <= moment.end <= eta.latest for moment, eta in known)
    return Errors(statistics.median(off), statistics.quantiles(off, n=10)[-1], covered / len(known))


def run() -> list[Row]:
    rows = []
    for kind in QUEUES_OF:
        for share in SHARES:
            for name in ESTIMATORS:
                found = errors(kind, name, share)
                shown = (
                    f"{found.median:.0%} (nine of ten below {found.worst_of_ten:.0%}), range holds {found.covered:.0%}"
                )
                limit = {0.1: 0.5, 0.5: 0.2}[share] if kind != "mixed folders" else math.inf
                is_ours = name == list(ESTIMATORS)[-1]
                met = found.median <= limit and found.covered >= 0.8 if is_ours else None
                target = ("" if limit == math.inf else f"≤ {limit:.0%}, ") + "range ≥ 80%" if is_ours else ""
                rows.append(Row(f"remaining time by {name}", f"{kind}, at {share:.0%}", QUEUES, shown, target, met))
        if kind != "equal folders":  # all of them are one
            rows += [_row_of_folder(kind, name) for name in ESTIMATORS]
    return rows


def _row_of_folder(kind: str, name: str) -> Row:
    found = folder_errors(kind, name)
    shown = f"{found.median:.0%} (nine of ten below {found.worst_of_ten:.0%}), range holds {found.covered:.0%}"
    is_ours = name == list(ESTIMATORS)[-1]
    target, met = ("range ≥ 80%", found.covered >= 0.8) if is_ours else ("", None)
    return Row(f"time of a folder that has begun by {name}", kind, QUEUES, shown, target, met)
