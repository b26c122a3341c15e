"""How many videos are encoded at a time, with how many cores each, and what else goes on beside them. Pure decisions.

One encode does not fill a machine. Of 120 s at 360p, preset 10, on 2 cores, one alone took 14 s, two at a time with one
core each 18 s for both; so up to ``_ALONE`` cores each encode gets one. Above that several cores each are no loss, and
fewer videos on the disk at a time. That holds for each preset, so none changes their number: on 2 cores two take 0.60
to 0.68 of the time at preset 10, 0.63 to 0.66 at 8, 0.77 to 0.91 at 6 and 0.81 to 0.87 at 4 (720p to 1080p). What a
slow preset changes is the memory of each. When less is left to do than there are places, each gets a larger share.
"""

from dataclasses import dataclass

_ALONE = 4  # cores up to which each of them gets an encode of its own; above, an encode gets as many
_MOST = 16  # encodes at a time, however large the machine
_SMALLEST = 560_000_000  # bytes that an encode of 1080p takes with one core, as measured
_PER_PIXEL, _PER_FURTHER_PIXEL, _LARGE = 350, 165, 3840 * 2160  # bytes; measured: 2.9 GB of 2160p, 6.9 GB of 4320p
_SLOW, _SLOW_TIMES = 8, 1.4  # presets below it take so many times as much: 0.97 GB of 1080p at 4, 0.55 GB at 10
_SHARE_OF_MEMORY = 0.75  # of what the process may use, as for a single encode
SESSIONS = 3
"""Encodes at a time on one hardware encoder. Source: NVIDIA's Video Encode and Decode GPU Support Matrix: the fewest
sessions that a driver of recent years allows on a card for consumers."""


@dataclass(frozen=True, slots=True)
class Need:
    """What an encode takes beside its cores, and how much there is to do."""

    memory: int = 0  # bytes
    is_hardware: bool = False
    work: float = 0.0  # seconds × pixels of its pictures; 0 = unknown


NO_NEED = Need()


def encodes_for(cores: int, memory: int) -> int:
    """How many encodes at a time are worth their place on a machine with so many cores and bytes of memory."""
    by_cores = cores if cores <= _ALONE else max(_ALONE, cores // _ALONE)
    return max(1, min(by_cores, _MOST, budget_of(memory) // _SMALLEST))


def budget_of(memory: int) -> int:
    """Bytes that all encodes may take together."""
    return int(memory * _SHARE_OF_MEMORY)


def memory_for(width: int, height: int, preset: int) -> int:
    """Bytes that an encode of such pictures takes; small ones count as those that places are made for."""
    pixels = width * height
    quick = min(pixels, _LARGE) * _PER_PIXEL + max(0, pixels - _LARGE) * _PER_FURTHER_PIXEL
    return max(_SMALLEST, int(quick * (_SLOW_TIMES if preset < _SLOW else 1)))


def share_of(cores: int, wanted: int, places: int) -> int:
    """Cores for an encode that begins: ``wanted`` encodes are under way or will be soon, of which ``places`` at a
    time."""
    return max(1, cores // max(1, min(wanted, places)))


@dataclass(frozen=True, slots=True)
class Places:
    """How many jobs at a time each stage takes."""

    download: int
    encode: int
    verify: int
    store: int


_TRANSFERS = 4  # files at a time in each direction: most object stores limit what one connection gets
RANGES, CONNECTIONS = 4, 8
"""Connections at most for one download, and for all of them together."""


def places_for(encodes: int) -> Places:
    return Places(download=_TRANSFERS, encode=encodes, verify=encodes, store=_TRANSFERS)


def jobs_for(encodes: int) -> int:
    """Jobs that are taken at a time: enough that transfers overlap encodes."""
    return 2 * encodes + 2


def range_of(size: int, smallest: int, largest: int) -> int:
    """Bytes of each range of a file that has ``size``: what all connections get at once, within these bounds."""
    return max(smallest, min(largest, -(-size // RANGES)))


def ranges_for(in_use: int, before: int = 0) -> int:
    """Connections for a download that begins while others have so many in ranges; below 2 it is not split. Each of the
    other places keeps one for itself. ``before``: downloads that began earlier and have yet to take theirs."""
    for _ in range(before):
        in_use += max(0, ranges_for(in_use))
    return min(RANGES, CONNECTIONS - (_TRANSFERS - 2) - in_use)
