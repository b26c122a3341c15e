"""The output as its readers load it: the real ``datasets`` and ``MsDataset``, without a network.

They weigh 700 MB, so they are not installed with the rest: CONTRIBUTING.md says how, and ``READERS_PYTHON`` names the
Python that has them. What they need of the rows is held by tests/unit/test_columns.py in every run.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.hub_server import running_hub
from tests.rows import COLLECTION, ROW, collect

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
