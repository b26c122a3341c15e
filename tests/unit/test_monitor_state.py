"""What is kept of the monitor's state from one save to the next, and what others read of it without the rest."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from tools.core.folder import RemoteFile, group_folders
from tools.core.stability import Snapshot
from tools.state import monitor_state
from tools.state.monitor_state import STATE_FILE, MonitorState, MonitorStateFile

NAMES = ['A "x": {', "番剧\\B", "last_check", "C/1"]
FOLDERS = group_folders([RemoteFile(f"{name}/1.mp4", 1, "") for name in NAMES], frozenset({"mp4"}))
STATE = MonitorState({name: Snapshot(FOLDERS[name], 1.0, 2.0) for name in FOLDERS}, head="c", repo="me/in")


def test_names_are_those_of_the_last_listing_or_unknown(tmp_path: Path) -> None:
    file = MonitorStateFile(tmp_path)
    assert file.names() is None
    file.save(STATE)
    assert file.names() == set(FOLDERS) == set(NAMES)
    file.save(replace(STATE, head=None, repo="x" * 1900))
    assert file.names() is None, "it was never listed"
    file.save(replace(STATE, folders={}))
    assert file.names() == set()


def test_line_of_a_folder_is_written_anew_if_anything_of_it_changed_and_only_then(tmp_path: Path) -> None:
    file, name = MonitorStateFile(tmp_path), NAMES[1]
    file.save(STATE)
    older = replace(STATE.folders[name], quiet_from=9.0)
    for state in (
        replace(STATE, settled={name: "fingerprint"}),
        replace(STATE, settled={name: "fingerprint"}, told={name: "said"}),
        replace(STATE, folders=STATE.folders | {name: older}),
    ):
        file.save(state)
        fresh = MonitorStateFile(tmp_path / "fresh")
        fresh.save(state)
        assert (tmp_path / STATE_FILE).read_bytes() == (tmp_path / "fresh" / STATE_FILE).read_bytes()
    with patch.object(monitor_state, "_entry", side_effect=AssertionError("it did not change")):
        file.save(replace(state, last_check=5.0))
