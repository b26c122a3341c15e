"""What ffmpeg's ``showinfo`` says of each decoded picture → how many carry what, since when, and what changes.

Pure. So all pictures are looked at while they are decoded for the encoder, and by no pass of their own.
"""

import re
from dataclasses import dataclass, field

SHOW = ("sidedata=mode=delete:type=SEI_UNREGISTERED", "showinfo=checksum=0")
"""Filters that say it, at the level «info». Encoders write their settings into each picture, which nobody needs."""
_OWN = r"^\[Parsed_showinfo_\d+ @ 0x[0-9a-f]+\] (?:\[info\] )?"  # titles and the like are printed too
_PICTURE = re.compile(_OWN + r"n: *\d+ pts: *\S+ pts_time:(\S+)")
_CARRIED = re.compile(_OWN + r" *side data - ([^:]{1,100}): ?(.{0,500})")
_UNREADABLE = re.compile(r"Skipping invalid undecodable NALU: (?:39|40)\b")  # SEI. Source: ITU-T H.265, table 7-1
CONSTANT = frozenset({"Mastering display metadata", "Content light level metadata"})
"""What is said once for a whole film, so that only changes matter."""
_MOST_KINDS = 100


@dataclass(slots=True)
class Kind:
    """One kind of side data."""

    count: int = 0  # pictures
    first: float = 0.0  # s, of the first picture with it
    value: str = ""  # of the first picture
    changed: float | None = None  # s, since when the value is another one


@dataclass(slots=True)
class Inside:
    """All pictures of one video."""

    pictures: int = 0
    unreadable: int = 0  # SEI messages that the decoder refused
    kinds: dict[str, Kind] = field(default_factory=dict)  # by ffmpeg's name of the side data
    _now: float = 0.0
    _here: set[str] = field(default_factory=set)  # kinds of this picture

    def line(self, line: str) -> None:
        """Take one line in."""
        if " side data - " in line:
            if match := _CARRIED.search(line):
                self._carried(match[1], match[2].strip())
        elif match := _PICTURE.search(line):
            self.pictures += 1
            self._here.clear()
            self._now = _seconds(match[1], self._now)
        elif _UNREADABLE.search(line):
            self.unreadable += 1

    def count(self, *names: str) -> int:
        """Pictures with the commonest of these."""
        return max((self.kinds[name].count for name in names if name in self.kinds), default=0)

    def _carried(self, name: str, value: str) -> None:
        if name in self._here or (name not in self.kinds and len(self.kinds) >= _MOST_KINDS):
            return
        self._here.add(name)
        kind = self.kinds.setdefault(name, Kind(0, self._now, value))
        kind.count += 1
        if name in CONSTANT and kind.changed is None and value != kind.value:
            kind.changed = self._now


def _seconds(text: str, otherwise: float) -> float:
    try:
        return float(text)
    except ValueError:  # NOPTS
        return otherwise
