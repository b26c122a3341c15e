"""When a queue will be done, and between which times that will be: learned from what this machine or cluster did.

What is known of a folder that waits is the number of its videos and their bytes. Of what is done there are seconds per
stage. So a video of ``x`` bytes is taken to cost ``a · x^b`` seconds of the stage that holds the others up: 24 minutes
of an episode are 24 minutes whatever their bit rate, and a film is longer than an episode, so ``b`` lies between 0
(each video costs the same) and 1 (each byte does), and is fitted. Folders differ by more than their bytes tell (size
of the picture, grain), and the videos of one are alike; so each folder has a factor of its own, learned from its videos
that are done and held to 1 by as much as folders were seen to differ.

Of a video that is here its probe has told how long its pictures last and how many pixels they have, and seconds ×
pixels are a better measure of an encode than bytes: what grain and codec change is left. So a video that runs is
estimated by that, and a folder of which none is done gets its factor from those of its videos that were probed.
``tests/bench/eta.py`` compares all this with other ways; ``docs/performance.md`` has the table.

The range comes from how much videos and folders were seen to differ. Without any video done there is no answer.
"""

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

Calendar = Callable[[float, float], float]
"""Epoch s, seconds of work → epoch s at which that work is done, if it goes on only at certain hours."""
_Z = 2.5  # standard deviations on either side, as if logarithms were normal, which they are not: chosen by the bench
# What is taken for granted until there is more to see, as if so many videos and folders had shown it: spread of the
# logarithm of the cost among videos of a folder, and among folders; the exponent.
_VIDEO_SPREAD, _FOLDER_SPREAD, _EXPONENT = 0.25, 0.5, 0.6
_VIDEOS, _FOLDERS = 3.0, 2.0
_EXPONENT_WEIGHT = 4.0  # of the prior exponent, in units of squared spread of log bytes among the folders
_PACE_SPREAD = 0.2  # of what is left by the pace of a video that runs
_SMALLEST = 0.05  # s; what cost less cost this


@dataclass(frozen=True, slots=True)
class Sample:
    """A video that is done."""

    folder: str
    size: int  # bytes of the source
    seconds: Mapping[str, float]  # s by stage: download, encode, verify, upload
    work: float = 0.0  # seconds × pixels of its pictures; 0 = unknown


