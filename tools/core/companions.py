"""Which subtitles and fonts of a folder go into a video's MKV, if that is wanted. Pure."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

from tools.core.folder import RemoteFile, is_junk, is_safe_path, is_video, mark_of_partial
from tools.core.message import plural

_TEXTS = frozenset({"ass", "ssa", "srt"})  # no WebVTT: ffprobe does not know it as mkvmerge writes it
_PICTURES = frozenset({"sup", "idx"})
_STYLED = frozenset({"ass", "ssa"})  # which name fonts
_FONTS = frozenset({"ttf", "otf", "ttc"})
_LARGEST = 100_000_000  # bytes of one file
_MOST_FONTS, _ALL_FONTS = 500, 512_000_000  # in one MKV: files; bytes of all, which muxers hold in memory


def companions(
    video: RemoteFile, files: Sequence[RemoteFile], extensions: frozenset[str]
) -> tuple[tuple[RemoteFile, ...], int]:
    """The subtitles that are named after a video, and the fonts of its folder if one of those names fonts; by name. And
    how many of the fonts are left out, from the first on that is too much for one MKV.

    ``files``: those directly in its folder; ``extensions`` of videos. A subtitle belongs to the videos with the longest
    name that it begins with: ``ep 1.5.chs.ass`` to ``ep 1.5.mkv`` and not to ``ep 1.mkv``.
    """
    there = {file.name for file in files}
    stems = {_stem(file.name) for file in files if is_video(file.name, extensions)}
    mine = _stem(video.name)
    whole = [
        file
        for file in sorted(files)
        if 0 < file.size <= _LARGEST and is_safe_path(file.path) and not is_junk(file.name)
        if not mark_of_partial(file, there)
    ]
    subtitles = [
        file for file in whole if extension(file.name) in _TEXTS | _PICTURES and _owner(file.name, stems) == mine
    ]
    indexes = {_stem(file.name) for file in subtitles if extension(file.name) == "idx"}
    pictures = [file for file in whole if extension(file.name) == "sub" and _stem(file.name) in indexes]
    paired = {_stem(file.name) for file in pictures}
    found = [f for f in subtitles if extension(f.name) != "idx" or _stem(f.name) in paired]
    fonts = [f for f in whole if extension(f.name) in _FONTS] if any(map(is_styled, _names(found))) else []
    sums = accumulate(file.size for file in fonts)
    kept = sum(1 for number, size in enumerate(sums, 1) if number <= _MOST_FONTS and size <= _ALL_FONTS)
    return (*found, *pictures, *fonts[:kept]), len(fonts) - kept


def too_many_fonts(left_out: int) -> str:
    """What is said of a result that does not have them."""
    most = f"{_MOST_FONTS} files or {_ALL_FONTS // 1_000_000} MB"
    return f"without {plural(left_out, 'font')} of the folder: more than {most} together"


def extension(name: str) -> str:
    """Of a file's name, lower case, without the dot."""
    return name.rpartition(".")[2].lower()


def is_font(name: str) -> bool:
    return extension(name) in _FONTS


def is_subtitle(name: str) -> bool:
    """Whether it makes a track; the pictures of an ``.idx`` do so with it."""
    return extension(name) in _TEXTS | _PICTURES


def is_text(name: str) -> bool:
    return extension(name) in _TEXTS


def is_styled(name: str) -> bool:
    return extension(name) in _STYLED


def tail(name: str, video: str) -> str:
    """What stands between a video's stem and a subtitle's extension: ``zh-Hans`` of ``ep 1.zh-Hans.ass``."""
    return _stem(name)[len(_stem(video)) :].strip(". ")


def _names(files: Iterable[RemoteFile]) -> list[str]:
    return [file.name for file in files]


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _owner(name: str, stems: Iterable[str]) -> str:
    stem = _stem(name)
    return max((one for one in stems if stem == one or stem.startswith(f"{one}.")), key=len, default="")
