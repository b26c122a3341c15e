"""What a processor and its workers agree upon, and that no option of the output can be forgotten on the way."""

import importlib.metadata
import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="requirements-cluster.txt is not installed")

from config import EncodeSettings, Settings
from tests.cluster import handshake
from tools.cluster.handshake import Handshake, objections, remarks, versions_here
from tools.media.converter import FfmpegConverter
from tools.media.encoding import MachineOptions, OutputOptions
from tools.startup import ENCODERS_FILE, encode_options, handshake_of
from tools.worker import converters_by_handshake


class _NoPrograms(FfmpegConverter):
    def version(self) -> str:
        return "0"


def _other(value: Any) -> Any:
    """A value of the same type that is not this one."""
    return value + 1 if isinstance(value, (int, float)) else f"other than {value}"


def _settings(**encode: Any) -> Settings:
    return replace(Settings(), encode=replace(EncodeSettings(), **encode))


def test_every_option_of_the_output_reaches_a_workers_converter() -> None:
    wanted = {option.name: _other(option.default) for option in fields(OutputOptions)}
    asked = handshake_of(_settings(**wanted), _NoPrograms(OutputOptions()))
    received = Handshake.of_json(json.loads(json.dumps(asked.as_json())))
    assert received == asked
    converter = converters_by_handshake(_settings(ffmpeg="/own/ffmpeg", crf=40.0))(received)
    assert asdict(converter.output) == wanted
    assert converter.machine.ffmpeg == "/own/ffmpeg", "what leaves no trace in the output stays the worker's"


def test_every_setting_of_the_encode_is_an_option_of_the_output_or_of_the_machine() -> None:
    before = encode_options(Settings())
    for setting in fields(EncodeSettings):
        if setting.name in {"cage", "nice", "ionice"}:
            continue  # they hold for all children of a program: see tools.runtime
        after = encode_options(_settings(**{setting.name: _other(setting.default)}))
        assert after != before, f"{setting.name} is read by no converter"
        decides_output = setting.name in {option.name for option in fields(OutputOptions)}
        assert (after[0] != before[0]) == decides_output
    kept = MachineOptions(memory=Settings().paths.log_dir / ENCODERS_FILE, min_free_space=10_000_000_000)
    younger = OutputOptions(target_vmaf=95.0, max_size_percent=100.0)  # than results that do not tell: off for those
    assert encode_options(Settings()) == (younger, kept), "one default each"


def test_workers_own_encoder_stays_if_the_processor_leaves_the_choice() -> None:
    own = OutputOptions(crf=40, preset=9, encoder="av1_nvenc")
    open_choice = handshake(output=OutputOptions(crf=20.0, preset=3))
    assert open_choice.output_at(own) == OutputOptions(crf=20.0, preset=3, encoder="av1_nvenc")
    assert handshake(output=OutputOptions(encoder="libsvtav1")).output_at(own).encoder == "libsvtav1"


def test_converter_whose_encoders_are_tried_is_used_again() -> None:
    converter_for = converters_by_handshake(Settings())
    asked = handshake(output=OutputOptions(crf=20.0))
    assert converter_for(asked) is converter_for(asked)
    assert converter_for(handshake(output=encode_options(Settings())[0])) is converter_for(None)


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
