"""What a path tells of series, season and episode, as people name them in Latin and Chinese letters."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

_NUMBER = r"(\d{1,4}(?:\.\d)?)"
_HAN = r"([零〇一二三四五六七八九十百两\d]{1,6})"
_S_E = re.compile(r"(?i)(?<![a-z0-9])S(\d{1,2})[ ._-]*EP?" + _NUMBER + r"(?![0-9])")
_X = re.compile(r"(?i)(?<![a-z0-9])(\d{1,2})x(\d{2,3})(?![a-z0-9])")
_SEASONS = (
    re.compile(r"(?i)(?<![a-z0-9])(?:season|series|saison|staffel)[ ._-]*(\d{1,2})(?![0-9])"),
    re.compile(r"(?i)(?<![a-z0-9])S(\d{1,2})(?![a-z0-9])"),
    re.compile(r"(?i)(?<![a-z0-9])(\d{1,2})(?:st|nd|rd|th)[ ._-]+season(?![a-z])"),
    re.compile(f"第 *{_HAN} *[季期部]"),
)
_EPISODES = (
    re.compile(f"第 *{_HAN} *[话話集回]"),
    re.compile(r"(?i)(?<![a-z0-9])(?:episode|ep?)[ ._-]*" + _NUMBER + r"(?:v\d)?(?![a-z0-9])"),
    re.compile(r"#" + _NUMBER + r"(?![a-z0-9])"),
    re.compile(r"\[" + _NUMBER + r"(?:v\d)?(?: ?end)?\]", re.IGNORECASE),
    re.compile(r"(?:^|[ _])-[ _]" + _NUMBER + r"(?:v\d)?(?=$|[ _.\[(])"),
    re.compile(r"(?:^|[ _.-])" + _NUMBER + r"(?:v\d)?$"),
)
_TAGS = re.compile(r"\[[^\]]*\]|\([^)]*\)|【[^】]*】|（[^）]*）|\{[^}]*\}")
_DATE = re.compile(r"(?:\d{4}[-._ ]\d\d[-._ ]\d\d|(?:19|20)\d{6})(?![0-9])")
_PICTURES = re.compile(
    r"(?i)(?<![a-z0-9])(?:\d{3,4}[pi]|4k|8k|[xh][. ]?26[45]|hevc|av1|10bit|\d{3,4}x\d{3,4})(?![a-z0-9])"
)
_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
TOLD = ("path", "series", "season", "episode")
"""The columns that the names alone decide."""
_EDGES = " ._-–—~:：,，"


@dataclass(frozen=True, slots=True)
class Told:
    """What the names tell; each is empty if they do not."""

    series: str = ""
    season: str = ""  # a number without leading zeros
    episode: str = ""  # the same, perhaps with a half: ``12.5``

    def as_columns(self) -> dict[str, str]:
        return {"series": self.series, "season": self.season, "episode": self.episode}


@lru_cache(maxsize=1 << 12)
def told_by(path: str) -> Told:
    """What the path of a video tells. The nearest name that tells something decides; a name that is a date tells
    nothing."""
    parts = [unicodedata.normalize("NFKC", part) for part in PurePosixPath(path).parts]
    if not parts:
        return Told()
    *folders, name = parts
    stem = PurePosixPath(name).stem
    season, episode, before = _of_file(stem)
    series = ""
    for folder in reversed(folders):
        season = season or _season(folder)[0]
        series = series or _title(folder)
    return Told(series or (_title(before) if episode else ""), season, episode)


def _of_file(stem: str) -> tuple[str, str, str]:
    """(season, episode, what stands before them)"""
    for pattern in (_S_E, _X):
        if found := pattern.search(stem):
            return _plain(found[1]), _plain(found[2]), stem[: found.start()]
    season, place = _season(stem)
    bare = _PICTURES.sub(lambda found: "?" * len(found[0]), _DATE.sub(lambda found: "?" * len(found[0]), stem))
    for pattern in _EPISODES:
        if found := pattern.search(bare):
            return season, _plain(found[1]), stem[: min(found.start(), len(stem) if place is None else place)]
    return season, "", stem if place is None else stem[:place]


def _season(name: str) -> tuple[str, int | None]:
    """Its number, and where it stands."""
    for pattern in _SEASONS:
        if found := pattern.search(name):
            return _plain(found[1]), found.start()
    return "", None


def _title(name: str) -> str:
    """The name of a series in the name of a folder, or in the first part of a file's."""
    place = _season(name)[1]
    bare = _TAGS.sub(" ", name if place is None else name[:place]).strip(_EDGES)
    if not bare or _DATE.fullmatch(bare) or re.fullmatch(r"[\d .]+", bare):
        return ""
    return re.sub(r"[ ._]+", " ", bare) if " " not in bare else re.sub(r" +", " ", bare)


def _plain(number: str) -> str:
    """``012`` → ``12``, ``十二`` → ``12``, ``05.5`` → ``5.5``."""
    if number.isascii():
        whole, dot, half = number.partition(".")
        return (whole.lstrip("0") or "0") + (dot + half if half.strip("0") else "")
    if number.isdecimal() or not any(one in "十百" for one in number):
        return "".join(str(_DIGITS.get(one, one)) for one in number).lstrip("0") or "0"
    value = 0
    hundreds, _, rest = number.rpartition("百")
    value += 100 * _DIGITS.get(hundreds, 1) if "百" in number else 0
    tens, is_ten, ones = rest.rpartition("十")
    value += 10 * _DIGITS.get(tens, 1) if is_ten else 0
    return str(value + _DIGITS.get(ones[-1:], 0))
