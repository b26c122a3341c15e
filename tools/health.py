"""The check for Nagios and cron: one line, exit status 0 all is well, 1 warning, 2 critical, 3 wrong usage.

Reads ``monitor_state.json``, ``progress.json``, ``processing_queue.json``, locks and pid files of a log folder, and
the free space of its disk and of the work folder's; holds no lock and writes nothing. Runs under any Python from 3.10
on, without the project's packages too (``.env`` is not read then); ``deploy/check_animation_service.sh`` starts it.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.entry import prefer_venv

prefer_venv()

import argparse
import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import config
from config import ConfigError
from tools.core.message import message
from tools.flags import Parser
from tools.report import health
from tools.report.heading import free_space
from tools.report.health import HealthLimits, Level, Problem
from tools.report.paint import printable
from tools.runtime.files import read_plain
from tools.runtime.language import translated, ui
from tools.startup import dotenv_path, read_dotenv, run_program
from tools.state.liveness import life_of

_UNKNOWN = 3  # as Nagios has it for a check that was called wrongly


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        print("UNKNOWN - " + ui("{}; see --help", translated(message)))
        sys.exit(_UNKNOWN)


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status."""
    return run_program(_parser(), argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    limits = HealthLimits(
        monitor_age=parsed.monitor_age,
        processor_age=parsed.processor_age,
        failed=parsed.failed,
        disk_warning=parsed.disk_warning,
        disk_critical=parsed.disk_critical,
    )
    log_dir = config.ROOT / parsed.log_dir
    work_dir = config.ROOT / parsed.work_dir if parsed.work_dir else config.default_work_dir(log_dir)
    level, text = _check(log_dir, work_dir, limits, time.time())
    if level or not parsed.quiet:
        print(printable(text.encode("utf-8", "replace").decode()))
    return int(level)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="check_animation_service.sh", description="Say in one line whether the services work: status 0, 1 or 2."
    )
    paths, limits, environ = config.PathSettings(), HealthLimits(), os.environ
    folders: Mapping[str, str | None] = {}
    with contextlib.suppress(ConfigError, ImportError):  # not for the user of a monitoring system, or without packages
        folders = read_dotenv(dotenv_path())

    def add(name: str, kind: Any, default: Any, help: str) -> None:
        """A flag, its environment variable, its default."""
        variable = name.upper().replace("-", "_")
        if name.endswith("-dir"):  # settings of the programs too
            value = environ.get(variable) or folders.get(variable) or default
        else:
            variable = "CHECK_" + variable
            value = environ.get(variable) or default
        text = None if value is None else str(value)
        shown = message("by its own interval") if value is None else default or message("as the programs have it")
        parser.add_argument(f"--{name}", type=kind, default=text, help=f"{help} [{variable}, {shown}]")

    add("log-dir", str, paths.log_dir, "where the state files are")
    add("work-dir", str, "", "where the videos in progress are")
    add(
        "monitor-age",
        float,
        limits.monitor_age,
        "seconds since the last answered poll of the hub above which it is critical",
    )
    add("processor-age", float, limits.processor_age, "seconds without a sign of life above which it is critical")
    add("failed", int, limits.failed, "failed items from which on it warns; 0 = never")
    add("disk-warning", float, limits.disk_warning, "GB free below which it warns")
    add("disk-critical", float, limits.disk_critical, "GB free below which it is critical")
    parser.add_argument("--quiet", action="store_true", help="print nothing if all is well (for cron)")
    return parser


def _check(log_dir: Path, work_dir: Path, limits: HealthLimits, now: float) -> tuple[Level, str]:
    problems: list[Problem] = []
    state = _read(log_dir / "monitor_state.json", dict, problems)
    progress = _read(log_dir / "progress.json", dict, problems)
    queue = _read(log_dir / "processing_queue.json", list, problems)
    monitor_age, processor_age = _age(now, health.last_poll(state)), _age(now, health.number_of(progress, "updated"))
    limit = health.monitor_silence(state) if limits.monitor_age is None else limits.monitor_age
    problems += health.judge_program("monitor", life_of(log_dir, "monitor"), monitor_age, limit, now)
    limit = health.processor_silence(progress) if limits.processor_age is None else limits.processor_age
    problems += health.judge_program("processor", life_of(log_dir, "processor"), processor_age, limit, now)
    problems += health.judge_pause(progress or {})
    counts = health.count_items(queue or [])
    problems += health.judge_queue(counts, limits.failed)
    free = free_space(log_dir, work_dir)
    problems += health.judge_disk(free, limits)
    calm = f"{counts['pending']} pending, {counts['processing']} processing, {counts['completed']} completed"
    numbers = {name: str(counts[name]) for name in ("pending", "processing", "completed", "failed")}
    numbers |= {"monitor_age": _seconds(monitor_age), "processor_age": _seconds(processor_age)}
    numbers |= {"free": f"{min(free.values(), default=0.0):.1f}GB"}
    return health.line(problems, calm, numbers)


def _read(path: Path, kind: type, problems: list[Problem]) -> Any:
    """The content; None if the file is missing, or can't be read, which is reported."""
    try:
        content = json.loads(read_plain(path))
    except FileNotFoundError:
        return None
    except OSError as exc:
        problems.append(Problem(Level.CRITICAL, f"{path.name} can't be read: {exc.strerror}"))
        return None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, kind):
        problems.append(Problem(Level.CRITICAL, f"{path.name} is damaged"))
        return None
    return content


def _age(now: float, then: float | None) -> float | None:
    return None if then is None else now - then


def _seconds(age: float | None) -> str:
    return "U" if age is None else f"{age:.0f}s"


if __name__ == "__main__":
    sys.exit(main())
