"""Codes of captions as they stand in the pictures → which channels and services have text. Pure.

It tells what a decoder leaves out; it decodes nothing. Source: ATSC A/53 part 4, 6.2.3 (triplets); ANSI/CTA-608-E §8
and annex C (channels of line 21, XDS); ANSI/CTA-708-E §5 to §7 (packets, service blocks, length of codes).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

_MARKS, _IS_VALID, _KIND = 0xF8, 0x04, 0x03
_PACKET, _PACKET_START = 2, 3  # kinds of triplet; 0 and 1 are the fields of line 21
_CAPTIONS = frozenset({0x20, 0x25, 0x26, 0x27, 0x29, 0x2F})  # begin captions: pop-on, roll-up, paint-on; show them
_TEXT = frozenset({0x2A, 0x2B})  # begin a channel of text
_LENGTHS = {0x90: 3, 0x91: 4, 0x92: 3, 0x97: 5, **dict.fromkeys((*range(0x88, 0x8E),), 2)}
_LENGTHS |= {**dict.fromkeys(range(0x98, 0xA0), 7), **dict.fromkeys(range(0x11, 0x18), 2)}
_LENGTHS |= dict.fromkeys(range(0x18, 0x20), 3)
"""Bytes of a code of CEA-708 with its parameters, if there are more than one."""
UNKNOWN = ""
"""Of letters in line 21 before anything says whose they are."""


def channels_in(codes: bytes) -> list[str]:
    """Those that have letters, in order: ``CC1`` to ``CC4``, ``T1`` to ``T4``, ``CEA-708 service N``, UNKNOWN."""
    fields = _Field(0), _Field(1)
    services: set[int] = set()
    packet = bytearray()
    for mark, one, two in zip(codes[::3], codes[1::3], codes[2::3], strict=False):
        if not mark & _IS_VALID or mark & _MARKS != _MARKS:
            continue
        kind = mark & _KIND
        if kind < _PACKET:
            if (one & 0x7F) or (two & 0x7F):
                fields[kind].pair(one & 0x7F, two & 0x7F)
            continue
        if kind == _PACKET_START:
            services.update(_services(packet))
            packet.clear()
        if len(packet) < 128:
            packet += bytes((one, two))
    services.update(_services(packet))
    lines = sorted(fields[0].found | fields[1].found)
    return [*lines, *(f"CEA-708 service {number}" for number in sorted(services))]


def field_of(channel: str) -> int | None:
    """Of line 21, 0 or 1; None for a service of CEA-708 and for UNKNOWN."""
    return (int(channel[-1]) - 1) // 2 if channel.startswith(("CC", "T")) else None


@dataclass(slots=True)
class _Field:
    """One field of line 21."""

    number: int
    found: set[str] = field(default_factory=set)
    _now: str = UNKNOWN
    _is_other: bool = False  # XDS, which tells of programs and is no text

    def pair(self, one: int, two: int) -> None:
        if 0 < one < 0x10:
            self._is_other = self.number == 1 and one != 0x0F
        elif 0x10 <= one < 0x20:
            self._is_other = False
            self._code(one, two)
        elif not self._is_other and (one > 0x20 or two > 0x20):
            self.found.add(self._now)

    def _code(self, one: int, two: int) -> None:
        channel = 2 * self.number + (2 if one & 0x08 else 1)
        is_control = one & 0x76 == 0x14
        if is_control and two in _TEXT:
            self._now = f"T{channel}"
        elif (is_control and two in _CAPTIONS) or not self._now.endswith(str(channel)):
            self._now = f"CC{channel}"
        if (one & 0x77 == 0x11 and 0x30 <= two < 0x40) or (one & 0x77 in {0x12, 0x13} and 0x20 <= two < 0x40):
            self.found.add(self._now)


def _services(packet: bytearray) -> Iterator[int]:
    """Numbers of the services with letters in a packet."""
    size = 2 * (packet[0] & 0x3F or 64) if packet else 0
    at = 1
    while at < min(size, len(packet)):
        number, length = packet[at] >> 5, packet[at] & 0x1F
        at += 1
        if number == 7 and length and at < len(packet):
            number = packet[at] & 0x3F
            at += 1
        if not number:
            return
        if _has_letters(packet[at : at + length]):
            yield number
        at += length


def _has_letters(block: bytearray) -> bool:
    at = 0
    while at < len(block):
        code = block[at]
        if 0x20 < code < 0x7F or code > 0xA0:
            return True
        at += _LENGTHS.get(code, 1)
        if code == 0x10 and at < len(block):  # a code of the second set
            if block[at] >= 0xA0 or 0x20 < block[at] < 0x80:
                return True
            at += 1
    return False
