"""An upload that trickles is ended, as a download is: a slot must not be held for ever."""

import io

import pytest

from tools.core.errors import HubUnavailable, Stopped
from tools.hub.upload import Upload


def send(monkeypatch: pytest.MonkeyPatch, pieces: int, seconds_each: float) -> int:
    """Bytes that went, by pieces of 16 KiB that take so long each."""
    now = 0.0
    moved: list[int] = []
    monkeypatch.setattr("time.monotonic", lambda: now)
    upload = Upload(io.BytesIO(bytes(pieces << 14)), pieces << 14, moved.append, window=60.0)
    while upload.read(1 << 14):
        now += seconds_each
    return sum(moved)


@pytest.mark.parametrize("seconds_each", [0.0, 2.0, 16.0])
def test_slow_upload_is_given_its_time(monkeypatch: pytest.MonkeyPatch, seconds_each: float) -> None:
    """8 kB/s is what a poor line gives: ended, it would begin again from its first byte."""
    assert send(monkeypatch, 100, seconds_each) == 100 << 14


@pytest.mark.parametrize("seconds_each", [17.0, 50.0, 300.0])
def test_upload_that_trickles_is_ended(monkeypatch: pytest.MonkeyPatch, seconds_each: float) -> None:
    with pytest.raises(HubUnavailable, match="no progress"):
        send(monkeypatch, 100, seconds_each)


def test_what_ends_an_upload_is_kept_whatever_becomes_of_it_on_the_way() -> None:
    def stop(moved: int) -> None:
        raise Stopped("stopped")

    upload = Upload(io.BytesIO(b"x"), 1, stop, window=60.0)
    with pytest.raises(Stopped):
        upload.read()
    assert [str(error) for error in upload.ended] == ["stopped"] and len(upload) == 1