@dataclass(frozen=True, slots=True)
class Rest:
    """What is not begun of a folder."""

    folder: str
    videos: int
    size: int  # bytes of their sources


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A video that runs."""

    folder: str
    size: int | None  # bytes of the source; None if unknown
    stage: str
    percent: float | None = None  # of the stage
    eta_s: float | None = None  # of the stage
    work: float | None = None  # seconds × pixels of its pictures; None = not probed yet


@dataclass(frozen=True, slots=True)
class Eta:
    """When something will be done, epoch s; the truth is expected from ``earliest`` to ``latest``."""

    likely: float
    earliest: float
    latest: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """``queue``: when all of it is done. ``folders``: of those that were wanted. None: unknown, nothing was learned.
    ``videos``: when each that is under way is likely stored, epoch s, in their order; its batch is published later."""

    queue: Eta | None
    folders: Mapping[str, Eta] = field(default_factory=dict)
    videos: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """What videos cost beside a measure of them: logarithms."""

    level: float  # of a folder like most
    factors: Mapping[str, tuple[float, float]]  # by folder: how much dearer it is, and how surely (1 / variance)
    video_spread: float  # standard deviation within a folder
    folder_spread: float  # likewise, among folders
    videos: int  # how much was learned from
    folders: int

    def of(self, folder: str) -> tuple[float, float]:
        """How much dearer a folder is, and the variance of that."""
        factor, sure = self.factors.get(folder, (0.0, 0.0))
        return factor, 1 / (1 / self.folder_spread**2 + sure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What videos cost here. Seconds are those of the stage that holds the others up, on one of its places."""

    stage: str
    places: int  # how many videos are in that stage at a time
    beside: Mapping[str, float]  # s that a video spends in each of the other stages
    size: float  # bytes to which the law is related
    exponent: float
    law: Law  # beside a power of the bytes
    by_work: Law | None = None  # beside seconds × pixels; None: unknown, or not what counts

    @property
    def others(self) -> float:
        """Seconds that a video spends in the other stages."""
        return sum(self.beside.values())

    def of(self, rest: Rest) -> tuple[float, float]:
        """Seconds of what is not begun of a folder, and the variance that concerns this folder alone."""
        if not rest.videos:
            return 0.0, 0.0
        factor, folder = self.law.of(rest.folder)
        seconds = rest.videos * math.exp(self._by_bytes(rest.size / rest.videos) + factor)
        return seconds, seconds**2 * (folder + self.law.video_spread**2 / rest.videos)

    def _by_bytes(self, size: float) -> float:
        return self.law.level + self.exponent * math.log(max(1.0, size) / self.size)

    def whole(self, job: UnderWay) -> float:
        """Seconds of a video that runs, from its beginning."""
        if self.by_work is not None and job.work and job.work > 0:  # a worker tells it, who may be anybody
            return math.exp(self.by_work.level + self.by_work.of(job.folder)[0] + math.log(job.work))
        return self.of(Rest(job.folder, 1, job.size or int(self.size)))[0]

    def variance_of(self, job: UnderWay) -> float:
        """Of the logarithm of what is left of a video that runs; its own pace, once it has one, is the best witness."""
        if job.stage == self.stage and job.eta_s is not None:
            return _PACE_SPREAD**2
        law = self.by_work if self.by_work is not None and job.work else self.law
        return law.of(job.folder)[1] + law.video_spread**2

    def with_probed(self, under_way: Iterable[UnderWay], rests: Iterable[Rest]) -> "Costs":
        """What the probes of running videos tell of the others in their folders."""
        known = self.by_work
        if known is None:
            return self
        sizes = {rest.folder: rest.size / rest.videos for rest in rests if rest.videos}
        found: dict[str, list[float]] = {}
        for job in under_way:
            if job.work and job.folder in sizes:
                seen = math.log(self.whole(job)) - self._by_bytes(job.size or sizes[job.folder])
                found.setdefault(job.folder, []).append(seen)
        factors = dict(self.law.factors)
        for folder, told in found.items():
            before, sure = factors.get(folder, (0.0, 0.0))
            prior = 1 / self.law.folder_spread**2 + sure
            more = 1 / (known.of(folder)[1] + (known.video_spread**2 + self.law.video_spread**2) / len(told))
            mean = (before * prior + sum(told) / len(told) * more) / (prior + more)
            factors[folder] = mean, sure + more
        return replace(self, law=replace(self.law, factors=factors))

    @property
    def doubt(self) -> float:
        """Variance of the logarithm of what is common to all."""
        return self.law.folder_spread**2 / self.law.folders + self.law.video_spread**2 / self.law.videos


def learn(
    samples: Sequence[Sample],
    places: Mapping[str, int],
    exponent: float | None = None,
    *,
    by_folder: bool = True,
    by_work: bool = True,
) -> Costs | None:
    """From videos that are done; None without any. ``places``: how many videos may be in each stage at a time.

    ``exponent``, ``by_folder`` and ``by_work`` are for the comparison alone: the exponent given, no folder different
    from others, nothing of what probes tell.
    """
    if not samples:
        return None
    spent = {stage: sum(one.seconds.get(stage, 0.0) for one in samples) for stage in places}
    stage = max(places, key=lambda name: spent[name] / places[name])
    beside = {name: seconds / len(samples) for name, seconds in spent.items() if name != stage}
    logs = [(one.folder, math.log(max(1, one.size)), _log(one.seconds.get(stage, 0.0))) for one in samples]
    b = _fitted_exponent(logs) if exponent is None else exponent
    middle = sum(size for _, size, _ in logs) / len(logs)
    law = _law((folder, cost - b * (size - middle)) for folder, size, cost in logs)
    if not by_folder:
        law = replace(law, level=law.level + law.folder_spread**2 / 2, factors={})
    done = [one for one in samples if one.work > 0] if by_work and by_folder and stage == "encode" else []
    worked = _law((one.folder, _log(one.seconds.get(stage, 0.0)) - math.log(one.work)) for one in done)
    return Costs(
        stage=stage,
        places=places[stage],
        beside=beside,
        size=math.exp(middle),
        exponent=b,
        law=law,
        by_work=worked if done else None,
    )


