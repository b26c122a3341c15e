"""When a queue will be done, and between which times that will be: learned from what this machine or cluster did.

What is known of a folder that waits is the number of its videos and their bytes. Of what is done there are seconds per
stage. So a video of ``x`` bytes is taken to cost ``a · x^b`` seconds of the stage that holds the others up: 24 minutes
of an episode are 24 minutes whatever their bit rate, and a film is longer than an episode, so ``b`` lies between 0
(each video costs the same) and 1 (each byte does), and is fitted. Folders differ by more than their bytes tell (size
of the picture, grain), and the videos of one are alike; so each folder has a factor of its own, learned from its videos
that are done and held to 1 by as much as folders were seen to differ. ``tests/bench/eta.py`` compares this with other
ways; ``docs/performance.md`` has the table.

The range comes from how much videos and folders were seen to differ. Without any video done there is no answer.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Calendar = Callable[[float, float], float]
"""Epoch s, seconds of work → epoch s at which that work is done, if it goes on only at certain hours."""
_Z = 2.5  # standard deviations on either side, as if logarithms were normal, which they are not: chosen by the bench
# What is taken for granted until there is more to see, as if so many videos and folders had shown it: spread of the
# logarithm of the cost among videos of a folder, and among folders; the exponent.
_VIDEO_SPREAD, _FOLDER_SPREAD, _EXPONENT = 0.25, 0.5, 0.6
_VIDEOS, _FOLDERS = 3.0, 2.0
_EXPONENT_WEIGHT = 4.0  # of the prior exponent, in units of squared spread of log bytes among the folders
_SMALLEST = 0.05  # s; what cost less cost this


@dataclass(frozen=True, slots=True)
class Sample:
    """A video that is done."""

    folder: str
    size: int  # bytes of the source
    seconds: Mapping[str, float]  # s by stage: download, encode, verify, upload


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


@dataclass(frozen=True, slots=True)
class Eta:
    """When something will be done, epoch s; the truth is expected from ``earliest`` to ``latest``."""

    likely: float
    earliest: float
    latest: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """``queue``: when all of it is done. ``folders``: of those that were wanted. None: unknown, nothing was learned."""

    queue: Eta | None
    folders: Mapping[str, Eta] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What videos cost here. Seconds are those of the stage that holds the others up, on one of its places."""

    stage: str
    places: int  # how many videos are in that stage at a time
    others: float  # s that a video spends in the other stages
    scale: float  # s of a video of ``size`` bytes
    size: float  # bytes
    exponent: float
    factors: Mapping[str, tuple[int, float]]  # by folder: of how many videos, and how much dearer they are
    video_spread: float  # standard deviation of the logarithm of the cost, within a folder
    folder_spread: float  # likewise, among folders
    videos: float  # how much was learned from
    folders: float

    def of(self, rest: Rest) -> tuple[float, float]:
        """Seconds of what is not begun of a folder, and the variance that concerns this folder alone."""
        if not rest.videos:
            return 0.0, 0.0
        known, factor = self.factors.get(rest.folder, (0, 1.0))
        each = self.scale * (max(1.0, rest.size / rest.videos) / self.size) ** self.exponent * factor
        seconds = each * rest.videos
        folder = self.folder_spread**2
        if known:
            folder = 1 / (1 / folder + known / self.video_spread**2)
        return seconds, seconds**2 * (folder + self.video_spread**2 / rest.videos)

    @property
    def doubt(self) -> float:
        """Variance of the logarithm of what is common to all."""
        return self.folder_spread**2 / self.folders + self.video_spread**2 / self.videos


