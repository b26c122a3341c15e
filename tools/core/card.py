"""The dataset card: ``README.md`` of the output repo, and whose one that lies there is.

It is ours to write where there is none, or the hub's stub; and to write again where ours lies as we wrote it (its last
line has the digest of the rest). One that a person wrote, or added a word to, is never touched.
"""

import hashlib
import json
import re

from tools.core.columns import COLUMNS, features
from tools.core.frames import FRAME_COLUMNS
from tools.core.record import METADATA

CARD = "README.md"
_SEAL = re.compile(r"<!-- written by the pipeline, until somebody edits it: ([0-9a-f]{64}) -->\n\Z")
_FRONT = re.compile(r"\A---\n(.*?\n)?---\n?", re.DOTALL)
_LICENSE = re.compile(r"^license: *(.*)$", re.MULTILINE)
_STUB_FRONT = re.compile(r"(license: .*|#.*|\s*|tags: *(\[\])?|)")
# What the hub puts into a repo that was made on its pages, and nobody has filled in.
_STUB_LINES = (
    re.compile(r"数据集文件元信息以及数据文件，请浏览.{0,3}数据集文件.{0,3}页面获取。"),
    re.compile(r"当前数据集卡片使用的是默认模版，数据集的贡献者未提供更加详细的数据集介绍.*"),
    re.compile(r"#* *下载方法"),
    re.compile(r"#* *Clone with HTTP"),
    re.compile(r":modelscope-code\[\]\{type=.{3,8}\}"),
)


def may_write(content: bytes | None) -> bool:
    """Whether nobody's work is lost if the card is replaced; None: there is none."""
    if content is None:
        return True
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return False
    return _is_ours(text) or _is_stub(text)


def card_instead_of(content: bytes | None, output_repo: str, input_repo: str, endpoint: str) -> bytes | None:
    """The card to be put in the place of what lies there; None if that stays.

    One of ours stays while what loaders read in it is right: another input repo of the same output wrote it.
    """
    if not may_write(content):
        return None
    made = card(output_repo, input_repo, endpoint, license_in(content))
    front = _FRONT.match(made.decode())
    return None if content is not None and front and content.startswith(front[0].encode()) else made


def may_begin(content: bytes | None) -> bool:
    """Whether a card may be written that is made once: there is none, or the hub's stub."""
    return content is None or (may_write(content) and not _is_ours(content.decode("utf-8-sig")))


def frames_card(frames_repo: str, input_repo: str, endpoint: str) -> bytes:
    """The card of the dataset of scene frames. The same values give the same bytes."""
    address = f"{endpoint.rstrip('/')}/datasets/{input_repo}"
    rows = "\n".join(f"| `{one.name}` | {one.kind} | {one.about} | {one.about_zh} |" for one in FRAME_COLUMNS)
    text = f"""---
license: other
pretty_name: scene frames
tags:
- image
- animation
- webdataset
configs:
- config_name: default
  data_files:
  - split: train
    path: "**/*.tar"
---

# {frames_repo.partition("/")[2]}

One picture of every scene of each video of [{input_repo}]({address}), as WebP, in archives that WebDataset
loaders read.

[{input_repo}]({address}) 中每个视频的每个场景一张图片（WebP），打包为 WebDataset 加载器可直接读取的归档。

```python
import glob

import webdataset
from modelscope import dataset_snapshot_download

top = dataset_snapshot_download({json.dumps(frames_repo)})
pictures = webdataset.WebDataset(glob.glob(top + "/**/*.tar", recursive=True)).decode("pil").to_tuple("webp", "json")
```

Each archive (`A/A_part01of03.tar`) has `<key>.webp` beside `<key>.json`. `{METADATA}` beside it has the same fields of
every picture, and in `archive` the file that has it.

每个归档（`A/A_part01of03.tar`）中 `<key>.webp` 与 `<key>.json` 成对。旁边的 `{METADATA}` 有每张图片的同样字段，
`archive` 为其所在的归档。

| field 字段 | type 类型 | what it says | 含义 |
| --- | --- | --- | --- |
{rows}
"""
    return text.encode()


