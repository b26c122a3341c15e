"""The doctor's checks: each checks one thing of this machine or of the hub and reports it in one line.

Takes plain values, changes nothing that stays, and ends: a question to another machine is given up after a limit.
"""

import asyncio
import difflib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from tools.core.errors import (
    HubError,
    HubForbidden,
    HubFull,
    HubNotFound,
    HubUnavailable,
    NoEncoder,
    PipelineError,
)
from tools.core.message import message, plural
from tools.hub.client import HubClient, same_dataset
from tools.hub.modelscope_sdk import TESTED_WITH, moved_parts
from tools.hub.proxy import by_proxy
from tools.media.choice import Trial, chosen, is_bundled, not_used, package_of, ranked, warning_about
from tools.media.frames import NEEDED, OF_HDR, lacking
from tools.media.installed import find_ffmpegs, find_ffprobe, is_old, version_of
from tools.media.mkvmerge import find_muxer
from tools.report.cells import cut, padded, wrapped
from tools.report.health import shown_age
from tools.runtime.cage import CannotConfine, confine_children, confined_text
from tools.runtime.language import colon, term, translated
from tools.runtime.private import distrust
from tools.state.liveness import Life
from tools.state.mirror_file import MirrorState

WIDTH = 100
"""Columns of what the doctor shows."""
INDENT = 22
"""Columns before what a check has seen."""
SET_UP = "run `bash start_monitoring.sh --setup-only`"
_SHOWN = 5  # workers that are named
_SKEW = 300.0  # s; signed addresses of object stores commonly allow 15 minutes


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: one line."""

    subject: str  # what was checked
    ok: bool
    seen: str
    advice: str = ""  # what to do about a problem; makes a warning of what is OK

    def lines(self, width: int) -> list[str]:
        """For a terminal, in the language in use; if that is both, one below the other."""
        state = "PROBLEM" if not self.ok else "WARNING" if self.advice else "OK"
        seen, advice = translated(self.seen, "\n").split("\n"), translated(self.advice, "\n").split("\n")
        lines = []
        for number in range(max(len(seen), len(advice))):
            # What is the same in both is not said twice, unless the other half differs.
            told, what = seen[min(number, len(seen) - 1)], advice[min(number, len(advice) - 1)]
            head = f"{padded(term(state), 8)} {padded(term(self.subject), 12)} " if not number else " " * INDENT
            lines += wrapped(f"{head}{told}{what and ' -> ' + what}", width, INDENT)
        return lines


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    shown = ".".join(str(part) for part in version)
    if version < (3, 10):
        return Finding("python", False, f"{shown} is too old", "install Python 3.10 or newer, then " + SET_UP)
    return Finding("python", True, f"{shown} at {sys.executable}")


def check_packages(requirements: Path) -> Finding:
    """Whether every package that the file names is installed."""
    names = _wanted(requirements.read_text(encoding="utf-8"), os.uname().machine)
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        return Finding("packages", False, "missing: " + ", ".join(missing), SET_UP)
    return Finding("packages", True, f"all {len(names)} of {requirements.name} are installed")


def check_sdk() -> Finding:
    """Whether the installed SDK still has the parts that are used of it."""
    version = importlib.metadata.version("modelscope-hub")
    if moved := moved_parts():
        seen = f"modelscope-hub {version} lacks {', '.join(moved)}"
        return Finding("sdk", False, seen, f"install {TESTED_WITH}, with which this was tested: " + SET_UP)
    tested = "with which this was tested" if version == TESTED_WITH else f"tested with {TESTED_WITH}"
    return Finding("sdk", True, f"modelscope-hub {version}, {tested}")


def _wanted(requirements: str, machine: str) -> list[str]:
    """The packages that a requirements file names for this kind of machine."""
    lines = re.findall(r"^([\w.-]+)[^;\n#]*(?:; *platform_machine == \"(\w+)\")?", requirements, re.MULTILINE)
    return [*dict.fromkeys(name for name, only in lines if only in {"", machine})]


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def check_tmux() -> Finding:
    found = shutil.which("tmux")
    if found is None:
        advice = SET_UP + ", or start with --foreground, which needs no tmux"
        return Finding("tmux", False, "not found", advice)
    return Finding("tmux", True, found)


def check_cage(setting: str) -> Finding:
    """Whether ffmpeg, which opens strangers' files, is confined; also makes it so for what follows."""
    try:
        cage = confine_children(setting)
    except CannotConfine as exc:
        return Finding("cage", False, "ffmpeg can't be confined", str(exc))
    return Finding("cage", True, f"ffmpeg is confined: {confined_text(cage)}")


