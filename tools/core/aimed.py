"""What a record says of the aim of its encode: its column ``target``, as ``tools.media.aim`` tells it.

::

    {"vmaf": the target, "crf": made with, "predicted": score, "predicted_size": bytes, "probes": number,
     "reason": see ``tools.core.crf_search``, "begin": where a neighbour's search should begin, if not at ``crf``,
     "not_found": why no CRF was, "video_size", "source_video_size": bytes,
     "fitted": true if it was encoded smaller than it was aimed at, "bigger": keep or remux if it is too big even so}

Records are read from where anybody may write, so nothing in one is taken for granted.
"""

import json
from collections.abc import Mapping
from typing import Any

_HIGHEST_CRF = 63


def aim_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """``target`` of a record, {} if it tells nothing."""
    told = record.get("target")
    if isinstance(told, str):
        try:
            told = json.loads(told) if told else None
        except (ValueError, RecursionError):
            return {}
    return told if isinstance(told, dict) else {}


def crf_of(record: Mapping[str, Any]) -> int | None:
    """The CRF that a search came to, None if there was none."""
    told = aim_of(record)
    crf = told.get("crf")
    return crf if "reason" in told and type(crf) is int and 0 < crf <= _HIGHEST_CRF else None


def start_of(record: Mapping[str, Any]) -> int | None:
    """Where the search of a neighbour begins, None if there was no search."""
    begin = aim_of(record).get("begin")
    return begin if type(begin) is int and 0 < begin <= _HIGHEST_CRF else crf_of(record)


def is_bigger(record: Mapping[str, Any]) -> bool:
    """Whether it weighs more than it may, whatever was done."""
    return bool(aim_of(record).get("bigger"))


def saved_percent(bytes_in: int, bytes_out: int) -> int | None:
    """Of the source's bytes; negative if the result is bigger, None without a source."""
    return round(100 * (bytes_in - bytes_out) / bytes_in) if bytes_in else None
