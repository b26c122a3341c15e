"""Whether the other of the two programs stalled or died, by its lock and its state file, as the health check judges."""

import json
import time
from pathlib import Path
from typing import Any

from tools.report import health
from tools.runtime.files import read_plain
from tools.state.liveness import life_of


def problem_of(log_dir: Path, program: str) -> str | None:
    """What is wrong with ``monitor`` or ``processor``; None if nothing is, or a person ended it. Raises nothing."""
    life, now = life_of(log_dir, program), time.time()
    if life.running is False and not life.died:
        return None
    if program == "monitor":
        state = _read(log_dir / "monitor_state.json")
        seen, limit = health.last_poll(state), health.monitor_silence(state)
    else:
        state = _read(log_dir / "progress.json")
        seen, limit = health.number_of(state, "updated"), health.processor_silence(state)
    age = None if seen is None else now - seen
    problems = health.judge_program(program, life, age, limit, now)
    return problems[0].text if problems else None


def _read(path: Path) -> Any:
    try:
        return json.loads(read_plain(path))
    except (OSError, ValueError, RecursionError):
        return None
