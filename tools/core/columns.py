"""The columns of ``metadata.jsonl``: every row has all of them, each of one type, so that any number of folders load as
one dataset.

Readers take the types of a file from what stands in it, and refuse the second file that differs. So there is no null,
no empty list, no whole number where fractions may stand, and no text that is a time by its looks. What a row has beyond
the columns stands in ``other``, as JSON; nothing that somebody wrote is dropped.
Source: pyarrow's JSON reader and ``datasets``' folder builder, see tests/integration/test_readers.py.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tools.core.titles import told_by

Scalar = Literal["text", "time", "int", "float"]
OTHER = "other"
NO_TIME = "1970-01-01T00:00:00+00:00"
LARGEST = 1 << 63  # what no number reaches

# What readers take for a time; one that stands where text is meant gets a blank at its end.
_AS_TIME = re.compile(r"\s*\d{4}-\d\d-\d\d[\sT\d:.,Z+-]*", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", re.ASCII)
_ABSENT: dict[Scalar, object] = {"text": "", "time": NO_TIME, "int": 0, "float": 0.0}


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with these fields, or a list of such objects that is never empty."""

    columns: "tuple[Column, ...]"
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``about``, ``about_zh``: what it says, for the dataset card."""

    name: str
    kind: Scalar | Fields
    about: str = ""
    about_zh: str = ""


_STREAM = (
    Column("index", "int"),
    Column("type", "text"),
    Column("codec", "text"),
    Column("source_codec", "text"),
    Column("action", "text"),
    Column("language", "text"),
    Column("title", "text"),
)

COLUMNS = (
    Column("file_name", "text", "the MKV, in the folder of its row", "MKV 文件名，与该行在同一文件夹"),
    Column("path", "text", "the MKV, in this dataset", "MKV 在此数据集中的路径"),
    Column("series", "text", "name of the series, by folder and file name", "剧名，取自文件夹名和文件名"),
    Column("season", "text", "number of the season, by the names", "第几季，取自名称"),
    Column("episode", "text", "number of the episode, by the names", "第几集，取自名称"),
    Column("source_path", "text", "the source, in the input dataset", "源文件在输入数据集中的路径"),
    Column("source_repo", "text", "the input dataset", "输入数据集"),
    Column("source_sha256", "text", "of the source, hex", "源文件的 sha256"),
    Column("source_size", "int", "of the source, bytes", "源文件大小（字节）"),
    Column("sha256", "text", "of the MKV, hex", "MKV 的 sha256"),
    Column("size", "int", "of the MKV, bytes", "MKV 大小（字节）"),
    Column("duration_s", "float", "seconds", "时长（秒）"),
    Column("frames", "int", "pictures of the first video stream", "第一条视频流的帧数"),
    Column("width", "int", "pixels", "宽度（像素）"),
    Column("height", "int", "pixels", "高度（像素）"),
    Column("encoder", "text", "what encoded the pictures; empty: only remuxed", "视频编码器；空：仅重新封装"),
    Column("settings", "text", "of the encoder, as it was called", "编码器参数"),
    Column("options", "text", "the options that decided this file, JSON", "决定此文件的选项（JSON）"),
    Column(
        "streams",
        Fields(_STREAM, is_list=True),
        "one entry per source stream, with what became of it; index -1: from a subtitle file beside it",
        "每条源流一项，以及它的去向；index 为 -1：来自旁边的字幕文件",
    ),
    Column("quality", "text", "measured against the source, JSON; empty: not measured", "与源对比的质量；空：未测"),
    Column("target", "text", "what its encode was aimed at, JSON; empty: nothing", "编码的目标与结果（JSON）；空：无"),
    Column("attempt_time", "time", "when the conversion began", "转换开始的时间"),
    Column("conversion_s", "float", "seconds that making and verifying it took", "制作并验证所用的秒数"),
    Column("warnings", "text", "one line for each thing dropped or damaged", "每行一条：丢弃或损坏之处"),
    Column("reused_from", "text", "the result of the same source bytes that this is", "同一源内容的已有结果"),
    Column(OTHER, "text", "what the row had beyond these columns, JSON", "该行其余的内容（JSON）"),
)
_BY_NAME = {column.name: column for column in COLUMNS}


def row(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record, ``lifted`` if it was read, as it is published: each column, in their order.

    Raises RecursionError for one that nests too deeply."""
    source = str(record.get("source_path") or "")
    known = told_by(source).as_columns() | {key: value for key, value in record.items() if value is not None}
    made: dict[str, Any] = {}
    more = {key: value for key, value in record.items() if key not in _BY_NAME}
    more |= {key: value for key, value in more_of(record).items() if key not in _BY_NAME or key == OTHER}
    path = source[: source.rfind("/") + 1] + str(known.get("file_name") or "").rpartition("/")[2]
    if known.setdefault("path", path) != path:
        more["path"], known["path"] = known["path"], path  # somebody's own, by another meaning
    for column in COLUMNS:
        value = known.get(column.name)
        made[column.name], is_whole = _typed(column.kind, value)
        if not is_whole and column.name != OTHER:
            more[column.name] = value
    made[OTHER] = _json(more) if more else ""
    return made


