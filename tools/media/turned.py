"""What a Matroska track says of its pictures' shape, after the pictures were turned as it says. Pure."""

from tools.media.facts import Stream
from tools.media.matroska import Element
from tools.media.shapes import canvas

# Clockwise: what is at the left, top, right, bottom after a turn was there before it.
_AFTER = {
    0: ("Left", "Top", "Right", "Bottom"),
    90: ("Bottom", "Left", "Top", "Right"),
    180: ("Right", "Bottom", "Left", "Top"),
    270: ("Top", "Right", "Bottom", "Left"),
}
_SIDES = _AFTER[0]
_SWAPPED = {"DisplayWidth": "DisplayHeight", "DisplayHeight": "DisplayWidth"}


def turned(video: Element, rotation: int) -> Element:
    """The Video element of pictures that were turned by ``rotation`` degrees, counted as ffprobe does (against the
    clock). The projection's roll, which said so, is gone."""
    if rotation == 0:
        return video
    clockwise = -rotation % 360
    parts = []
    for part in video.parts:
        if part.name.startswith("PixelCrop") and clockwise in _AFTER:
            now = _SIDES[_AFTER[clockwise].index(part.name.removeprefix("PixelCrop"))]
            parts.append(Element(f"PixelCrop{now}", part.value))
        elif part.name in _SWAPPED and clockwise in {90, 270}:
            parts.append(Element(_SWAPPED[part.name], part.value))
        elif part.name != "Projection" or part.number("ProjectionType"):
            parts.append(part)
    return Element(video.name, "", tuple(parts))


def as_encoded(video: Element, source: Stream) -> Element:
    """The Video element for pictures that were encoded: turned, and on one canvas if they change."""
    target = canvas(source.shapes)
    if target is None:
        return turned(video, source.rotation)
    kept = [part for part in video.parts if not part.name.startswith(("PixelCrop", "Display"))]
    shown = Element("DisplayWidth", round(target.width * target.pixel)), Element("DisplayHeight", target.height)
    return turned(Element(video.name, "", (*kept, *shown)), source.rotation)
