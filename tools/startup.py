"""What every program does before its own work: find the project's packages, read the settings.

Imported before any package is sure to exist, so the top of this module is the standard library alone.
"""

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from config import ROOT, ConfigError, Settings, flag_values, with_token
from tools.core.errors import HubForbidden, PipelineError
from tools.hub.client import HubClient
from tools.runtime.clock import Clock

if TYPE_CHECKING:  # the monitor must not wait for what it does not use
    from tools.media.converter import Converter
    from tools.media.encoding import EncodeOptions
    from tools.scale.terms import Terms
    from tools.scale.wire import Certificates

_ENTERED = "ANIMATION_VENV"


def enter_venv(module: str) -> None:
    """Go on under the project's ``.venv`` where that is needed. A program calls it with its ``__name__`` before it
    imports any package.

    Run as a file: always under the ``.venv`` where there is one. Imported (``python3 -c 'from tools.… import main'``):
    only where this Python lacks the packages. Where nothing has them: one line, exit status 1. When the process is
    replaced it keeps its arguments, terminal and process id.
    """
    missing = not (importlib.util.find_spec("filelock") and importlib.util.find_spec("dotenv"))
    if module == "__main__" or missing:
        _replace_process()
    if missing:
        sys.exit("Python packages are missing: run `bash start_monitoring.sh --setup-only` once")


def _replace_process() -> None:
    venv = ROOT / ".venv"
    python = venv / "bin" / "python3"
    here_already = Path(sys.prefix).resolve() == venv.resolve() or os.environ.get(_ENTERED) == str(venv)
    # Code that came through a pipe or is being typed is gone with the process that read it.
    repeatable = len(sys.orig_argv) > 1 and sys.argv[0] not in {"", "-"}
    if repeatable and not here_already and python.exists():
        os.environ[_ENTERED] = str(venv)
        os.execv(python, [str(python), *sys.orig_argv[1:]])


def read_settings(parsed: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings of the flags, the environment and the project's ``.env``. Raises ConfigError.

    ``ANIMATION_DOTENV`` in the environment names another file than ``.env``.
    """
    dotenv = Path(environ.get("ANIMATION_DOTENV") or ROOT / ".env")
    return Settings.load(environ, _read_dotenv(dotenv), flag_values(parsed))


def _read_dotenv(path: Path) -> dict[str, str | None]:
    """The lines of a ``.env`` file, never executed and nothing in them expanded; {} without the file."""
    from dotenv import dotenv_values

    try:
        with path.open(encoding="utf-8-sig") as stream:
            return dotenv_values(stream=stream, interpolate=False)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"can't read {path}: {reason}; mend it, or delete it") from exc


def port(text: str) -> int:
    """The number of a port, for argparse."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a whole number from 0 to 65535")
    return int(text)


def encode_options(settings: Settings) -> "EncodeOptions":
    """The converter's plain values out of the settings."""
    from tools.media.encoding import EncodeOptions

    encode = settings.encode
    return EncodeOptions(
        encoder=encode.encoder,
        preset=encode.preset,
        crf=encode.crf,
        pix_fmt=encode.pix_fmt,
        ffmpeg=encode.ffmpeg,
        stall_timeout=settings.processor.stall_timeout,
        min_decoded_percent=encode.min_decoded_percent,
        max_encode_rss=int(encode.max_encode_rss_gb * 1e9),
    )


def need_cluster_packages() -> None:
    """Raises PipelineError, which says what to do, where Dask is not installed."""
    if not (importlib.util.find_spec("distributed") and importlib.util.find_spec("dask")):
        raise PipelineError(
            "a cluster needs Dask, which is not installed: run `bash start_worker.sh --setup-only` once"
        )


def certificates(settings: Settings) -> "Certificates | None":
    """The PEM files of a cluster that is secured by TLS; None for one that is not."""
    from tools.scale.wire import Certificates

    cluster = settings.cluster
    if cluster.tls_ca is None or cluster.tls_cert is None:
        return None
    return Certificates(cluster.tls_ca, cluster.tls_cert, cluster.tls_key)


def terms_of(settings: Settings, converter: "Converter") -> "Terms":
    """What this processor asks of the workers of a cluster. Raises NoEncoder."""
    from tools.scale.terms import Terms, versions_here

    encode = settings.encode
    return Terms(
        versions=versions_here(converter.version()),
        endpoint=settings.hub.endpoint,
        encoder=encode.encoder,
        preset=encode.preset,
        crf=encode.crf,
        pix_fmt=encode.pix_fmt,
        min_decoded_percent=encode.min_decoded_percent,
    )


def connect(settings: Settings, clock: Clock) -> tuple[HubClient, str]:
    """The hub with the first token that it accepts, and whose token that is: of the settings, of ``.env`` as it is now,
    of the saved login. Nobody can change the environment of a program that runs, so the token there is not the last
    word. Raises HubForbidden where the hub accepts none, HubUnavailable."""
    refused: HubForbidden | None = None
    for token in dict.fromkeys(_tokens(settings)):
        hub = make_hub(with_token(settings, token), clock)
        try:
            return hub, hub.whoami()
        except HubForbidden as exc:
            refused = refused or exc
    assert refused is not None
    raise refused


def _tokens(settings: Settings) -> list[str | None]:
    from tools.hub.modelscope_client import saved_token

    try:
        fresh = read_settings(argparse.Namespace())
        bare = {name: value for name, value in os.environ.items() if name == "ANIMATION_DOTENV"}
        written = read_settings(argparse.Namespace(), bare)
    except ConfigError:
        fresh = written = settings  # somebody is just writing it
    found = [fresh.hub.token, settings.hub.token, written.hub.token, saved_token()]
    return [token for token in found if token] or [None]


def make_hub(settings: Settings, clock: Clock) -> HubClient:
    """The hub of these settings, behind the wrapper that retries. Asks nothing yet."""
    from tools.hub.modelscope_client import ModelScopeHub
    from tools.hub.retrying import Backoff, RetryingHub
    from tools.stages.workspace import HUB_CACHE

    hub = ModelScopeHub(
        settings.hub.endpoint,
        settings.hub.token,
        cache_dir=settings.paths.work_dir / HUB_CACHE,
        stall_timeout=settings.processor.stall_timeout,
        again=Backoff(clock).again,
    )
    return RetryingHub(hub, clock)
