"""What every program does around its own work: flags in, settings read, parts made, one line and a status at the end.

A program must not wait for what it does not use, so what is costly to import is imported where it is needed.
"""

import argparse
import contextlib
import importlib.util
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from config import ROOT, ConfigError, Settings, flag_values, with_token
from tools.core.concurrency import budget_of, encodes_for
from tools.core.errors import PipelineError
from tools.report.paint import printable
from tools.runtime import language, limits
from tools.runtime.owner import whose

if TYPE_CHECKING:
    from tools.cluster.dask_transport import Certificates
    from tools.cluster.handshake import Handshake
    from tools.core.sidecar import SidecarRules
    from tools.hub.client import HubClient
    from tools.media.converter import Converter
    from tools.media.encoding import MachineOptions, OutputOptions
    from tools.media.frames import FrameOptions
    from tools.runtime.clock import Clock
    from tools.runtime.throttle import Throttle
    from tools.stages.work_hours import HoursOptions
    from tools.state.origin import Origin

ENCODERS_FILE = "encoders.json"  # in LOG_DIR, see tools.media.memory
_OTHERS_WRITE = 0o022  # what nobody else may do with our files, whatever the caller's umask lets them
_INTERRUPTED, _PIPE_CLOSED = 130, 141  # as a shell reports an end by SIGINT, by SIGPIPE