def _law(residuals: Iterable[tuple[str, float]]) -> Law:
    """Of what is left of each video's cost, by folder; of none there is nothing to learn."""
    found: dict[str, list[float]] = {}
    for folder, one in residuals:
        found.setdefault(folder, []).append(one)
    means = {folder: sum(those) / len(those) for folder, those in found.items()}
    videos = sum(map(len, found.values()))
    within = sum((one - means[folder]) ** 2 for folder, those in found.items() for one in those)
    video = (within + _VIDEOS * _VIDEO_SPREAD**2) / (videos - len(means) + _VIDEOS)
    between, level = _between(found, means, video) if found else (_FOLDER_SPREAD**2, 0.0)
    factors = {}
    for folder, those in found.items():
        share = between / (between + video / len(those))
        factors[folder] = share * (means[folder] - level), len(those) / video
    return Law(
        level=level,
        factors=factors,
        video_spread=math.sqrt(video),
        folder_spread=math.sqrt(between),
        videos=videos,
        folders=len(means),
    )


def _log(seconds: float) -> float:
    return math.log(max(_SMALLEST, seconds))


def _fitted_exponent(logs: Sequence[tuple[str, float, float]]) -> float:
    """Of the means of the folders, since videos of one are alike; held to its prior."""
    sums: dict[str, tuple[int, float, float]] = {}
    for folder, size, cost in logs:
        count, sizes, costs = sums.get(folder, (0, 0.0, 0.0))
        sums[folder] = count + 1, sizes + size, costs + cost
    points = [(sizes / count, costs / count) for count, sizes, costs in sums.values()]
    x, y = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
    squares = sum((point[0] - x) ** 2 for point in points)
    products = sum((point[0] - x) * (point[1] - y) for point in points)
    return min(1.0, max(0.0, (products + _EXPONENT_WEIGHT * _EXPONENT) / (squares + _EXPONENT_WEIGHT)))


def _between(residuals: Mapping[str, list[float]], means: Mapping[str, float], video: float) -> tuple[float, float]:
    """Variance among folders, and the level around which they lie: each weighs by how well it is known."""
    between = _FOLDER_SPREAD**2
    level = 0.0
    for _ in range(3):  # variance and weights depend on each other; three rounds are as good as thirty
        weights = {folder: 1 / (between + video / len(found)) for folder, found in residuals.items()}
        level = sum(weights[folder] * means[folder] for folder in means) / sum(weights.values())
        excess = sum((means[f] - level) ** 2 - video / len(found) for f, found in residuals.items())
        between = max(0.01, (max(0.0, excess) + _FOLDERS * _FOLDER_SPREAD**2) / (len(means) - 1 + _FOLDERS))
    return between, level


def forecast(
    costs: Costs | None,
    start: float,
    under_way: Sequence[UnderWay],
    rests: Iterable[Rest],
    *,
    calendar: Calendar | None = None,
    wanted: Collection[str] = (),
) -> Forecast:
    """When each folder and the queue will be done, if work goes on from ``start`` (epoch s).

    ``rests`` in the order in which they will be worked at; ``wanted``: the folders to be told of. What is
    ``under_way`` comes before all of them.
    """
    if costs is None:
        return Forecast(None)
    rests = list(rests)
    costs = costs.with_probed(under_way, rests)
    when = calendar or (lambda begin, seconds: begin + seconds)
    ends, line = _begun(under_way, costs)
    running: dict[str, _Span] = {}
    for job, end in zip(under_way, ends, strict=True):
        left = left_of(job, costs)
        span = _Span(end, math.sqrt(costs.variance_of(job)) * left / end if end else 0.0)
        running[job.folder] = max(running.get(job.folder, span), span)
    seconds = sum(left_of(job, costs) for job in under_way)
    variance = sum(left_of(job, costs) ** 2 * costs.variance_of(job) for job in under_way)
    fresh = last = 0.0

    def eta(*spans: _Span) -> Eta:
        return Eta(*(when(start, max(span.at(deviations) for span in spans)) for deviations in (0.0, -_Z, _Z)))

    def queued(end: float) -> _Span:
        """Of the end of what was put into the line so far."""
        return _Span(end + costs.others, math.sqrt(math.log1p((variance + fresh**2 * costs.doubt) / seconds**2)))

    folders = {folder: eta(running[folder]) for folder in wanted if folder in running}
    for rest in rests:
        cost, own = costs.of(rest)
        if not cost:
            continue
        seconds, variance, fresh = seconds + cost, variance + own, fresh + cost
        end = line.put(cost, rest.videos)
        last = max(last, end)
        if rest.folder in wanted:
            begun = [running[rest.folder]] if rest.folder in running else []
            folders[rest.folder] = eta(queued(end), *begun)
    spans = [*running.values(), *([queued(last)] if last else [])] or [_Span(0.0, 0.0)]
    return Forecast(eta(*spans), folders, [when(start, one) for one in ends])