def lifted(entry: dict[str, Any]) -> dict[str, Any]:
    """A row as it was read, with what a version that had fewer columns put into ``other`` back in its place."""
    back = {key: value for key, value in more_of(entry).items() if key in _BY_NAME and key != OTHER}
    return {**entry, **back} if back else entry


def more_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What ``other`` of a row says that is no column."""
    said = entry.get(OTHER)
    if said is None or said == "":
        return {}
    try:
        found = json.loads(said) if isinstance(said, str) else said
    except (ValueError, RecursionError):
        found = said
    return found if isinstance(found, dict) else {OTHER: found}


def features(columns: tuple[Column, ...] = COLUMNS) -> list[dict[str, Any]]:
    """As ``dataset_info`` of a dataset card names them."""
    names = {"text": "string", "time": "timestamp[s]", "int": "int64", "float": "float64"}
    found: list[dict[str, Any]] = []
    for column in columns:
        if isinstance(column.kind, Fields):
            shape = "list" if column.kind.is_list else "struct"
            found.append({"name": column.name, shape: features(column.kind.columns)})
        else:
            found.append({"name": column.name, "dtype": names[column.kind]})
    return found


def _typed(kind: Scalar | Fields, value: Any) -> tuple[Any, bool]:
    """A value as its column has it, and whether that says all of it."""
    if isinstance(kind, Fields):
        return _listed(kind, value) if kind.is_list else _object(kind.columns, value)
    if value is None:
        return _ABSENT[kind], True
    if kind == "text":
        return _text(value)
    if kind == "time":
        return (value, True) if isinstance(value, str) and _TIME.fullmatch(value) else (NO_TIME, value == "")
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value < LARGEST:
        return _ABSENT[kind], False
    return (float(value), True) if kind == "float" else (int(value), int(value) == value)


def _text(value: Any) -> tuple[str, bool]:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = "\n".join(value)  # lines, in a row of an older version
    text = value if isinstance(value, str) else _json(value)
    return (text + " " if _AS_TIME.fullmatch(text) and not text.endswith(" ") else text), True


def _object(columns: tuple[Column, ...], value: Any) -> tuple[dict[str, Any], bool]:
    found = value if isinstance(value, Mapping) else {}
    is_whole = (value is None or isinstance(value, Mapping)) and found.keys() <= {column.name for column in columns}
    made = {}
    for column in columns:
        made[column.name], fits = _typed(column.kind, found.get(column.name))
        is_whole = is_whole and fits
    return made, is_whole


def _listed(kind: Fields, value: Any) -> tuple[list[dict[str, Any]], bool]:
    """Never empty, or its type would be unknown: then it has one entry that says nothing."""
    entries = [_object(kind.columns, one) for one in value] if isinstance(value, list) else []
    is_whole = (value is None or isinstance(value, list)) and all(fits for _, fits in entries)
    return [one for one, _ in entries] or [_object(kind.columns, None)[0]], is_whole


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
