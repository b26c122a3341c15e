"""What a worker and the processor agree on before there is work: versions, and who decides which option."""

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="requirements-cluster.txt is not installed")

from tests.cluster import handshake
from tools.cluster.handshake import Handshake, objections, remarks, versions_here
from tools.media.encoding import EncodeOptions


def test_handshake_compares_what_must_be_the_same_and_tells_what_may_differ() -> None:
    here = versions_here("7.1")
    assert not objections(here, here) and not remarks(here, here, "x", "x")
    for name in ("dask", "distributed", "code"):
        assert len(objections(here, handshake(versions=type(here)(**{**_values(here), name: "0"})).versions)) == 1
    assert objections(here, type(here)(**{**_values(here), "python": "2.7.1"}))
    other = type(here)(**{**_values(here), "ffmpeg": "4.4"})
    assert not objections(here, other) and "4.4" in remarks(here, other, "x", "x")[0]


def test_upgrade_of_the_files_does_not_make_a_running_program_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions_here()
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"a newer version")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "a newer version")
    assert versions_here() == before


def _values(versions: Any) -> dict[str, str]:
    return {name: getattr(versions, name) for name in ("python", "dask", "distributed", "code", "ffmpeg")}


def test_output_is_decided_by_the_processor_and_the_rest_by_the_worker() -> None:
    asked = Handshake.of_json(handshake(crf=20.0, preset=3).as_json())
    own = EncodeOptions(crf=40, preset=9, ffmpeg="/own/ffmpeg", encoder="av1_nvenc")
    options = asked.options(own)
    assert (options.crf, options.preset, options.ffmpeg, options.encoder) == (20.0, 3, "/own/ffmpeg", "av1_nvenc")
    assert handshake(encoder="libsvtav1").options(own).encoder == "libsvtav1"
