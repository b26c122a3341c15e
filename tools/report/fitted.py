"""Blocks of lines in the height of a terminal, so that what matters is seen without scrolling. Pure."""

from collections.abc import Callable, Sequence

from tools.core.message import plural
from tools.runtime.language import ui

_LEAST = 5  # rows of each block that matters, before any gets more
_FEWEST = 3  # with fewer, of which one is a title, a block tells nothing
_MATTER = 4  # blocks


def fitted(
    blocks: Sequence[Sequence[str]], order: Sequence[int], room: int, command: str, rows: Callable[[str], int]
) -> list[str]:
    """Their lines, in their order, in at most ``room`` rows; ``rows``: how many a line takes. ``order``: the places of
    blocks, what matters most first: the first four keep their beginning, then each gets what is left, and ``command``
    shows the others."""
    whole = [sum(map(rows, block)) for block in blocks]
    if sum(whole) <= room:
        return [line for block in blocks for line in block]
    left, given = max(0, room - 1), [0] * len(blocks)
    for most, places in ((_LEAST, order[:_MATTER]), (sum(whole), order)):
        for place in places:
            more = min(min(whole[place], most) - given[place], left)
            if given[place] or more >= min(whole[place], _FEWEST):
                given[place], left = given[place] + more, left - more
    lines = [line for block, most in zip(blocks, given, strict=True) for line in _first(block, most, rows)]
    return [*lines, ui("… {}, see {}", plural(sum(map(len, blocks)) - len(lines), "more line"), command)]


def _first(block: Sequence[str], most: int, rows: Callable[[str], int]) -> list[str]:
    found = []
    for line in block:
        most -= rows(line)
        if most < 0:
            break
        found.append(line)
    return found
