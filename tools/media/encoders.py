"""The AV1 encoders that ffmpeg may have, best first: one entry per encoder holds all that is known about it.

To add one, add its entry to ``ENCODERS`` (and its name to ENCODER's choices in ``config.py``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.media.facts import Stream

FASTEST_PRESET = 13  # of SVT-AV1, whose scale the setting has
FASTEST_RATE = 240  # frames/s that SVT-AV1 accepts; a higher one is only understated to it, no picture is left out
_OLD_SVT_SHIFT = 2  # SVT-AV1 1.x does at preset 8 about what 2.x and later do at 6
_TILED_WIDTH = 256  # pixels; libaom's tiles are 64 wide at least
NEWEST, MODERN, OLD = 2, 1, 0
"""Generations of SVT-AV1 by the parameters that they take: ``tf-strength`` too, those of version 2 and later,
neither."""
_HDR10 = ("Mastering display metadata", "Content light level metadata")

Arguments = dict[str, object]
"""Output options without their dash and stream, in the order of the command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted of an encode, in the words of the settings."""

    preset: int
    quality: int  # the CRF on the encoder's own scale
    threads: int | None  # cores to use, None = the encoder's own choice
    source: Stream | None  # None for a trial


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderType:
    """One of ffmpeg's encoders."""

    name: str  # as ffmpeg calls it
    arguments: Callable[["Encoder", Request], Arguments]
    is_hardware: bool = False  # encodes on a card, which may be missing, busy or break down
    pix_fmt: Callable[[str], str] = str  # the setting → the pixel format that it takes
    quality: Callable[[float], int] = round  # CRF → the value on its own scale
    before: tuple[str, ...] = ()  # global arguments
    uploads: bool = False  # takes frames that a filter brought onto the card, instead of a pixel format
    trial_frames: int = 2  # enough for it to open and to give a packet
    generations: tuple[int, ...] = (NEWEST,)  # the values of ``Encoder.generation`` to be tried, in this order


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """An encoder of one ffmpeg that passed its trial."""

    name: str
    ffmpeg: Path
    svt_version: tuple[int, ...] = ()  # of SVT-AV1 as it says itself, () if it did not say or is another encoder
    generation: int = NEWEST  # of the parameters that it was seen to take
    crops: bool = False  # its ffmpeg cuts pictures as the container says unless told not to

    @property
    def type(self) -> EncoderType:
        return BY_NAME[self.name]

    @property
    def is_hardware(self) -> bool:
        return self.type.is_hardware

    @property
    def modern(self) -> bool:
        """Whether it takes the parameters of SVT-AV1 2 and later."""
        return self.generation >= MODERN

    @property
    def tells_changes(self) -> bool:
        """Whether its ffmpeg says when pictures change while it encodes. Source: tried with 5.1 and 9.0."""
        return self.crops

    @property
    def has_dolby_vision(self) -> bool:
        """Whether it can write Dolby Vision: the wrappers of software encoders since ffmpeg 7.1, as ``crops`` is."""
        return self.crops and self.name in {"libsvtav1", "libaom-av1"}

    @property
    def label(self) -> str:
        version = " SVT-AV1 " + ".".join(map(str, self.svt_version)) if self.svt_version else ""
        return f"{self.name}{version}"


def _card_format(pix_fmt: str) -> str:
    return "p010le" if "10" in pix_fmt else "nv12"


def _nvenc(encoder: Encoder, request: Request) -> Arguments:
    own: Arguments = {"preset": "p7", "tune": "hq", "rc": "vbr", "cq": request.quality, "b": 0}
    return own | {"multipass": "fullres", "spatial-aq": 1, "temporal-aq": 1, "rc-lookahead": 32}


def _qsv(encoder: Encoder, request: Request) -> Arguments:
    return {"preset": "slower", "global_quality": request.quality}


def _vaapi(encoder: Encoder, request: Request) -> Arguments:
    return {"rc_mode": "CQP", "global_quality": request.quality}