def learn(
    samples: Sequence[Sample], places: Mapping[str, int], exponent: float | None = None, *, by_folder: bool = True
) -> Costs | None:
    """From videos that are done; None without any. ``places``: how many videos may be in each stage at a time.

    ``exponent`` and ``by_folder`` are for the comparison alone: the exponent given, no folder different from others.
    """
    if not samples:
        return None
    spent = {stage: sum(one.seconds.get(stage, 0.0) for one in samples) for stage in places}
    stage = max(places, key=lambda name: spent[name] / places[name])
    others = (sum(spent.values()) - spent[stage]) / len(samples)
    logs = [(one.folder, math.log(max(1, one.size)), _log(one.seconds.get(stage, 0.0))) for one in samples]
    b = _fitted_exponent(logs) if exponent is None else exponent
    middle = sum(size for _, size, _ in logs) / len(logs)
    residuals: dict[str, list[float]] = {}
    for folder, size, cost in logs:
        residuals.setdefault(folder, []).append(cost - b * (size - middle))
    means = {folder: sum(found) / len(found) for folder, found in residuals.items()}
    within = sum((one - means[folder]) ** 2 for folder, found in residuals.items() for one in found)
    freedom = len(logs) - len(means)
    video = (within + _VIDEOS * _VIDEO_SPREAD**2) / (freedom + _VIDEOS)
    between, level = _between(residuals, means, video)
    factors = {}
    for folder, found in residuals.items():
        share = between / (between + video / len(found))
        factors[folder] = len(found), math.exp(share * (means[folder] - level)) if by_folder else 1.0
    return Costs(
        stage=stage,
        places=places[stage],
        others=others,
        scale=math.exp(level + (0.0 if by_folder else between / 2)),
        size=math.exp(middle),
        exponent=b,
        factors=factors if by_folder else {},
        video_spread=math.sqrt(video),
        folder_spread=math.sqrt(between),
        videos=len(logs),
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
    when = calendar or (lambda begin, seconds: begin + seconds)
    tail: dict[str, float] = {}  # what is left of the videos of a folder that run
    seconds = variance = 0.0
    for job in under_way:
        left = left_of(job, costs)
        tail[job.folder] = max(tail.get(job.folder, 0.0), left + costs.others)
        seconds += min(left, costs.of(Rest(job.folder, 1, job.size or int(costs.size)))[0] * 4)
        variance += (0.2 * left) ** 2
    fresh = mean = 0.0
    folders: dict[str, Eta] = {}
    videos = len(under_way)

    def eta(longest: float) -> Eta:
        """Of all that was added up so far; ``longest`` s that a video that runs still takes."""
        busy = seconds / costs.places
        if videos > costs.places > 1:  # at the end not every place has work
            busy += mean / 2 * (1 - 1 / costs.places)
        spread = variance + (fresh**2) * costs.doubt
        relative = math.sqrt(math.log1p(spread / seconds**2)) if seconds else 0.0
        lag = costs.others if seconds > 0 else 0.0
        low, high = busy * math.exp(-_Z * relative), busy * math.exp(_Z * relative)
        return Eta(*(when(start, max(one + lag, longest)) for one in (busy, low, high)))

    for folder in wanted:
        if folder in tail:
            folders[folder] = eta(tail[folder])
    for rest in rests:
        cost, own = costs.of(rest)
        seconds += cost
        variance += own
        fresh += cost
        videos += rest.videos
        mean = cost / rest.videos if rest.videos else mean
        if rest.folder in wanted:
            folders[rest.folder] = eta(tail.get(rest.folder, 0.0) if not rest.videos else 0.0)
    return Forecast(eta(max(tail.values(), default=0.0)) if seconds or tail else Eta(start, start, start), folders)


def left_of(job: UnderWay, costs: Costs) -> float:
    """Seconds of the stage that holds the others up which a running video still needs."""
    order = ("waiting", "download", "encode", "verify", "upload")
    place, counted = order.index(job.stage) if job.stage in order else 0, order.index(costs.stage)
    if job.stage == costs.stage:
        if job.eta_s is not None:
            return job.eta_s
        whole = costs.of(Rest(job.folder, 1, job.size or int(costs.size)))[0]
        return whole * (1 - (job.percent or 0.0) / 100)
    if place > counted:
        return 0.0
    return costs.of(Rest(job.folder, 1, job.size or int(costs.size)))[0]
