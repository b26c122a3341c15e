"""MKVToolNix: which of its programs are here, and one run of them under supervision."""

import errno
import re
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.core.errors import EncoderStalled, PipelineError, TranscodeError
from tools.media.complaints import Complaints
from tools.media.program import run_program
from tools.media.transcode import failure
from tools.runtime.child import ChildLimits, ChildOutgrew, ChildStalled, run
from tools.runtime.spawn import NOTHING, Access

OLDEST = 74
"""Major version of MKVToolNix from which on it is used: what Debian 12 has, and all that was tried."""
_FULL = re.compile(
    "; No space left to write"
)  # instead of the system's words. Source: MKVToolNix's mm_io_x.h; seen with 74
_TRIAL = ChildLimits(timeout=30.0)
_SPOKEN = {"LC_ALL": "C.UTF-8"}  # names of files in UTF-8, messages in English
# Three-letter codes that have a second form, which mkvmerge takes but does not list. Source: ISO 639-2.
_SECOND_FORMS = {
    **{"bod": "tib", "ces": "cze", "cym": "wel", "deu": "ger", "ell": "gre", "eus": "baq", "fas": "per", "fra": "fre"},
    **{"hye": "arm", "isl": "ice", "kat": "geo", "mkd": "mac", "mri": "mao", "msa": "may", "mya": "bur", "nld": "dut"},
    **{"ron": "rum", "slk": "slo", "sqi": "alb", "zho": "chi"},
}


@dataclass(frozen=True, slots=True)
class Muxer:
    """A mkvmerge and the mkvpropedit beside it."""

    mkvmerge: Path
    mkvpropedit: Path
    version: str
    languages: Mapping[str, str] = field(default_factory=dict, repr=False)  # any code → its shortest, as in BCP 47

    def canonical(self, language: str) -> str:
        """The BCP 47 tag that mkvmerge makes of a code or tag, "" if it takes it for none."""
        primary, dash, rest = language.lower().partition("-")
        known = self.languages.get(primary, "")
        return f"{known}{dash}{rest}" if known else ""


def find_muxer(setting: str) -> tuple[Muxer | None, str]:
    """The programs of MKVMERGE (auto, off or a path), or None and why not."""
    if setting == "off":
        return None, "MKVMERGE=off"
    found = shutil.which("mkvmerge" if setting == "auto" else setting)
    if found is None:
        return None, "mkvmerge was not found (Debian: mkvtoolnix)"
    mkvmerge = Path(found)
    editor = shutil.which(str(mkvmerge.with_name("mkvpropedit"))) or shutil.which("mkvpropedit")
    if editor is None:
        return None, f"there is no mkvpropedit beside {mkvmerge}"
    version = re.match(r"mkvmerge v((\d+)[\d.]*)", "".join(_answer(mkvmerge, "--version")[:1]))
    if version is None:
        return None, f"{mkvmerge} does not run"
    if int(version[2]) < OLDEST:
        return None, f"mkvmerge {version[1]} is older than {OLDEST}"
    return Muxer(mkvmerge, Path(editor), version[1], _languages(_answer(mkvmerge, "--list-languages"))), ""


def _answer(program: Path, question: str) -> list[str]:
    lines: list[str] = []
    try:
        run([program, question], access=NOTHING, limits=_TRIAL, on_line=lines.append, env=_SPOKEN)
    except (OSError, PipelineError):
        return []
    return lines


def _languages(lines: Sequence[str]) -> dict[str, str]:
    """Rows of ``name | ISO 639-3 | ISO 639-2 | ISO 639-1``."""
    found = {}
    for line in lines:
        codes = [code.strip() for code in line.rsplit("|", 3)[1:]]
        if len(codes) == 3 and codes[0].isalpha() and codes[0].isascii():
            found.update(dict.fromkeys(filter(None, codes), codes[2] or codes[0]))
    return found | {other: found[code] for other, code in _SECOND_FORMS.items() if code in found}


def run_muxer(
    command: Sequence[str | Path], access: Access, *, stall_timeout: float, max_rss: int, stop: threading.Event
) -> list[str]:
    """Run mkvmerge or mkvpropedit to the end; what it warned of. Raises TranscodeError, EncoderStalled, DiskFull,
    MachineError, NoEncoder, Stopped."""
    complaints, warned = Complaints(), []

    def line(line: str) -> bool:
        told, _, text = line.partition(" ")
        if told in {"#GUI#error", "#GUI#warning", "Error:", "Warning:"}:
            complaints.line(text)
            warned.append(text)
            if _FULL.search(text):
                complaints.errnos.add(errno.ENOSPC)
        return told == "#GUI#progress"

    try:
        ended = run_program(
            command,
            access=access,
            limits=ChildLimits(stall=stall_timeout, rss=max_rss),
            stop=stop,
            on_line=line,
            on_complaint=complaints.line,
            env=_SPOKEN,
        )
    except ChildStalled as exc:
        raise EncoderStalled(f"{Path(command[0]).name} {exc}", argv=[*map(str, command)], stderr=exc.stderr) from exc
    except ChildOutgrew as exc:
        raise TranscodeError(f"{Path(command[0]).name} {exc}", argv=[*map(str, command)]) from exc
    if ended.status not in {0, 1}:  # 1: there were warnings
        raise failure(Path(command[0]).name, command, ended, complaints, access)
    return warned
