"""``python3 -I look_at_pictures.py FOLDER [SHEET LABELS]``: opens each WebP file of a folder as its readers will.

Runs confined as ffmpeg does, since what is in a file may be anybody's. On standard output a line for each, by name:
``NAME WIDTH HEIGHT SPREAD HASH``. ``SPREAD``: standard deviation of luma, 0 for one colour; ``HASH``: dHash, 64 bits.
With ``SHEET``: also a contact sheet, below each picture a line of the file ``LABELS``.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageStat

_THUMB = (240, 150)  # pixels, with the label
_COLUMNS, _LABEL = 8, 14
_MOST_ON_SHEET = 1000  # more than that no screen shows


def difference_hash(picture: Image.Image) -> str:
    """Whether each of 8x8 points is brighter than the one left of it. Source: N. Krawetz, «Kind of Like That»."""
    small = picture.convert("L").resize((9, 8), Image.Resampling.LANCZOS).tobytes()
    bits = [small[9 * y + x] < small[9 * y + x + 1] for y in range(8) for x in range(8)]
    return f"{sum(1 << place for place, bit in enumerate(reversed(bits)) if bit):016x}"


def main() -> None:
    paths = sorted(Path(sys.argv[1]).glob("*.webp"))
    thumbs: list[Image.Image] = []
    for path in paths:
        with Image.open(path, formats=("WEBP",)) as picture:
            picture.load()
            spread = ImageStat.Stat(picture.convert("L")).stddev[0]
            print(path.name, *picture.size, f"{spread:.3f}", difference_hash(picture), flush=True)
            if len(sys.argv) > 2 and len(thumbs) < _MOST_ON_SHEET:
                small = picture.convert("RGB")
                small.thumbnail((_THUMB[0] - 4, _THUMB[1] - _LABEL))
                thumbs.append(small)
    if len(sys.argv) > 2:
        labels = Path(sys.argv[3]).read_text(encoding="utf-8").splitlines()
        sheet(thumbs, labels).save(sys.argv[2], "JPEG", quality=85)


def sheet(thumbs: list[Image.Image], labels: list[str]) -> Image.Image:
    """All of them in rows, each with its label."""
    rows = max(1, -(-len(thumbs) // _COLUMNS))
    made = Image.new("RGB", (_COLUMNS * _THUMB[0], rows * _THUMB[1]), "white")
    draw = ImageDraw.Draw(made)
    for place, (thumb, label) in enumerate(zip(thumbs, labels, strict=False)):
        x, y = place % _COLUMNS * _THUMB[0], place // _COLUMNS * _THUMB[1]
        draw.text((x + 2, y), label, fill="black")
        made.paste(thumb, (x + 2, y + _LABEL))
    return made


if __name__ == "__main__":
    Image.MAX_IMAGE_PIXELS = 1 << 28  # of WebP's own limit of 16383 x 16383
    main()