def check_ffprobe(setting: str) -> Finding:
    """ffmpeg and ffprobe, as the FFMPEG setting asks for them."""
    try:
        ffmpegs = find_ffmpegs(setting)
        ffprobe = find_ffprobe(ffmpegs)
    except NoEncoder as exc:
        return Finding("ffmpeg", False, str(exc), SET_UP)
    found = [_told(version_of(ffmpeg), ffmpeg) for ffmpeg in ffmpegs]
    seen = "; ".join([*found, _told(f"ffprobe {version_of(ffprobe)}", ffprobe)])
    advice = "put a newer one first in PATH: this one refuses some files that ffmpeg decodes (VVC, AVS2)"
    return Finding("ffmpeg", True, seen, advice if is_old(ffprobe) else "")


def _told(version: str, program: Path) -> str:
    package = package_of(program)
    return message(f"{version} of the package {package}") if package else message(f"{version} at {program}")


def check_mkvmerge(setting: str) -> Finding:
    """MKVToolNix, which the conversion can do without."""
    muxer, why = find_muxer(setting)
    if muxer is not None:
        return Finding("mkvmerge", True, _told(muxer.version, muxer.mkvmerge))
    advice = "" if setting == "off" else "install mkvtoolnix: without it a part of what Matroska files have is lost"
    return Finding("mkvmerge", True, f"not used: {why}", advice)


def judge_trials(trials: Sequence[Trial]) -> Finding:
    """Which of the encoders that were tried is used, and why not the others; with advice if it is an old one."""
    working = ranked(trials)
    if not working:
        advice = "install a newer ffmpeg, or set ENCODER=auto"
        return Finding("encoder", False, f"none of the {len(trials)} AV1 encoders works here", advice)
    return Finding("encoder", True, chosen(trials) + not_used(trials), warning_about(working[0]))


def trial_lines(trials: Sequence[Trial]) -> list[str]:
    """The table of the candidates, below the encoder's line: first what is used; fits ``WIDTH`` columns."""
    best = next(iter(ranked(trials)), None)
    rows = []
    for trial in sorted(trials, key=lambda trial: best is None or trial.usable is not best):
        made_by = f" ({trial.usable.label})" if trial.usable is not None else ""
        result = term("works") + made_by if trial.works else term("no: {}", trial.reason)
        state = term("used") if trial.usable is best and best is not None else ""
        release = trial.version.partition("-g")[0]  # without the commit: the reason shall fit
        where = term("ffmpeg {} (bundled)", release) if is_bundled(trial.ffmpeg) else f"ffmpeg {release}"
        rows.append(cut(f"{'':<16} {padded(state, 4)} {trial.encoder:<11} {where}{colon()}{result}", WIDTH))
    return rows


def check_program(name: str, life: Life, now: float) -> Finding:
    """Whether a program of this log folder runs; one that nobody has started is no problem, one that died is."""
    if life.running is None:
        return Finding(name, True, "whether it runs can't be told: its lock can't be read")
    if life.running:
        since = "" if life.since is None else f", for {shown_age(max(0.0, now - life.since))}"
        return Finding(name, True, f"running ({life.holder}){since}")
    if life.died:
        return Finding(name, False, "not running: it died", "start it by `bash start_monitoring.sh`")
    return Finding(name, True, "not running")


