"""The output as its readers load it: the real ``datasets`` and ``MsDataset``, without a network.

They weigh 700 MB, so they are not installed with the rest: CONTRIBUTING.md says how, and ``READERS_PYTHON`` names the
Python that has them. What they need of the rows is held by tests/unit/test_columns.py in every run.
"""

import hashlib
import io
import json
import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.hub_server import running_hub
from tests.rows import COLLECTION, ROW, collect
from tools.core.card import frames_card
from tools.core.frames import END, Frame, Origin, archive_name, member, row_bytes, rows_of, rows_text, with_rows

PYTHON = os.environ.get("READERS_PYTHON", "")


@pytest.mark.skipif(not PYTHON, reason="READERS_PYTHON names no Python with `datasets`: see CONTRIBUTING.md")
def test_collection_in_which_everything_differs_loads_as_one_dataset(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as hub:
        top = hub.root / "datasets/me/out"
        collect(top)
        command = [PYTHON, str(Path(__file__).parent.parent / "readers.py"), str(top), hub.endpoint]
        env = {**os.environ, "MODELSCOPE_API_TOKEN": hub.token}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
        assert not hub.asked(".mkv"), "the table loads without a video"
    assert done.returncode == 0, done.stderr
    records = [record for records in COLLECTION.values() for record in records]
    seconds = float(sum(record.get("duration_s", 0) for record in records))
    said = json.loads(done.stdout.splitlines()[-1])
    for name, found in said.items():
        first = "video" if name.startswith("videofolder") else "file_name"
        expected = {"rows": len(records), "columns": [first, *list(ROW)[1:]], "seconds": seconds}
        if name == "videofolder of a folder":
            expected |= {"rows": 1, "seconds": found.get("seconds")}
        assert found == expected, name
    assert len(said) == 7


@pytest.mark.skipif(not PYTHON, reason="READERS_PYTHON names no Python with `datasets`: see CONTRIBUTING.md")
def test_archives_of_scene_frames_load_by_their_card_with_each_picture_beside_its_json(tmp_path: Path) -> None:
    top, expected = tmp_path / "frames", []
    top.mkdir()
    (top / "README.md").write_bytes(frames_card("me/frames", "me/in", "http://h"))
    for place, path in enumerate(("番剧A/第 1.5 集.mp4", "番剧A/第1.6集 [1080p].v2.mkv", "B.2/e.p.mkv")):
        content = io.BytesIO()
        Image.new("RGB", (64 + place, 48), (250, 10 * place, 0)).save(content, "WEBP")
        digest = hashlib.sha256(content.getvalue()).hexdigest()
        frames = [Frame(n, 24 * n, n / 1, n - 0.5, n + 0.5, 64 + place, 48, "0" * 16, digest) for n in (1, 2)]
        rows = rows_of(Origin(path, "5" * 64), frames)
        folder = top / Path(path).parent
        folder.mkdir(exist_ok=True)
        name = archive_name(folder.name, place + 1, 3)
        pieces = [member(f"{row['key']}.{kind}", text) for row in rows
                  for kind, text in (("json", row_bytes(row)), ("webp", content.getvalue()))]  # fmt: skip
        (folder / name).write_bytes(b"".join(block for blocks in pieces for block in blocks) + END)
        table = folder / "metadata.jsonl"
        before = table.read_bytes() if table.exists() else b""
        table.write_bytes(rows_text(with_rows(before, [(name, rows)])))
        expected += [[row["key"], [64 + place, 48], row] for row in rows]
    command = [PYTHON, str(Path(__file__).parent.parent / "frame_readers.py"), str(top)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 4
    for name, samples in found.items():
        assert isinstance(samples, list), (name, samples)
        # `datasets` names a sample by its archive too.
        assert [[key.rpartition("/")[2], *rest] for key, *rest in samples] == sorted(expected), name
