"""What both programs use while nothing is to be done."""

import tempfile
import time
from pathlib import Path

from tests.bench.measure import cpu_of, memory_of
from tests.bench.table import Row, at_most
from tests.hub_server import running_hub
from tests.programs import end, environment, start_program

_SECONDS = 60.0


def run() -> list[Row]:
    """60 s after the programs have settled, at the default intervals."""
    rows = []
    with tempfile.TemporaryDirectory() as name, running_hub(Path(name) / "hub") as hub:
        top = Path(name)
        hub.store.create("me/in", 5)
        hub.store.create("me/out", 5)
        given = environment(hub, top)
        for setting in ("MONITOR_INTERVAL", "CHECK_INTERVAL", "MIN_FOLDER_STABLE_TIME"):
            given.pop(setting, None)
        programs = {
            program: start_program(program, env=given) for program in ("modelscope_monitor.py", "queue_processor.py")
        }
        try:
            time.sleep(15)
            before = {program: cpu_of(process.pid) for program, process in programs.items()}
            time.sleep(_SECONDS)
            for program, process in programs.items():
                share = 100 * (cpu_of(process.pid) - before[program]) / _SECONDS
                rows.append(at_most(f"{program}, idle: CPU", "60 s", [share], 0.5, "% of a core"))
                rows.append(at_most(f"{program}, idle: memory", "60 s", [memory_of(process.pid) / 1e6], 100, "MB"))
        finally:
            for process in programs.values():
                end(process, timeout=15)
    return rows