def check_dotenv(path: Path, given: Mapping[str, str | None], known: Collection[str]) -> list[Finding]:
    """What is odd about the file of settings, which need not be there: names that nobody reads, and who may read it."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return []
    found = []
    for name in sorted(given.keys() - set(known)):
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]}?" if near else "remove it; README.md lists the settings"
        found.append(Finding(".env", True, f"{name} is no setting and has no effect", advice))
    if mode & 0o077:
        found.append(
            Finding(".env", True, f"others can read {path}, which may hold a token", f"`chmod 600 {quote(str(path))}`")
        )
    return found or [
        Finding(".env", True, f"1 setting in {path}" if len(given) == 1 else f"{len(given)} settings in {path}")
    ]


def check_mirror(state: MirrorState) -> Finding:
    """Whether ``MIRROR=1`` waits for a person."""
    if state.held is not None:
        what, _, advice = state.held.text().rpartition(": ")
        return Finding("MIRROR", False, what, advice)
    waiting = plural(len(state.gone), "file")
    return Finding("MIRROR", True, f"what leaves the input is taken out of the output; waiting: {waiting}")


def check_space(folder: Path, floor_gb: float) -> Finding:
    """Free space for the videos in progress, against MIN_FREE_SPACE_GB."""
    free = shutil.disk_usage(_existing(folder)).free / 1e9
    seen = f"{free:.1f} GB free at {folder}, {floor_gb:g} GB always stay free"
    if free <= floor_gb:
        return Finding("disk", False, seen, "free some space, move WORK_DIR, or lower MIN_FREE_SPACE_GB")
    return Finding("disk", True, seen)


def check_writable(name: str, folder: Path) -> Finding:
    """Whether files can be created in a folder, or the folder itself can be."""
    place = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as exc:
        advice = f"give this user the right to write there, or set another {name}"
        return Finding(name, False, f"can't write to {place}: {exc.strerror}", advice)
    return Finding(name, True, f"{folder} is writable")


def check_work_dir(folder: Path) -> Finding:
    """Whether the videos in progress are safe there: the folder is ours, or can be made."""
    if os.path.lexists(folder):
        try:
            why = distrust(folder)
        except OSError as exc:
            why = str(exc.strerror)
        if why:
            advice = "give WORK_DIR a folder of your own, or have this one removed"
            return Finding("WORK_DIR", False, f"can't use {folder}: {why}", advice)
    return check_writable("WORK_DIR", folder)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next((path for path in [folder, *folder.parents] if path.exists()), Path("/"))


def check_endpoint(endpoint: str, limit: float) -> tuple[Finding, Finding | None]:
    """Whether the hub answers at all within ``limit`` s, and how far its clock is from ours (None: unknown)."""
    import requests

    try:
        with requests.get(endpoint, timeout=limit, stream=True) as answer:
            date, status = answer.headers.get("Date"), answer.status_code
    except requests.RequestException as exc:
        advice = "check the network, the proxy and MODELSCOPE_ENDPOINT"
        seen = f"{endpoint} does not answer ({type(exc).__name__}){by_proxy(endpoint)}"
        return Finding("endpoint", False, seen, advice), None
    if status >= 500:
        seen = f"{endpoint} answers with status {status}"
        return Finding("endpoint", False, seen, "the hub itself has a problem: wait, no work is lost"), None
    return Finding("endpoint", True, f"{endpoint} answers"), judge_clock(date, time.time())


def judge_clock(date: str | None, now: float) -> Finding | None:
    """Our clock against an answer's Date header; None if there is no such header, or it can't be read."""
    try:
        skew = now - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
    if abs(skew) > _SKEW:
        seen = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the hub's"
        return Finding("clock", False, seen, "set this machine's clock (timedatectl set-ntp true)")
    return Finding("clock", True, f"within {max(1.0, abs(skew)):.0f} s of the hub's")


def check_token(hub: HubClient) -> Finding:
    """Whose token it is; of the subject ``hub`` if that can't be asked, which is no fault of the token."""
    try:
        return Finding("token", True, f"belongs to {hub.whoami()}")
    except HubForbidden as exc:
        return Finding("token", False, str(exc), "see README.md, Real use, for where to get one")
    except HubError as exc:
        return _hub_itself(exc)


def _hub_itself(exc: HubError) -> Finding:
    """Of the subject ``hub``: every further question would have the same answer."""
    return Finding("hub", False, str(exc), "the hub itself has a problem: wait, no work is lost")


def check_way(exposed: str, ends: str) -> list[Finding]:
    """What is worth saying of a token that works: that it is ``exposed``, that its login ``ends``; "" for neither."""
    found = [Finding("token", True, exposed.partition(": ")[0], exposed.partition(": ")[2])] if exposed else []
    return found + ([Finding("token", True, ends.partition(": ")[0], ends.partition(": ")[2])] if ends else [])


_NO_TOKEN = "can't tell without a valid token"


def check_input(hub: HubClient, repo: str, has_token: bool = True) -> Finding:
    """``has_token``: whether the hub accepted the token; to a stranger a private dataset does not exist. Of the subject
    ``hub`` if that can't be asked."""
    try:
        head = hub.head(repo)
    except HubNotFound:
        if not has_token:
            return Finding("input repo", True, f"{repo}: {_NO_TOKEN}", "see the lines above")
        seen = f"INPUT_REPO={repo} does not exist, or this token can't see it"
        return Finding("input repo", False, seen, "check the name and whose token it is")
    except HubUnavailable as exc:
        return _hub_itself(exc)
    except HubError as exc:
        advice = "check the name and whose token it is" if has_token else "see the lines above"
        return Finding("input repo", not has_token, str(exc), advice)
    return Finding("input repo", True, f"{repo}, commit {head.commit_id[:8]}" if head else f"{repo}, still empty")


class Wanted(NamedTuple):
    """A dataset that is written, for people."""

    subject: str
    setting: str


OUTPUT, FRAMES = Wanted("output repo", "OUTPUT_REPO"), Wanted("frames repo", "FRAMES_REPO")