def _aom(encoder: Encoder, request: Request) -> Arguments:
    own: Arguments = {"crf": request.quality, "b": 0, "cpu-used": min(8, request.preset), "row-mt": 1}
    own |= {"threads": request.threads} if request.threads else {}
    if request.source is None or int(request.source.facts.get("width") or 0) >= _TILED_WIDTH:
        own["tiles"] = "2x1"
    return own


def _svt(encoder: Encoder, request: Request) -> Arguments:
    own: Arguments = {"preset": _svt_preset(encoder, request.preset), "crf": request.quality}
    # Source: the tables of docs/performance.md; a stronger filter over time costs detail of drawn pictures.
    parameters = ["enable-variance-boost=1"] if encoder.modern else []
    parameters += ["tf-strength=1"] if encoder.generation >= NEWEST else []
    parameters += [f"lp={_parallelism(encoder, request.threads)}"] if request.threads else []
    parameters += _svt_source_parameters(request.source) if request.source is not None else []
    return own | ({"svtav1-params": ":".join(parameters)} if parameters else {})


def _svt_preset(encoder: Encoder, preset: int) -> int:
    old = bool(encoder.svt_version) and encoder.svt_version[0] < 2
    return min(FASTEST_PRESET, preset + _OLD_SVT_SHIFT) if old else preset


_SVT_CORES = (1, 2, 5, 11, 23)


def _parallelism(encoder: Encoder, cores: int) -> int:
    """SVT-AV1's ``lp`` for so many cores: their number before version 2, a level of 1 to 6 since.

    Source: SVT-AV1 enc_handle.c, PARALLEL_LEVEL_*_RANGE, by which it chooses its own level for a whole machine.
    """
    if not encoder.modern:
        return cores
    return next((level for level, most in enumerate(_SVT_CORES, 1) if cores <= most), len(_SVT_CORES) + 1)


def _svt_source_parameters(source: Stream) -> list[str]:
    """What SVT-AV1 can't be left to find out: HDR10 values (older ffmpeg drops them) and rates that it refuses.

    Source: SVT-AV1 Docs/Parameters.md, ``mastering-display``, ``content-light``, ``fps-num``.
    """
    parameters = [f"fps-num={FASTEST_RATE}:fps-denom=1"] if source.fastest_rate > FASTEST_RATE else []
    screen, light = (source.hdr.get(name) for name in _HDR10)
    if screen:
        points = [
            f"{letter}({_ratio(screen, f'{name}_x')},{_ratio(screen, f'{name}_y')})"
            for letter, name in (("G", "green"), ("B", "blue"), ("R", "red"), ("WP", "white_point"))
        ]
        parameters.append(
            "mastering-display="
            + "".join(points)
            + f"L({_ratio(screen, 'max_luminance')},{_ratio(screen, 'min_luminance')})"
        )
    if light:
        parameters.append(f"content-light={light.get('max_content', 0)},{light.get('max_average', 0)}")
    return parameters


def _ratio(entry: Mapping[str, Any], name: str) -> str:
    """``34000/50000`` → ``0.68000``."""
    above, _, below = str(entry.get(name) or "0/1").partition("/")
    return f"{float(above) / (float(below) or 1):.5f}"


ENCODERS = (
    EncoderType(name="av1_nvenc", arguments=_nvenc, is_hardware=True, pix_fmt=_card_format, trial_frames=8),
    EncoderType(name="av1_qsv", arguments=_qsv, is_hardware=True, pix_fmt=_card_format, trial_frames=8),
    EncoderType(
        name="av1_vaapi",
        arguments=_vaapi,
        is_hardware=True,
        pix_fmt=_card_format,
        quality=lambda crf: round(crf * 255 / 63),
        before=("-init_hw_device", "vaapi=card", "-filter_hw_device", "card"),
        uploads=True,
        trial_frames=8,
    ),
    EncoderType(name="libsvtav1", arguments=_svt, generations=(NEWEST, MODERN, OLD)),
    EncoderType(name="libaom-av1", arguments=_aom),
)
"""In the order of preference."""

BY_NAME = {entry.name: entry for entry in ENCODERS}
