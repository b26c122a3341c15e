"""What processor and worker of a cluster must agree upon: compared when they meet, before the first job.

The processor sends its handshake; the worker answers with reasons to refuse (it is rejected) or with differences that
do no harm (it is accepted). The token is no part of it: each worker has its own.
"""

import hashlib
import importlib
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tools.media.encoding import OutputOptions
from tools.media.frames import FrameOptions

_PACKAGES = ("dask", "distributed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """What runs on a machine."""

    python: str
    dask: str
    distributed: str
    code: str  # a digest of the project's files
    ffmpeg: str = ""  # as it names itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """What every worker must match: the same programs, and the processor's settings that decide the output."""

    versions: Versions
    endpoint: str  # of the hub; another one is accepted
    output: OutputOptions  # whole, so that no option can be forgotten on the way to a worker
    frames: FrameOptions | None = None  # None: no pictures of scenes are wanted

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> "Handshake":
        versions, output = Versions(**values["versions"]), OutputOptions(**values["output"])
        frames = FrameOptions(**values["frames"]) if values.get("frames") else None
        return cls(**{**values, "versions": versions, "output": output, "frames": frames})

    def output_at(self, worker: OutputOptions) -> OutputOptions:
        """The processor's, except that a worker's own ENCODER stays if the processor leaves the choice (auto)."""
        return replace(self.output, encoder=worker.encoder) if self.output.encoder == "auto" else self.output


def _code_digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


_CODE = _code_digest(Path(__file__).resolve().parent.parent)  # as it was loaded: an upgrade may come while this runs


def versions_here(ffmpeg: str = "") -> Versions:
    """Of this process, whatever was installed since it started."""
    dask, distributed = (str(importlib.import_module(name).__version__) for name in _PACKAGES)
    return Versions(python=platform.python_version(), dask=dask, distributed=distributed, code=_CODE, ffmpeg=ffmpeg)


def objections(here: Versions, asked: Versions) -> list[str]:
    """Reasons to refuse: why a worker with these versions can't work for that processor."""
    found = [
        f"{name} {getattr(here, name)} here, {getattr(asked, name)} at the processor"
        for name in _PACKAGES
        if getattr(here, name) != getattr(asked, name)
    ]
    if _minor(here.python) != _minor(asked.python):
        found.append(f"Python {here.python} here, {asked.python} at the processor")
    if here.code != asked.code:
        found.append("the project's files differ from the processor's: bring both to the same version")
    return found


def remarks(here: Versions, asked: Versions, endpoint: str, asked_endpoint: str) -> Sequence[str]:
    """What differs and does no harm: each result is verified by itself, and its record names its encoder."""
    found = []
    if here.ffmpeg != asked.ffmpeg:
        found.append(f"ffmpeg {here.ffmpeg} here, {asked.ffmpeg} at the processor")
    if endpoint != asked_endpoint:
        found.append(f"MODELSCOPE_ENDPOINT {endpoint} here, {asked_endpoint} at the processor")
    return found


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
