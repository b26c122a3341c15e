"""Which ffmpeg and which AV1 encoder: candidates are tried with the options of a real run, the best that works is used.

Being listed by ``ffmpeg -encoders`` means nothing (a build lists encoders of cards that are not there), and the place
on PATH neither (a distribution's build lacks the newer encoders). One kind of encoder after the other is tried, those
of all ffmpegs side by side, until one works; what comes behind it is tried when a file needs it.
"""

import itertools
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.core.errors import NoEncoder, PipelineError
from tools.core.message import quoted
from tools.media.choice import Trial, chosen, failures, not_used, ranked
from tools.media.complaints import Complaints, bare
from tools.media.encoders import BY_NAME, ENCODERS, Encoder, EncoderType
from tools.media.encoding import OutputOptions, encoder_arguments
from tools.media.installed import ASKED, INSTALL, find_ffmpegs, find_ffprobe, lines_about, version_in
from tools.media.memory import ONE_DAY, Memory
from tools.runtime.child import run
from tools.runtime.spawn import NOTHING

# SVT-AV1 shall say its version, whatever the environment asks of it. Source: its svt_log.c, SVT_LOG_INFO.
_TALKATIVE = {"SVT_LOG": "3"}
_AT_ONCE = 8  # programs side by side; each takes a fraction of a second


class MediaPrograms:
    """The programs in use, and those that come next."""

    def __init__(self, ffprobe: Path, trials: "Trials") -> None:
        self.ffprobe = ffprobe
        self._trials = trials

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """Those that are known to work, best first."""
        return tuple(ranked(self._trials.done))

    @property
    def ffmpeg(self) -> Path:
        return self.encoders[0].ffmpeg

    @property
    def version(self) -> str:
        """Of the ffmpeg, as it names itself."""
        return self._trials.version_of(self.ffmpeg)

    @property
    def chosen(self) -> str:
        """Which is used, for people."""
        return chosen(self._trials.done)

    @property
    def not_used(self) -> str:
        """Why not the others, for people."""
        return not_used(self._trials.done)

    def after(self, encoder: Encoder) -> Encoder | None:
        """The next one that works, None if there is none; tried now if it must be."""
        while True:
            known = self.encoders
            if following := known[known.index(encoder) + 1 :]:
                return following[0]
            if not self._trials.more():
                return None


def choose(options: OutputOptions, wanted_ffmpeg: str = "auto", memory: Memory | None = None) -> MediaPrograms:
    """The programs to use. Raises NoEncoder, which lists what was tried."""
    trials = Trials(options, find_ffmpegs(wanted_ffmpeg), memory or Memory(None))
    with ThreadPoolExecutor(1) as pool:
        prober = pool.submit(find_ffprobe, trials.ffmpegs, trials.about)
        while not ranked(trials.done):
            if not trials.more():
                raise NoEncoder(f"no AV1 encoder works here ({failures(trials.done)}): {INSTALL}")
        ffprobe = prober.result()
    trials.memory.keep()
    return MediaPrograms(ffprobe, trials)


def try_encoders(options: OutputOptions, wanted_ffmpeg: str = "auto") -> list[Trial]:
    """Every encoder of every candidate, tried. Raises NoEncoder if there is no ffmpeg at all."""
    trials = Trials(options, find_ffmpegs(wanted_ffmpeg), Memory(None))
    while trials.more():
        pass
    return sorted(trials.done, key=lambda trial: trials.ffmpegs.index(trial.ffmpeg))


