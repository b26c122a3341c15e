"""ffprobe's JSON → the same, in the types that its documentation promises. Pure.

What is in it was written by whoever made the file. Behind this a number is a number, a list is a list, and no text has
what a command line can't carry (NUL, half characters); what is something else than promised is left out.
"""

import math
from collections.abc import Mapping
from typing import Any

from tools.core.errors import ProbeError

_WHOLE = frozenset(
    {
        *("width", "height", "channels", "bits_per_sample", "bits_per_raw_sample", "nb_frames", "extradata_size"),
        *(
            "closed_captions",
            "dv_profile",
            "dv_bl_signal_compatibility_id",
            "max_content",
            "max_average",
            "duration_ts",
        ),
    }
)
_NUMBERS = frozenset({"start_time", "end_time", "duration", "rotation"})
_OBJECTS = frozenset({"tags", "disposition", "format"})
_LISTS = frozenset({"streams", "chapters", "side_data_list", "frames"})
_FRACTIONS = {"sample_aspect_ratio": ":", "avg_frame_rate": "/", "r_frame_rate": "/"}
_FRACTIONS |= {f"{point}_{axis}": "/" for point in ("red", "green", "blue", "white_point") for axis in "xy"}
_FRACTIONS |= {"max_luminance": "/", "min_luminance": "/"}
LARGEST = 10**15
"""What a number of an answer may be at most; a larger one means nothing."""
_DEEPEST = 8


def cleaned(content: object) -> dict[str, Any]:
    """The answer's object; {} for something else. Raises ProbeError if streams have no number of their own."""
    answer = _object(content, 0)
    numbers = [stream.get("index") for stream in answer.get("streams", ())]
    if len(set(numbers)) != len(numbers) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ProbeError("ffprobe's answer can't be understood: its streams are not numbered")
    return answer


def _object(content: object, depth: int) -> dict[str, Any]:
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return {}
    found = {_text(str(name)): _value(str(name), value, depth) for name, value in content.items()}
    return {name: value for name, value in found.items() if value is not None}


def _value(name: str, value: object, depth: int) -> Any:
    if name == "tags":
        return {key: str(tag) for key, tag in _object(value, depth + 1).items() if not isinstance(tag, dict | list)}
    if name in _OBJECTS:
        return _object(value, depth + 1)
    if name in _LISTS:
        return [_object(one, depth + 1) for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
    if name in _WHOLE or name in _NUMBERS:
        found = number(value)
        return found if found is None or name in _NUMBERS else int(found) if found >= 0 else None
    if name in _FRACTIONS:
        return _fraction(value, _FRACTIONS[name])
    if isinstance(value, str):
        return _text(value)
    return value if isinstance(value, bool | int | float) and number(value) is not None else None


def number(value: object) -> float | None:
    """A finite number of sane size, also if it is written as text; None for anything else."""
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return found if abs(found) <= LARGEST else None


def _fraction(value: object, mark: str) -> str | None:
    """``a/b`` or ``a:b`` of whole numbers that fit into 31 bits, as it came."""
    parts = str(value).split(mark)
    whole = all(part.isascii() and part.isdigit() and len(part) < 11 and int(part) < 1 << 31 for part in parts)
    return str(value) if len(parts) == 2 and whole else None


def _text(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