def license_in(content: bytes | None) -> str:
    """What a card names as license, which whoever made the repo chose; "" if none."""
    front = _FRONT.match((content or b"").decode("utf-8-sig", "replace").replace("\r\n", "\n"))
    found = _LICENSE.search(front[1] or "") if front else None
    said = found[1].strip() if found else ""
    return said if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,60}", said) else ""


def card(output_repo: str, input_repo: str, endpoint: str, license_name: str = "") -> bytes:
    """The card as this version writes it. The same values give the same bytes."""
    text = f"---\n{_front(license_name or 'other')}---\n\n{_body(output_repo, input_repo, endpoint.rstrip('/'))}\n"
    return (text + f"<!-- written by the pipeline, until somebody edits it: {_digest(text)} -->\n").encode()


def _is_ours(text: str) -> bool:
    seal = _SEAL.search(text)
    return seal is not None and seal[1] == _digest(text[: seal.start()])


def _is_stub(text: str) -> bool:
    front = _FRONT.match(text)
    if front and not all(_STUB_FRONT.fullmatch(line) for line in (front[1] or "").splitlines()):
        return False
    lines = (line.strip() for line in text[front.end() if front else 0 :].splitlines())
    return all(any(known.fullmatch(line) for known in _STUB_LINES) for line in lines if line)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _front(license_name: str) -> str:
    """For loaders and the hub's pages: which files make up the dataset, with the type of each column."""
    lines = [
        f"license: {license_name}",
        "pretty_name: AV1 videos",
        "tags:",
        *(f"- {tag}" for tag in ("video", "av1", "matroska", "animation")),
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        f'    path: "**/{METADATA}"',
        "dataset_info:",
        "- config_name: default",
        "  features:",
        *_features(features(), "  "),
    ]
    return "\n".join(lines) + "\n"


def _features(found: list[dict[str, object]], indent: str) -> list[str]:
    lines = []
    for feature in found:
        (_, name), (kind, value) = feature.items()
        lines.append(f"{indent}- name: {name}")
        if isinstance(value, list):
            lines += [f"{indent}  {kind}:", *_features(value, indent + "  ")]
        else:
            lines.append(f"{indent}  {kind}: {value}")
    return lines


def _body(output_repo: str, input_repo: str, endpoint: str) -> str:
    rows = "\n".join(f"| `{one.name}` | {_type_of(one.name)} | {one.about} | {one.about_zh} |" for one in COLUMNS)
    return f"""# {output_repo.partition("/")[2]}

Every video of [{input_repo}]({endpoint}/datasets/{input_repo}) as AV1 in Matroska, with its sound, subtitles, fonts and
chapters. Each result was decoded in full and compared with its source before it was published.

[{input_repo}]({endpoint}/datasets/{input_repo}) 中每个视频的 AV1（MKV）版本，保留声音、字幕、字体和章节。
每个结果在发布前都经过完整解码，并与源文件对比。

## Load it · 加载

The table, one row per video, without downloading a video · 表格，每个视频一行，不下载视频:

```python
from modelscope.msdatasets import MsDataset

table = MsDataset.load({json.dumps(output_repo)}, split="train")
```

With the videos, in the column `video` · 连同视频（`video` 列）:

```python
from datasets import load_dataset
from modelscope import dataset_snapshot_download

top = dataset_snapshot_download({json.dumps(output_repo)})
videos = load_dataset("videofolder", data_files=top + "/**", split="train")
```

## How it was made · 制作方式

Pictures were encoded to AV1 where they were not AV1 already; all other streams were copied where Matroska can hold
them. What was done to each stream, by which encoder and with which settings, is in the row of each video.

非 AV1 的画面重新编码为 AV1；其余的流凡 Matroska 能容纳的都直接复制。每条流的处理、编码器和参数都写在该视频的一行里。

## Columns · 列

One `{METADATA}` per folder, one row per video. Every row has every column: a text that is not known is empty, a number
0, a time 1970-01-01.

每个文件夹一个 `{METADATA}`，每个视频一行，每行的列都相同：未知的文本为空，数字为 0，时间为 1970-01-01。

| column 列 | type 类型 | what it says | 含义 |
| --- | --- | --- | --- |
{rows}
"""


def _type_of(name: str) -> str:
    feature = next(one for one in features() if one["name"] == name)
    return str(feature.get("dtype") or "list of objects")
