"""A transport stream → which languages its captions are in, by the descriptor that ffmpeg does not read.

Source: ISO/IEC 13818-1 §2.4.3, §2.4.4 (packets, tables); ATSC A/65 §6.9.2 (caption_service_descriptor).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.media.languages import named_language

_BEGINNING = 8 << 20  # bytes; the tables come several times per second
_SIZES = (188, 192, 204)  # bytes of a packet; the longer ones have something before it or behind it
_SYNCS = 5
_DESCRIPTOR = 0x86
_PROGRAMS, _STREAMS = 0, 2  # identifiers of tables
_LONGEST = 1 << 12  # bytes of a table


def languages_in(path: Path) -> Mapping[str, str]:
    """BCP 47 by channel (CC1, CC3), of those of which it is said. Raises OSError."""
    with path.open("rb") as stream:
        data = stream.read(_BEGINNING)
    maps: set[int] = set()
    for pid, table in _tables(data):
        if pid == 0 and table[0] == _PROGRAMS:
            maps |= {_pid(table, at + 2) for at in range(8, len(table) - 7, 4)}
        elif pid in maps and table[0] == _STREAMS and (found := _services(table)):
            return found
    return {}


def _services(table: bytes) -> Mapping[str, str]:
    """Of the first stream that has some."""
    at = 12 + _length(table, 10)
    while at + 5 <= len(table) - 4:
        end = at + 5 + _length(table, at + 3)
        place = at + 5
        while place + 2 <= min(end, len(table)):
            content = table[place + 2 : place + 2 + table[place + 1]]
            if table[place] == _DESCRIPTOR and content:
                return _told(content)
            place += 2 + table[place + 1]
        at = end
    return {}


def _told(content: bytes) -> Mapping[str, str]:
    """Of the two fields of line 21; if nothing is said of these, their text is that of the digital services in order,
    which broadcasters make of it."""
    entries = [content[at : at + 6] for at in range(1, 1 + 6 * (content[0] & 0x1F), 6)]
    entries = [entry for entry in entries if len(entry) == 6]
    lines = {"CC3" if entry[3] & 1 else "CC1": entry[:3] for entry in entries if not entry[3] & 0x80}
    if not lines:
        digital = {entry[3] & 0x3F: entry[:3] for entry in entries}
        lines = {channel: digital[number] for channel, number in (("CC1", 1), ("CC3", 2)) if number in digital}
    return {channel: tag for channel, code in lines.items() if (tag := named_language(code.decode("latin-1")))}


def _tables(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(PID, table) of each that is there whole."""
    begun: dict[int, bytes] = {}
    for packet in _packets(data):
        pid = _pid(packet, 1)
        payload = packet[4:] if not packet[3] & 0x20 else packet[5 + packet[4] :]
        if not packet[3] & 0x10 or not payload or (pid not in begun and not packet[1] & 0x40):
            continue
        begun[pid] = payload[1 + payload[0] :] if packet[1] & 0x40 else begun[pid] + payload
        table = begun[pid]
        if len(table) >= 3 and len(table) >= 3 + _length(table, 1):
            yield pid, table[: 3 + _length(table, 1)]
        if len(table) < 3 or len(table) >= _LONGEST or len(table) >= 3 + _length(table, 1):
            del begun[pid]


def _packets(data: bytes) -> Iterator[bytes]:
    found = (
        (size, first)
        for size in _SIZES
        for first in range(size)
        if data[first : first + _SYNCS * size : size] == b"\x47" * _SYNCS
    )
    size, first = next(found, (0, 0))
    for at in range(first, len(data) - _SIZES[0] + 1, size) if size else ():
        if data[at] == 0x47:
            yield data[at : at + _SIZES[0]]


def _pid(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big") & 0x1FFF


def _length(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big") & 0xFFF
