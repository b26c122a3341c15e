"""What the demo's clips show: flat-shaded animation as people upload it, drawn without any font or picture file.

A town at night that is panned over, a train that passes, and credits that roll, with the grain and the bit rate of a
disc, so that the demo's results are smaller than its sources as real ones are.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_WIDTH, _HEIGHT, _RATE = 640, 360, 24
SECONDS = 6
_PAN = 70  # pixels per second of the nearer houses
ENCODING = ("-c:v", "libx264", "-preset", "veryfast", "-b:v", "4M", "-maxrate", "6M", "-bufsize", "4M")
"""About what a DVD spends on such a picture."""

# Five columns by seven rows per letter, each row a number whose bits are the dots.
_LETTERS = {
    "A": (14, 17, 17, 31, 17, 17, 17),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "D": (30, 17, 17, 17, 17, 17, 30),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "N": (17, 25, 21, 19, 17, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One clip's picture: where its houses stand, the colour of its sky (0xRRGGBB), and what its credits say."""

    seed: int
    sky: int
    credits: tuple[str, ...]  # of the letters above


def inputs(scene: Scene, folder: Path) -> list[str]:
    """Draw the scene's layers into ``folder``; returns the arguments that name them to ffmpeg, as its first inputs."""
    arguments: list[str] = []
    for name, layer in _layers(scene).items():
        path = folder / f"{name}.pam"
        path.write_bytes(layer.pam())
        arguments += ["-loop", "1", "-framerate", str(_RATE), "-i", str(path)]
    return arguments


def motion() -> str:
    """What ``-filter_complex`` makes of those inputs, as ``[picture]``. Source: ffmpeg-filters(1)."""
    view = f"crop={_WIDTH}:{_HEIGHT}"
    return (
        f"[0:v]{view}:x=t*10:y=0[sky];[1:v]{view}:x=t*{_PAN}:y=0[town];[sky][town]overlay[night];"
        f"[night][2:v]overlay=x={_WIDTH}-t*150:y={_HEIGHT - 62}+2*sin(t*20)[passing];"
        f"[passing][3:v]overlay=x=0:y={_HEIGHT}-t*60,noise=alls=5:allf=t,format=yuv420p[picture]"
    )


@dataclass(slots=True)
class _Layer:
    """A picture of boxes, and nothing between them unless it is given a ground."""

    width: int
    height: int = _HEIGHT
    ground: int | None = None
    rows: list[bytearray] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = [bytearray(_pixel(self.ground) * self.width) for _ in range(self.height)]

    def box(self, x: int, y: int, width: int, height: int, colour: int) -> None:
        left, right = max(0, x), min(self.width, x + width)
        for row in self.rows[max(0, y) : max(0, y + height)]:
            row[4 * left : 4 * right] = _pixel(colour) * max(0, right - left)

    def pam(self) -> bytes:
        """Source: pam(5)."""
        head = f"P7\nWIDTH {self.width}\nHEIGHT {self.height}\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
        return head.encode() + b"".join(self.rows)


def _pixel(colour: int | None) -> bytes:
    return bytes(4) if colour is None else colour.to_bytes(3, "big") + b"\xff"


def _layers(scene: Scene) -> dict[str, _Layer]:
    chance = random.Random(scene.seed)
    sky = _Layer(_WIDTH + 10 * SECONDS, ground=scene.sky)
    for _ in range(40):
        sky.box(chance.randrange(sky.width), chance.randrange(180), 2, 2, 0xE8E8FF)
    for row in range(-30, 31):  # the moon
        half = int((900 - row * row) ** 0.5)
        sky.box(520 - half, 80 + row, 2 * half, 1, 0xFFF2C0)
    return {"sky": sky, "town": _town(chance), "train": _train(), "words": _words(scene.credits)}


def _town(chance: random.Random) -> _Layer:
    town = _Layer(_WIDTH + SECONDS * _PAN)
    left = -20
    while left < town.width:
        width, height = chance.randrange(60, 130), chance.randrange(90, 230)
        town.box(left, _HEIGHT - height, width, height, chance.choice((0x5A4A78, 0x3F5F7F, 0x7A4F5F, 0x44606A)))
        for x in range(left + 10, left + width - 16, 22):
            for y in range(_HEIGHT - height + 14, _HEIGHT - 80, 30):
                town.box(x, y, 12, 16, 0xFFD870 if chance.random() < 0.6 else 0x20283A)
        left += width + chance.randrange(30)
    town.box(0, _HEIGHT - 12, town.width, 12, 0x282830)
    return town


def _train() -> _Layer:
    train = _Layer(330, 50)
    for left in range(4, 330, 108):
        train.box(left, 6, 100, 40, 0xC8443C)
        train.box(left, 34, 100, 6, 0xF4F4F4)
        for x in range(left + 8, left + 90, 22):
            train.box(x, 12, 16, 14, 0xBFE8FF)
    return train


def _words(lines: Iterable[str]) -> _Layer:
    words, size = _Layer(_WIDTH), 5
    for number, line in enumerate(lines):
        left, top = (_WIDTH - len(line) * 6 * size) // 2, 20 + number * 70
        for place, letter in enumerate(line):
            for row, dots in enumerate(_LETTERS.get(letter, ())):
                for column in range(5):
                    if dots & 16 >> column:
                        x, y = left + (place * 6 + column) * size, top + row * size
                        words.box(x, y, size, size, 0xFFFFFF)
    return words