def run_program(
    parser: argparse.ArgumentParser, argv: list[str] | None, work: Callable[[argparse.Namespace], int]
) -> int:
    """Parse ``argv`` (None = the command line), do ``work`` with it; returns the exit status that ``work`` returns.

    The one place where what stops a program becomes what a person sees: one line on standard error (and in the log, if
    the program has one), and status 2 for a ConfigError, 1 for a PipelineError or an OSError. A bug is raised, and
    logged with its traceback. Ctrl-C, and a reader of the output that went away (``… | head``),
    end it without a word, with the status that a shell gives them. Every program gets ``--version`` here.
    """
    os.umask(os.umask(_OTHERS_WRITE) | _OTHERS_WRITE)
    parser.add_argument("--version", action=_ShowVersion, help="show the version, then exit")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files and folders need not fit the terminal
    try:
        try:
            return work(parser.parse_args(argv))
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where its failure can be handled, and not at the interpreter's end
    except ConfigError as exc:
        return _say(parser, str(exc), 2)
    except PipelineError as exc:
        return _say(parser, str(exc), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the interpreter's end
        return _PIPE_CLOSED
    except OSError as exc:
        return _say(parser, _refusal(exc), 1)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as exc:
        _log_end(f"an unexpected error, which is a bug: {type(exc).__name__}: {exc}", with_traceback=True)
        raise


def _log_end(text: str, *, with_traceback: bool = False) -> None:
    """In the log as well, if the program has one: the terminal may be gone, and a supervisor looks there."""
    logs = sys.modules.get("tools.runtime.logs")
    if logs is not None:
        logs.to_file(f"ended: {text}", with_traceback=with_traceback)


def use_language(environ: Mapping[str, str] = os.environ) -> None:
    """Speak the language that the environment or ``.env`` wants; before the settings are read, which may fail."""
    wanted = environ.get("UI_LANG", "")
    with contextlib.suppress(ConfigError, ImportError):  # told later, if it matters
        wanted = wanted or read_dotenv(dotenv_path(environ)).get("UI_LANG") or ""
    language.use(language.choose(wanted.strip(), environ))


def _refusal(exc: OSError) -> str:
    if not isinstance(exc.filename, str):
        return exc.strerror or str(exc)
    hint = f"; {whose(Path(exc.filename))}" if isinstance(exc, PermissionError) else ""
    return f"can't use {exc.filename}: {exc.strerror}{hint}"


def _say(parser: argparse.ArgumentParser, text: str, status: int) -> int:
    print(printable(f"{parser.prog}: {language.translated(text)}"), file=sys.stderr)
    _log_end(text)
    return status


class _ShowVersion(argparse.Action):
    """As argparse's own, but the version is not read unless it is asked for."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(parser.prog, version())
        parser.exit()


def version() -> str:
    """The project's version, which stands in ``pyproject.toml`` alone. By a pattern: Python 3.10 has no tomllib."""
    found = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else "unknown"


def read_settings(parsed: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings of the flags, the environment and the project's ``.env``. Raises ConfigError.

    ``ANIMATION_DOTENV`` in the environment names another file than ``.env``.
    """
    return Settings.load(environ, read_dotenv(dotenv_path(environ)), flag_values(parsed))


def dotenv_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The file of settings that ``read_settings`` reads, which need not be there."""
    return Path(environ.get("ANIMATION_DOTENV") or ROOT / ".env")


DEMO_FILE = "demo.env"
"""The settings of a demo, in its LOG_DIR; the token, which is in no state file, is in its HUB_DIR."""
DEMO_DIR = "log/demo"


def is_demo(log_dir: Path) -> bool:
    """Whether the programs of a LOG_DIR are a demo's."""
    return (log_dir / DEMO_FILE).exists()


_NAMES_A_HUB = frozenset(("MODELSCOPE_ENDPOINT", "INPUT_REPO", "OUTPUT_REPO"))


def read_command_settings(parsed: argparse.Namespace) -> Settings:
    """Like ``read_settings``, for what a person types: with a demo's LOG_DIR the demo's hub and datasets are meant.

    A command that says nothing of either, while a demo has run here, is told how to reach which.
    """
    settings = read_settings(parsed)
    named = settings.given & _NAMES_A_HUB
    demo = read_dotenv(settings.paths.log_dir / DEMO_FILE)
    if demo and not named:
        settings = Settings.load(os.environ, demo, flag_values(parsed))
        return with_token(settings, _token_of_demo(settings.paths.hub_dir))
    is_bare = not demo and not settings.given & {*_NAMES_A_HUB, "MODELSCOPE_API_TOKEN", "LOG_DIR"}
    if is_bare and (ROOT / DEMO_DIR / DEMO_FILE).exists():
        program = shlex.join(sys.argv)
        told = language.ui(
            "this is about {}, as set by default: put INPUT_REPO and OUTPUT_REPO into .env; for the demo type {}",
            origin_of(settings),
            f"LOG_DIR={DEMO_DIR} python3 {program}",
        )
        print(told, file=sys.stderr)
    return settings


def _token_of_demo(hub_dir: Path) -> str | None:
    from tools.hub_server.store import read_token

    try:
        return read_token(hub_dir)[0]
    except OSError:
        return None  # of another user; --status needs none


def read_dotenv(path: Path) -> dict[str, str | None]:
    """The lines of a ``.env`` file, never executed and nothing in them expanded; {} without the file."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            from dotenv import dotenv_values  # not before there is a file to read

            return dotenv_values(stream=stream, interpolate=False)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"can't read {path}: {reason}; fix it, or delete it") from exc


def port(text: str) -> int:
    """The number of a port, for argparse."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a whole number from 0 to 65535")
    return int(text)


def encode_options(settings: Settings) -> "tuple[OutputOptions, MachineOptions]":
    """The converter's plain values out of the settings: what decides the output, and what is this machine's own."""
    from tools.media.encoding import MachineOptions, OutputOptions

    encode = settings.encode
    output = OutputOptions(**{option.name: getattr(encode, option.name) for option in fields(OutputOptions)})
    machine = MachineOptions(
        ffmpeg=encode.ffmpeg,
        mkvmerge=encode.mkvmerge,
        memory=settings.paths.log_dir / ENCODERS_FILE,
        stall_timeout=settings.processor.stall_timeout,
        max_encode_rss=int(encode.max_encode_rss_gb * 1e9),
        min_free_space=int(settings.processor.min_free_space_gb * 1e9),
    )
    return output, machine


def frame_options(settings: Settings) -> "FrameOptions":
    """What decides the pictures of scenes."""
    from tools.media.frames import FrameOptions

    return FrameOptions(**{option.name: getattr(settings.frames, option.name) for option in fields(FrameOptions)})


def need_frame_packages() -> None:
    """Raises PipelineError, which says what to do, if Pillow is not installed."""
    if not importlib.util.find_spec("PIL"):
        command = f"{sys.executable} -m pip install -r requirements-frames.txt"
        raise PipelineError(f"scene frames need Pillow, which is not installed: run `{command}` once")


def sidecar_rules(settings: Settings) -> "SidecarRules":
    """Which files are carried over beside the videos of their folder."""
    from tools.core.sidecar import SidecarRules

    return SidecarRules(settings.processor.sidecars, int(settings.processor.sidecars_max_mb * 1e6))


class Shares(NamedTuple):
    """How encodes share this machine; see ``JobTools``."""

    slots: int
    threads: int | None
    cores: int | None = None
    budget: int = 0


def cores_for_each(slots: int) -> int | None:
    """How many cores each of ``slots`` concurrent encodes should use; None = a single encode, which may use all.

    An encoder sees the whole machine's: in a container that may use fewer it must be told.
    """
    cores = limits.cores()
    return None if slots == 1 and cores >= (os.cpu_count() or 1) else max(1, -(-cores // slots))


def shares_for(wanted: int | None) -> Shares:
    """What ``MAX_CONCURRENT`` means here: that number, each with its share; or (None) as the machine allows."""
    if wanted is not None:
        return Shares(wanted, cores_for_each(wanted))
    cores, memory = limits.cores(), limits.memory()
    return Shares(encodes_for(cores, memory), None, cores, budget_of(memory))


def hours_of(settings: Settings) -> "HoursOptions":
    """When this machine works."""
    from tools.stages.work_hours import HoursOptions

    wanted = settings.processor
    return HoursOptions(wanted.active_hours.spans, wanted.active_stages, wanted.after_hours == "suspend")


@cache
def _throttle(kind: str, rate: int) -> "Throttle":
    """One for all transfers of a kind, whatever number of clients there is."""
    from tools.runtime.throttle import Throttle

    return Throttle(rate)


def need_cluster_packages() -> None:
    """Raises PipelineError, which says what to do, if Dask is not installed."""
    if not (importlib.util.find_spec("distributed") and importlib.util.find_spec("dask")):
        raise PipelineError(
            "a cluster needs Dask, which is not installed: run `bash start_worker.sh --setup-only` once"
        )


def certificates(settings: Settings) -> "Certificates | None":
    """The PEM files of a cluster with TLS; None for one without."""
    from tools.cluster.dask_transport import Certificates

    cluster = settings.cluster
    if cluster.tls_ca is None or cluster.tls_cert is None:
        return None
    return Certificates(cluster.tls_ca, cluster.tls_cert, cluster.tls_key)


def handshake_of(settings: Settings, converter: "Converter") -> "Handshake":
    """What this processor asks of the workers of a cluster. Raises NoEncoder."""
    from tools.cluster.handshake import Handshake, versions_here

    output, _ = encode_options(settings)
    frames = frame_options(settings) if settings.frames.repo else None
    versions = versions_here(converter.version())
    return Handshake(versions=versions, endpoint=settings.hub.endpoint, output=output, frames=frames)


def origin_of(settings: Settings) -> "Origin":
    """Of which hub and datasets the state files are that these settings mean."""
    from tools.state.origin import Origin

    hub = settings.hub
    return Origin(hub.endpoint, hub.input_repo, hub.output_repo)


def tell_origin(settings: Settings) -> None:
    """Say on standard error if the state files in LOG_DIR, which a command shows or changes, are of other datasets."""
    from tools.state.origin import read_origin

    found = read_origin(settings.paths.log_dir)
    if found is not None and found != origin_of(settings):
        told = language.ui("the state here is of {}, the settings name {}", found, origin_of(settings))
        print(printable(told), file=sys.stderr)


def make_hub(settings: Settings, clock: "Clock") -> "HubClient":
    """The hub of these settings, behind the wrapper that retries. Sends nothing yet."""
    from tools.hub.modelscope_client import ModelScopeHub
    from tools.hub.retrying import Backoff, RetryingHub
    from tools.stages.workspace import HUB_CACHE

    hub = ModelScopeHub(
        settings.hub.endpoint,
        settings.hub.token,
        cache_dir=settings.paths.work_dir / HUB_CACHE,
        stall_timeout=settings.processor.stall_timeout,
        retry=Backoff(clock).retry,
        downloads=_throttle("download", settings.processor.download_limit),
        uploads=_throttle("upload", settings.processor.upload_limit),
    )
    return RetryingHub(hub, clock)
