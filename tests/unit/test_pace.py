"""Patience with a machine that is slow or in trouble, and when the file is to blame after all."""

import errno
from pathlib import Path

import pytest

from tools.core.errors import MachineError, ProbeError
from tools.media.pace import Pace, ReadLimit, patiently


@pytest.mark.parametrize(
    ("case", "numbers", "is_there", "refused"),
    [
        ("a length that leads beyond the end", {errno.EIO}, True, True),
        ("a length that no memory holds", {errno.ENOMEM}, True, True),
        ("both", {errno.EIO, errno.ENOMEM}, True, True),
        ("the disk gives the file to nobody", {errno.EIO}, False, False),
        ("no handles", {errno.EMFILE}, True, False),
        ("no handles, among others", {errno.EIO, errno.EMFILE}, True, False),
        ("a signal: it named nothing", set(), True, False),
    ],
)
def test_file_is_to_blame_only_if_all_tries_end_so_and_this_machine_can_read_it(
    case: str, numbers: set[int], is_there: bool, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.media.pace._WAIT", 0.0)
    path = tmp_path / "1.mkv"
    if is_there:
        path.write_bytes(b"damaged")
    tries = []

    def read(limit: ReadLimit) -> None:
        tries.append(limit(0))
        raise MachineError("ffprobe was hindered", status=1, numbers=frozenset(numbers), said="file:1.mkv: so it is")

    with pytest.raises(ProbeError if refused else MachineError) as caught:
        patiently(read, path, Pace(), None)
    assert len(tries) == 3 and tries == sorted(tries), case
    assert ("so it is" in str(caught.value)) is refused
    assert "this machine" not in str(caught.value)


def test_hindrance_that_passes_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.media.pace._WAIT", 0.0)
    path = tmp_path / "1.mkv"
    path.write_bytes(b"whole")
    tries = iter([MachineError("hindered", numbers=frozenset({errno.EIO}), said="x"), None])

    def read(limit: ReadLimit) -> str:
        if (trouble := next(tries)) is not None:
            raise trouble
        return "read"

    assert patiently(read, path, Pace(), None) == "read"
