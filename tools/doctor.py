"""The doctor: checks everything that the monitor and the processor need, one sentence each, and says what to do.

Changes nothing, never shows the token, and gives up what hangs. Exit status 1 if there is a problem.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.entry import enter_venv

enter_venv(__name__)

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import config
from tools.core.errors import NoEncoder, PipelineError
from tools.flags import Parser
from tools.hub.client import HubClient
from tools.hub.modelscope_client import ModelScopeHub
from tools.login import end_of, exposure, is_near, login_of
from tools.media.choice import ranked
from tools.media.ffmpeg import try_encoders
from tools.report import checks
from tools.report.checks import Finding
from tools.report.paint import printable
from tools.runtime.language import ui
from tools.startup import (
    certificates,
    dotenv_path,
    encode_options,
    need_cluster_packages,
    read_command_settings,
    read_dotenv,
    run_program,
)
from tools.state.liveness import life_of
from tools.state.mirror_file import MirrorFile

_LIMIT = 20.0  # s for one request to the hub; the SDK repeats what fails
_ANSWER = 8.0  # s for the hub to say anything at all


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status: 0 all is well, 1 there is a problem, 2 bad usage or configuration."""
    parser = Parser(prog="doctor.py", description="Check everything that the programs need.")
    config.add_flags(parser, "hub", "encode", "cluster", "paths")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    problems = 0
    for finding in _findings(read_command_settings(parsed)):
        problems += not finding.ok
        print(printable("\n".join(finding.lines(checks.WIDTH))), flush=True)
    if problems:
        print(ui("1 problem") if problems == 1 else ui("{} problems", problems))
    else:
        print(ui("All is well."))
    return 1 if problems else 0


def _findings(settings: config.Settings) -> Iterator[Finding]:
    """Each as soon as it is known, the quick ones first."""
    yield checks.check_python()
    packages = checks.check_packages(config.ROOT / "requirements.txt")
    yield packages
    if packages.ok:
        yield checks.check_sdk()
    yield checks.check_tmux()
    dotenv = dotenv_path()
    yield from checks.check_dotenv(dotenv, read_dotenv(dotenv), config.names())
    yield checks.check_writable("LOG_DIR", settings.paths.log_dir)
    yield checks.check_work_dir(settings.paths.work_dir)
    for name in ("monitor", "processor"):
        yield checks.check_program(name, life_of(settings.paths.log_dir, name), time.time())
    yield checks.check_space(settings.paths.work_dir, settings.processor.min_free_space_gb)
    if settings.processor.mirror:
        yield checks.check_mirror(MirrorFile(settings.paths.log_dir).read())
    yield from _media(settings)
    yield from _hub(settings)
    if settings.cluster.scheduler:
        yield from _cluster(settings)


def _media(settings: config.Settings) -> Iterator[Finding]:
    yield checks.check_cage(settings.encode.cage)
    programs = checks.check_ffprobe(settings.encode.ffmpeg)
    yield programs
    yield checks.check_mkvmerge(settings.encode.mkvmerge)
    try:
        output, machine = encode_options(settings)
        trials = try_encoders(output, machine.ffmpeg)
    except NoEncoder:
        return  # no ffmpeg at all: reported above
    yield checks.judge_trials(trials)
    print(printable("\n".join(checks.trial_lines(trials))), flush=True)
    if settings.frames.repo:
        yield checks.check_frames([trial.ffmpeg for trial in ranked(trials)][:1])


def _hub(settings: config.Settings) -> Iterator[Finding]:
    reachable, clock = checks.check_endpoint(settings.hub.endpoint, _ANSWER)
    yield reachable
    if clock is not None:
        yield clock
    if not reachable.ok:
        return  # every further question would only wait
    with tempfile.TemporaryDirectory(prefix="animation_doctor_", ignore_cleanup_errors=True) as cache:
        hub: HubClient = ModelScopeHub(
            settings.hub.endpoint, settings.hub.token, cache_dir=Path(cache), stall_timeout=_ANSWER
        )
        token = checks.within(_LIMIT, lambda: checks.check_token(hub), "hub")
        yield token
        if token.subject == "hub":
            return  # every further question would have the same answer
        user = ""
        if token.ok:
            yield from _way(settings)
            user = "" if is_near(settings.hub.endpoint) else token.seen.rpartition(" ")[2]
        for found in _datasets(settings, hub, token.ok, user):
            yield found
            if found.subject == "hub":
                return


def _datasets(settings: config.Settings, hub: HubClient, has_token: bool, user: str) -> Iterator[Finding]:
    source, target = settings.hub.input_repo, settings.hub.output_repo
    yield checks.within(_LIMIT, lambda: checks.check_input(hub, source, has_token), "input repo")
    others = {"INPUT_REPO": source}
    yield checks.check_apart(hub, target, others) or checks.within(
        _LIMIT, lambda: checks.check_output(hub, target, has_token, user), "output repo"
    )
    if frames := settings.frames.repo:
        others["OUTPUT_REPO"] = target
        yield checks.check_apart(hub, frames, others, checks.FRAMES) or checks.within(
            _LIMIT, lambda: checks.check_output(hub, frames, has_token, user, checks.FRAMES), "frames repo"
        )


def _way(settings: config.Settings) -> list[Finding]:
    login = None if settings.hub.token else login_of(settings)
    return checks.check_way(exposure(settings.hub.endpoint), end_of(login, time.time()) if login else "")


def _cluster(settings: config.Settings) -> Iterator[Finding]:
    try:
        need_cluster_packages()
    except PipelineError as exc:
        yield Finding("cluster", False, "Dask is not installed", f"{exc}".rpartition(": ")[2])
        return
    from tools.cluster import dask_transport
    from tools.cluster.pickles import load_no_classes

    address = settings.cluster.scheduler
    dask_transport.configure()
    load_no_classes()
    yield from checks.check_scheduler(
        address,
        lambda: asyncio.run(dask_transport.worker_addresses(address, dask_transport.security(certificates(settings)))),
    )


if __name__ == "__main__":
    sys.exit(main())