def check_frames(ffmpegs: Sequence[Path]) -> Finding:
    """What pictures of scenes need here: Pillow, and filters of the ffmpeg in use."""
    if not importlib.util.find_spec("PIL"):
        return Finding("frames", False, "Pillow is not installed", "run `bash start_monitoring.sh --setup-only` once")
    from PIL import features

    if not features.check("webp"):
        return Finding("frames", False, "Pillow was built without WebP", "install Pillow from its wheel")
    lacks: frozenset[str] = lacking(ffmpegs[0]) if ffmpegs else frozenset()
    if needed := sorted(lacks.intersection(NEEDED)):
        return Finding("frames", False, f"the ffmpeg in use has no {', '.join(needed)}", "set FFMPEG to another one")
    if needed := sorted(lacks.intersection(OF_HDR)):
        return Finding("frames", True, f"HDR videos get no frames: the ffmpeg in use has no {', '.join(needed)}")
    return Finding("frames", True, "Pillow and ffmpeg's filters are there")


def check_output(hub: HubClient, repo: str, has_token: bool = True, user: str = "", wanted: Wanted = OUTPUT) -> Finding:
    """Whether results can be published there. ``user``: whose token it is; "" = that tells nothing of rights. Of the
    subject ``hub`` if that can't be asked."""
    if not has_token:
        return Finding(wanted.subject, True, f"{repo}: {_NO_TOKEN}", "see the lines above")
    owner = repo.partition("/")[0]
    try:
        if not hub.repo_exists(repo):
            if user and owner.casefold() != user.casefold():
                seen = f"{repo} does not exist; to create it under {owner}, {user} must be a member there"
                return Finding(wanted.subject, True, seen, f"else set {wanted.setting}={user}/{repo.partition('/')[2]}")
            return Finding(wanted.subject, True, f"{repo} will be created, private")
        hub.need_write(repo)
    except HubFull as exc:
        return Finding(wanted.subject, False, f"nothing more can be stored in {repo}", str(exc))
    except HubForbidden:
        seen = f"this token may not write to {repo}" + (f": it belongs to {user}" if user else "")
        return Finding(
            wanted.subject, False, seen, f"use a token with write access of {owner}, or set {wanted.setting}"
        )
    except HubUnavailable as exc:
        return _hub_itself(exc)
    except HubError as exc:
        return Finding(wanted.subject, False, str(exc), "check the name and whose token it is")
    return Finding(wanted.subject, True, f"{repo}, can be written")


def check_apart(hub: HubClient, repo: str, others: Mapping[str, str], wanted: Wanted = OUTPUT) -> Finding | None:
    """That a dataset that is written is one of the ``others``, by setting: which only the hub can tell of names that
    differ in upper and lower case alone."""
    try:
        if same := same_dataset(hub, repo, others):
            seen = f"{wanted.setting}={repo} is the same dataset as {same}"
            return Finding(wanted.subject, False, seen, "give a dataset of its own")
    except HubError:
        pass  # what is wrong with them is told elsewhere
    return None


def check_scheduler(address: str, ask: Callable[[], Sequence[str]]) -> list[Finding]:
    """The scheduler and the workers of a cluster. ``ask`` gives the workers' addresses, or raises what is wrong."""
    try:
        workers = ask()
    except (OSError, PipelineError, RuntimeError, asyncio.TimeoutError) as exc:
        advice = "start it there (`bash start_worker.sh --scheduler-only`), or fix CLUSTER and its certificates"
        why = (str(exc).splitlines() or [""])[0] or type(exc).__name__
        return [Finding("scheduler", False, f"{address} can't be used: {why}", advice)]
    found = [Finding("scheduler", True, f"{address} answers")]
    if not workers:
        advice = f"on each machine that should help: `bash start_worker.sh --scheduler {address}`"
        return [*found, Finding("workers", False, "none is connected", advice)]
    shown = ", ".join([*workers[:_SHOWN], *["…"] * (len(workers) > _SHOWN)])
    return [*found, Finding("workers", True, f"{len(workers)}: {shown}; `queue_processor.py --status` lists them")]


def within(limit: float, check: Callable[[], Finding], subject: str) -> Finding:
    """The check's finding, or a problem when it takes longer than ``limit`` s."""
    found: list[Finding] = []

    def ask() -> None:
        try:
            found.append(check())
        except (PipelineError, OSError, ValueError) as exc:
            found.append(Finding(subject, False, f"can't be checked: {exc}", "see the lines above"))

    # A daemon: a call that hangs must not keep the program from ending.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(limit)
    if not found:
        return Finding(subject, False, f"no answer within {limit:g} s", "check the network, then run this again")
    return found[0]