class Trials:
    """The trials of all encoders of all ffmpegs, in the order of preference, as far as they were needed."""

    def __init__(self, options: OutputOptions, ffmpegs: Sequence[Path], memory: Memory) -> None:
        self.ffmpegs = list(ffmpegs)
        self.memory = memory
        self.done: list[Trial] = []
        self._options = options
        wanted = ENCODERS if options.encoder == "auto" else (BY_NAME[options.encoder],)
        kinds = itertools.groupby(wanted, lambda entry: "card" if entry.is_hardware else entry.name)
        self._kinds = [list(entries) for _, entries in kinds]
        self._lock = threading.Lock()

    def more(self) -> bool:
        """Try the next kind of encoder, of all ffmpegs side by side; False if everything was tried."""
        with self._lock:
            if not self._kinds:
                return False
            pairs = [(ffmpeg, entry) for ffmpeg in self.ffmpegs for entry in self._kinds[0]]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                crops = {ffmpeg: pool.submit(self._crops, ffmpeg) for ffmpeg in self.ffmpegs}
                versions = {ffmpeg: pool.submit(self.version_of, ffmpeg) for ffmpeg in self.ffmpegs}
                tried = [pool.submit(self._try, *pair) for pair in pairs]
                for (ffmpeg, _), trial in zip(pairs, tried, strict=True):
                    self.done.append(_about(trial.result(), versions[ffmpeg].result(), crops[ffmpeg].result()))
            del self._kinds[0]
        self.memory.keep()
        return True

    def version_of(self, ffmpeg: Path) -> str:
        return version_in(self.about(ffmpeg))

    def about(self, program: Path) -> list[str]:
        """What an ffmpeg or ffprobe tells about itself; the error, if it can't be run."""
        question = ["-version"]
        known = self.memory.recall(program, question)
        if known is None:
            try:
                known = {"lines": lines_about(program)}
            except (OSError, PipelineError) as exc:
                return [f"can't be run: {type(exc).__name__}"]
            self.memory.remember(program, question, known)
        return [str(line) for line in known.get("lines", ())]

    def _crops(self, ffmpeg: Path) -> bool:
        """Whether it cuts pictures as the container says (since 7.1), and so has the option that turns it off."""
        picture = ["-apply_cropping", "codec", "-f", "lavfi", "-i", "color=black:s=64x64:r=25:d=0.04"]
        question = ["-hide_banner", "-v", "error", "-nostdin", *picture, "-f", "null", "-"]
        return not self._answer(ffmpeg, question, None)["reason"]

    def _try(self, ffmpeg: Path, entry: EncoderType) -> Trial:
        """A few frames with the options of a real run; for SVT-AV1 first with the parameters that older builds lack."""
        reason = ""
        for generation in entry.generations:
            encoder = Encoder(name=entry.name, ffmpeg=ffmpeg, generation=generation)
            answer = self._answer(ffmpeg, _trial(encoder, self._options), ONE_DAY if entry.is_hardware else None)
            svt_version = tuple(int(part) for part in answer["svt_version"])
            if not answer["reason"] and _is_certain(entry, generation, bool(answer["refused"]), svt_version):
                return Trial(ffmpeg, "", entry.name, True, "works", replace(encoder, svt_version=svt_version))
            reason = reason or str(answer["reason"])
        return Trial(ffmpeg, "", entry.name, False, reason or "refuses its options")

    def _answer(self, ffmpeg: Path, arguments: list[str], lasts: float | None) -> dict[str, Any]:
        """What a run says; that it failed is believed for ``lasts`` s (None: as long as the program is the same)."""
        known = self.memory.recall(ffmpeg, arguments)
        if known is not None and known.get("reason"):
            known = self.memory.recall(ffmpeg, arguments, lasts)
        if known is not None and known.keys() >= {"reason", "svt_version", "refused"}:
            return known
        heard = _Answer()
        try:
            ended = run([ffmpeg, *arguments], access=NOTHING, limits=ASKED, on_complaint=heard.line, env=_TALKATIVE)
        except (OSError, PipelineError) as exc:
            return {"reason": str(exc), "svt_version": [], "refused": False}
        found: dict[str, Any] = {"reason": "", "svt_version": list(heard.svt_version), "refused": heard.refused}
        if ended.status != 0:
            cause = bare(heard.complaints.cause())[:200].rstrip(".")
            found["reason"] = quoted(cause) if cause else "fails without a word"
        if ended.status >= 0:  # a signal says nothing about the next time
            self.memory.remember(ffmpeg, arguments, found)
        return found


def _about(trial: Trial, version: str, crops: bool) -> Trial:
    usable = replace(trial.usable, crops=crops) if trial.usable is not None else None
    return replace(trial, version=version, usable=usable)


class _Answer:
    """What a trial says, each line read: a thread's warnings may come by the hundred in between."""

    def __init__(self) -> None:
        self.complaints = Complaints()
        self.svt_version: tuple[int, ...] = ()
        self.refused = False  # an option; builds that lack one only complain, and encode without it

    def line(self, line: str) -> None:
        self.complaints.line(line)
        self.refused = self.refused or "Error parsing option" in line
        if match := _SVT_BANNER.search(line):
            self.svt_version = tuple(int(part) for part in match.group(1).split("."))


_SVT_BANNER = re.compile(r"SVT-AV1\S* Encoder Lib v(\d+(?:\.\d+)*)")  # forks put their name behind SVT-AV1


def _is_certain(entry: EncoderType, generation: int, refused: bool, svt_version: tuple[int, ...]) -> bool:
    """Whether the options were taken. That nothing was said against them counts only if something was heard at all."""
    if refused:
        return False
    return bool(svt_version) or generation == entry.generations[-1]


def _trial(encoder: Encoder, options: OutputOptions) -> list[str]:
    """The arguments of a trial."""
    before, arguments = encoder_arguments(encoder, options, source=None, threads=None, stream=0)
    picture = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=24:duration=0.5"]
    command = ["-hide_banner", "-v", "warning", "-nostdin", *before, *picture]
    return [*command, "-frames:v", str(encoder.type.trial_frames), *arguments, "-f", "null", "-"]
