"""Text in the cells of a terminal: how many it takes, and how it is cut so that people can still tell it apart."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

# Compiled when they are first needed: --status must not wait for what it does not use.
_EPISODE = r"(?i)(?<![0-9a-z.])(?:s\d{1,2}\s?e|ep?|第)?\d{1,4}(?:v\d)?[话話集回]?(?![0-9a-z.])"
_WIDE = "\u2e80-\u9fff\uff00-\uffef"
_CLOSING = "，。；：、）！？”"
# What stays on one line: a command, a wide character, or a word, each with the punctuation behind it.
_WORD = rf"`[^`]*`[^\s{_WIDE}]*[{_CLOSING}]*|[（“]*[{_WIDE}][{_CLOSING}]*|[（“]*[^\s{_WIDE}]+[{_CLOSING}]*"
_YEAR = r"(?:19|20)\d\d"


def cells(text: str) -> int:
    """How many cells the text takes: a CJK character two, a combining mark none."""
    return sum(
        2 if unicodedata.east_asian_width(char) in "WF" else 0 if unicodedata.combining(char) else 1 for char in text
    )


def rows_of(line: str, columns: int) -> int:
    """How many rows of a terminal a line takes; colours take no cells."""
    plain = re.sub("\033\\[[0-9;]*m", "", line) if "\033" in line else line
    return max(1, -(-cells(plain) // columns))


def cut(text: str, room: int) -> str:
    """The text in at most ``room`` cells; what is too long loses its end."""
    return text if cells(text) <= room else _beginning(text, room - 1) + "…"


def padded(text: str, room: int) -> str:
    """The text with blanks behind it, so that it takes ``room`` cells."""
    return text + " " * (room - cells(text))


def wrapped(text: str, room: int, indent: int = 0) -> list[str]:
    """The text in lines of at most ``room`` cells, the second and later ones indented. Broken at blanks and between
    Chinese characters, and not within a command between backticks: that, and a longer word, is left whole, so that it
    can be copied."""
    lines, end = [""], 0
    for word in re.finditer(_WORD, text):
        gap, end = text[end : word.start()], word.end()
        if lines[-1].strip() and cells(lines[-1] + gap + word[0]) > room:
            lines.append(" " * indent)
            gap = ""
        lines[-1] += gap + word[0]
    return lines


def cut_name(name: str, room: int) -> str:
    """A file name or path in at most ``room`` cells; one that is too long loses what stands around its number."""
    if cells(name) <= room:
        return name
    stem = str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name
    if cells(stem) <= room:
        return stem
    start, end = _episode_number(stem)
    number, rest = stem[start:end], stem[end:]
    left = room - cells(number) - 1  # for the beginning, and for what follows the number
    after = "…" if rest else ""
    beginning = _beginning(stem[:start], left - cells(after))
    if beginning == stem[:start]:
        return cut(stem, room)
    return cut(f"{beginning}…{number}{after}", room)


def names_apart(paths: Sequence[str], room: int) -> list[str]:
    """What to call files, to be cut to at least ``room`` cells: by their names; those that would look alike, as two
    seasons' first episodes do, by their paths from the word on at which these begin to differ."""
    alike: dict[str, list[str]] = {}
    for path in paths:
        alike.setdefault(cut_name(_name(path), room), []).append(path)
    groups = [group for group in alike.values() if len(set(group)) > 1]
    named = {path: _from_word(path, _differ_at(group)) for group in groups for path in group}
    return [named.get(path, _name(path)) for path in paths]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _differ_at(paths: Sequence[str]) -> int:
    shortest = min(map(len, paths))
    return next((place for place in range(shortest) if len({path[place] for path in paths}) > 1), shortest)


def _from_word(path: str, place: int) -> str:
    while place and path[place - 1].isalnum():
        place -= 1
    return f"…{path[place:]}" if place else path


def _beginning(text: str, room: int) -> str:
    taken = 0
    for place, char in enumerate(text):
        taken += cells(char)
        if taken > room:
            return text[:place]
    return text


def _episode_number(stem: str) -> tuple[int, int]:
    """Where the number of an episode stands: the last that is no year, resolution, codec or digest; else the end."""
    found = [match for match in re.finditer(_EPISODE, stem) if not re.fullmatch(_YEAR, match[0])]
    return found[-1].span() if found else (max(0, len(stem) - 6), len(stem))