class _Span(NamedTuple):
    """Seconds until something is done, and the standard deviation of their logarithm."""

    seconds: float
    spread: float

    def at(self, deviations: float) -> float:
        return self.seconds * math.exp(deviations * self.spread)


class _Line:
    """The places of the stage that holds the others up, and in how many seconds each of them is free."""

    def __init__(self, free: Iterable[float]) -> None:
        self._free = sorted(free)

    def put(self, cost: float, videos: int) -> float:
        """Have so many videos of ``cost`` s in all worked at, wherever a place is free first; in how many seconds the
        last is done. They are not looked at one by one: there may be a hundred thousand."""
        free, each = self._free, cost / videos
        level, reached = free[0], len(free) if free[-1] == free[0] else 1
        while reached < len(free) and (room := (free[reached] - level) * reached) < cost:
            cost, level, reached = cost - room, free[reached], reached + 1
        level += cost / reached
        first, free[:reached] = free[0], [level] * reached
        return max(first + each, level + each / 2 * (1 - 1 / reached))  # at the end not every place has work


_ORDER = ("waiting", "download", "encode", "verify", "upload")


def _place(job: UnderWay) -> int:
    return _ORDER.index(job.stage) if job.stage in _ORDER else 0


def left_of(job: UnderWay, costs: Costs) -> float:
    """Seconds of the stage that holds the others up which a running video still needs."""
    place, counted = _place(job), _ORDER.index(costs.stage)
    if job.stage == costs.stage:
        if job.eta_s is not None:
            return job.eta_s
        return costs.whole(job) * (1 - (job.percent or 0.0) / 100)
    return 0.0 if place > counted else costs.whole(job)


def _begun(under_way: Sequence[UnderWay], costs: Costs) -> tuple[list[float], _Line]:
    """In how many seconds each running video is stored, those that are not there yet after waiting for a place; and
    the line behind them."""
    counted = _ORDER.index(costs.stage)
    # The pace of the first moments may be a hundred times too slow.
    free = [min(left_of(job, costs), 4 * costs.whole(job)) for job in under_way if _place(job) == counted]
    free += [0.0] * (costs.places - len(free))
    heapq.heapify(free)
    found = []
    for job in under_way:
        left, place = left_of(job, costs), _place(job)
        if place < counted:
            begin = counted if job.work else place  # what was probed is here, and waits for a place alone
            left += max(heapq.heappop(free), _rest_of(job, costs, begin, counted))
            heapq.heappush(free, left)
        found.append(left + _rest_of(job, costs, max(place, counted), len(_ORDER)))
    return found, _Line(free)


def _rest_of(job: UnderWay, costs: Costs, begin: int, end: int) -> float:
    """Seconds of the stages from ``begin`` up to ``end``, but for the one that holds the others up."""
    seconds = 0.0
    for name in _ORDER[begin:end]:
        usual = costs.beside.get(name, 0.0)
        if name == job.stage and name != costs.stage:
            usual = job.eta_s if job.eta_s is not None else usual * (1 - (job.percent or 0.0) / 100)
        seconds += usual
    return seconds
