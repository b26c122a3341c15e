"""Loads a dataset of scene frames as its readers do, and prints the samples as JSON; run by a Python that has them:

    PYTHON tests/frame_readers.py TOP

``TOP``: the dataset's folder, with its card.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

scratch = tempfile.mkdtemp()
os.environ |= {"HF_HOME": scratch, "HF_HUB_OFFLINE": "1"}
top = sys.argv[1]

import datasets  # noqa: E402
import webdataset  # type: ignore[import-untyped]  # noqa: E402

datasets.disable_progress_bars()
archives = sorted(map(str, Path(top).rglob("*.tar")))
loads: dict[str, Callable[[], Iterable[Any]]] = {
    "load_dataset(TOP)": lambda: datasets.load_dataset(top, split="train"),
    "streamed": lambda: datasets.load_dataset(top, split="train", streaming=True),
    "load_dataset of archives": lambda: datasets.load_dataset("webdataset", data_files=archives, split="train"),
    "webdataset": lambda: webdataset.WebDataset(archives, shardshuffle=False).decode("pil"),
}
said: dict[str, Any] = {}
for name, load in loads.items():
    try:
        said[name] = sorted([one["__key__"], list(one["webp"].size), one["json"]] for one in load())
    except Exception as exc:
        said[name] = f"{type(exc).__name__}: {exc} {exc.__cause__ or ''}"
print(json.dumps(said))
