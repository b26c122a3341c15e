"""Loads a published collection as its readers do, and prints what came of it as JSON; run by a Python that has them:

    PYTHON tests/readers.py TOP HUB

``TOP``: the collection's folder. ``HUB``: the address of a hub that has it as ``me/out`` ("" = not asked).
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

scratch = tempfile.mkdtemp()
os.environ |= {"HF_HOME": scratch, "MODELSCOPE_CACHE": scratch, "MODELSCOPE_HOME": scratch}
top, hub = sys.argv[1:3]
if hub:
    os.environ["MODELSCOPE_ENDPOINT"] = hub
else:
    os.environ["HF_HUB_OFFLINE"] = "1"

import datasets  # noqa: E402
from modelscope.msdatasets import MsDataset  # noqa: E402

datasets.disable_progress_bars()
rows = sorted(map(str, Path(top).rglob("metadata.jsonl")))
single = Path(rows[-1]).parent
loads: dict[str, Callable[[], Any]] = {
    "load_dataset(OUT)": lambda: datasets.load_dataset(top, split="train"),
    "streamed": lambda: datasets.Dataset.from_list(
        list(datasets.load_dataset(top, split="train", streaming=True).decode(False))
    ),
    "videofolder": lambda: datasets.load_dataset("videofolder", data_files=f"{top}/**", split="train"),
    "videofolder of a folder": lambda: datasets.load_dataset("videofolder", data_files=f"{single}/*", split="train"),
    "json": lambda: datasets.load_dataset("json", data_files=rows, split="train"),
    "MsDataset.load(OUT)": lambda: MsDataset.load(top, split="train"),
}
if hub:
    loads["MsDataset.load from the hub"] = lambda: MsDataset.load("me/out", split="train")
said = {}
for name, load in loads.items():
    try:
        found = load()
        found = getattr(found, "ds_instance", found)
        said[name] = {"rows": len(found), "columns": found.column_names, "seconds": sum(found["duration_s"])}
    except Exception as exc:
        said[name] = {"failed": f"{type(exc).__name__}: {exc} {exc.__cause__ or ''}"}
print(json.dumps(said))
