"""A worker that was taken over runs nothing in the processor, whatever it sends through Dask."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT
from tests import cluster
from tests.patience import until

pytest.importorskip("distributed", reason="requirements-cluster.txt is not installed")


@pytest.mark.parametrize("protected", [True, False])
def test_nothing_that_a_worker_sends_is_run_in_the_processor(tmp_path: Path, protected: bool) -> None:
    """Without the protection it is run, so what is sent would do harm."""
    from tools.stages.video_job import JobResult, Outcome

    struck = tmp_path / "struck"
    struck.mkdir()
    one = cluster.node("w", tmp_path / "w", lambda job, tools, context: JobResult(job, Outcome.STOPPED))
    with cluster.running_cluster(tmp_path / "dask", [one]) as running:
        until(lambda: one.address)
        arguments = [running.address, one.address, str(struck), *([] if protected else ["unprotected"])]
        command = [sys.executable, "-m", "tests.hostile_worker", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    pid, *answers = done.stdout.split("\n")
    assert done.returncode == 0 and len([line for line in answers if line]) == 7, done.stdout + done.stderr
    assert (struck / pid).exists() is not protected, done.stdout


def test_every_program_that_asks_a_cluster_is_protected() -> None:
    asking = re.compile(r"dask_transport\.(connect|worker_addresses)\b")
    programs = [path for path in (ROOT / "tools").rglob("*.py") if asking.search(path.read_text(encoding="utf-8"))]
    assert {path.name for path in programs} == {"queue_processor.py", "doctor.py"}
    assert all("    load_no_classes()\n" in path.read_text(encoding="utf-8") for path in programs)
