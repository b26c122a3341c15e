"""Do the tests notice if the code is changed? One change at a time in a copy of the project, and the tests of it.

``.venv/bin/python3 -m tests.bench.mutants SEED COUNT [MODULE…]`` changes COUNT places of each module, chosen by the
seed: a comparison, a condition, a number, a returned value, a call. The modules are those of ``_TESTS``. Prints one
line per mutant, with what noticed it or ``SURVIVED``, and the score.
"""

import ast
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_LONGEST = 900.0  # s that the tests of one mutant may take; an endless loop is noticed by that
_COPIED = ("tools", "tests", "docs", "deploy", "config.py", "pyproject.toml", "README.md", "start_monitoring.sh")

_ENGINE = "unit/test_engine.py faults/test_refusals.py faults/test_waits.py faults/test_crash_points.py"
_HUB = "contract/test_hub_client.py integration/test_hub_faults.py"
_STATE = "faults/test_state_files.py"
_ORDERS = "unit/test_ordering.py unit/test_engine.py faults/test_property.py integration/test_operator.py"
_JOB = "unit/test_video_job.py unit/test_job_troubles.py"
_TESTS = {  # of each module, quick ones first
    "core/artifact": "unit/test_artifact.py unit/test_planning.py unit/test_publish.py",
    "core/audit": "unit/test_audit.py",
    "core/card": "unit/test_card.py",
    "core/columns": "unit/test_columns.py unit/test_record.py",
    "core/commit_pace": "faults/test_commit_limit.py",
    "core/companions": "unit/test_companions.py",
    "core/eta": "unit/test_eta.py",
    "core/hours": "unit/test_hours.py unit/test_work_hours.py",
    "core/news": "unit/test_news.py",
    "core/redo": "unit/test_redo.py",
    "core/reuse": "faults/test_artifacts.py faults/test_reuse.py unit/test_sidecars.py",
    "core/sidecar": "unit/test_sidecars.py",
    "core/skipped": "unit/test_skipped.py",
    "core/titles": "unit/test_titles.py",
    "core/blame": "unit/test_blame.py unit/test_errors.py unit/test_pace.py",
    "core/concurrency": "unit/test_concurrency.py",
    "core/coverage": "unit/test_coverage.py",
    "core/errors": "unit/test_errors.py unit/test_blame.py unit/test_pause.py unit/test_retrying.py",
    "core/folder": "unit/test_folder.py unit/test_stability.py unit/test_planning.py",
    "core/options": "unit/test_options.py unit/test_config.py unit/test_encoding.py",
    "core/ordering": "unit/test_ordering.py",
    "core/planning": "unit/test_planning.py unit/test_needs.py",
    "core/queue_item": "unit/test_queue_item.py unit/test_ordering.py unit/test_work_queue.py faults/test_time.py",
    "core/record": "unit/test_record.py unit/test_publish.py",
    "core/restarts": "unit/test_restarts.py",
    "core/retry": "unit/test_retry.py unit/test_retrying.py unit/test_waits.py",
    "core/selection": "unit/test_ordering.py",
    "core/stability": "unit/test_stability.py unit/test_modelscope_monitor.py",
    "stages/convert": "unit/test_artifact.py unit/test_video_job.py faults/test_artifacts.py",
    "stages/download": f"{_JOB} faults/test_false_evidence.py",
    "stages/evidence": "unit/test_job_troubles.py faults/test_machine.py",
    "stages/job_context": f"{_JOB} unit/test_concurrency.py contract/test_executor.py",
    "stages/sidecars": "unit/test_sidecars.py",
    "stages/work_hours": "unit/test_work_hours.py",
    "stages/store": f"{_JOB} unit/test_engine.py",
    "stages/video_job": f"{_JOB} unit/test_errors.py unit/test_engine.py",
    "stages/workspace": "unit/test_workspace.py unit/test_private.py unit/test_video_job.py unit/test_node.py",
    "processor/batch": "unit/test_engine.py",
    "processor/build": "unit/test_engine.py",
    "processor/claims": f"unit/test_claims.py {_ENGINE}",
    "processor/commits": _ENGINE,
    "processor/engine": _ENGINE,
    "processor/executor": "contract/test_executor.py unit/test_artifact.py unit/test_engine.py",
    "processor/hub_thread": "unit/test_hub_thread.py unit/test_engine.py",
    "processor/item_run": _ENGINE,
    "processor/opening": f"unit/test_errors.py faults/test_false_evidence.py {_ENGINE}",
    "processor/ordered": _ORDERS,
    "processor/pause": "unit/test_pause.py unit/test_engine.py",
    "processor/publish": "unit/test_publish.py faults/test_false_evidence.py unit/test_engine.py",
    "processor/output_folder": "unit/test_publish.py faults/test_false_evidence.py unit/test_sidecars.py",
    "processor/reporting": "unit/test_reporting.py unit/test_engine.py",
    "processor/results": _ENGINE,
    "processor/output_card": "unit/test_card.py",
    "processor/reuse": "faults/test_reuse.py",
    "processor/shared_commit": "faults/test_commit_limit.py",
    "processor/twins": "unit/test_twins.py faults/test_reuse.py",
    "processor/waits": f"unit/test_waits.py {_ENGINE}",
    "state/history": "unit/test_history.py",
    "state/history_reader": "unit/test_history.py unit/test_eta.py",
    "state/results": "unit/test_results.py faults/test_reuse.py",
    "state/intake": "unit/test_modelscope_monitor.py faults/test_quiet_time.py faults/test_time.py",
    "state/journal": f"unit/test_engine.py {_STATE} unit/test_artifact.py faults/test_crash_points.py",
    "state/json_file": f"unit/test_work_queue.py {_STATE} faults/test_crash_points.py",
    "state/liveness": "unit/test_liveness.py unit/test_health.py",
    "state/monitor_state": f"unit/test_monitor_state.py unit/test_modelscope_monitor.py unit/test_origin.py {_STATE}",
    "state/orders": _ORDERS,
    "state/origin": "unit/test_origin.py",
    "state/progress": f"unit/test_reporting.py unit/test_status.py {_STATE}",
    "state/singleton": "unit/test_singleton.py unit/test_liveness.py",
    "state/work_queue": f"unit/test_work_queue.py unit/test_status.py {_STATE}",
    "hub/answers": f"unit/test_answers.py {_HUB}",
    "hub/lfs": f"unit/test_lfs.py {_HUB}",
    "hub/listing": _HUB,
    "hub/modelscope_client": f"{_HUB} faults/test_false_evidence.py",
    "hub/modelscope_sdk": f"unit/test_sdk.py unit/test_lfs.py {_HUB}",
    "hub/proxy": "unit/test_proxy.py",
    "hub/retrying": f"unit/test_retrying.py {_HUB}",
    "hub/upload": "unit/test_upload.py",
}

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {}
for _one, _other in (
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn)),
    *((ast.And, ast.Or), (ast.Add, ast.Sub), (ast.Mult, ast.FloorDiv)),
):
    _SWAPS |= {_one: _other, _other: _one}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one change."""

    line: int
    what: str
    source: str


def places(source: str) -> list[int]:
    """Where a module can be changed: the numbers of its nodes."""
    tree = ast.parse(source)
    fixed = {
        id(part) for node in ast.walk(tree) for one in getattr(node, "decorator_list", ()) for part in ast.walk(one)
    }
    return [n for n, node in enumerate(ast.walk(tree)) if id(node) not in fixed and _change(node) is not None]


def mutant(source: str, place: int) -> Mutant:
    """The module with the change that belongs to one of its places."""
    tree = ast.parse(source)
    node = next(one for number, one in enumerate(ast.walk(tree)) if number == place)
    before, change = _short(node), _change(node)
    assert change is not None
    setattr(node, *change)
    return Mutant(
        getattr(node, "lineno", 0), f"{before} → {_short(node)}", ast.unparse(ast.fix_missing_locations(tree))
    )


def _short(node: ast.AST) -> str:
    return ast.unparse(node).split("\n")[0][:60]


def _change(node: ast.AST) -> tuple[str, object] | None:
    """What is done to a node: the name of a field, and its new value."""
    match node:
        case ast.Compare(ops=[op, *more]) if type(op) in _SWAPS:
            return "ops", [_SWAPS[type(op)](), *more]
        case ast.BoolOp():
            return "op", _SWAPS[type(node.op)]()
        case ast.BinOp() if type(node.op) in _SWAPS and _is_sum(node):
            return "op", _SWAPS[type(node.op)]()
        case ast.If() | ast.While() | ast.IfExp() if _short(node.test) != "TYPE_CHECKING":
            return "test", ast.UnaryOp(ast.Not(), node.test)
        case ast.Return(value=ast.expr()) if _short(node) != "return None":
            return "value", ast.Constant(None)
        case ast.Constant(value=bool(value)):
            return "value", not value
        case ast.Constant(value=int(value)):
            return "value", value + 1
        case ast.Expr(value=ast.Call()) if not _short(node).startswith("log."):
            return "value", ast.Constant(None)
    return None


def _is_sum(node: ast.BinOp) -> bool:
    """Not a text that is put together."""
    return not any(isinstance(one, ast.JoinedStr) or _is_text(one) for one in (node.left, node.right))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _copy_of_project(top: Path) -> Path:
    copied = top / "project"
    copied.mkdir()
    for name in (*_COPIED, *(path.name for path in ROOT.glob("requirements*.txt"))):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copied / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, copied / name)
    (copied / "log").mkdir()
    (copied / ".venv").symlink_to((ROOT / ".venv").resolve())
    return copied


def _noticed_by(project: Path, tests: Sequence[str], output: Path) -> str | None:
    """What noticed it: the first test that fails, or that it never ended; None if nothing did."""
    child = os.fork()
    if child == 0:
        os.setsid()
        _run_tests(project, tests, output)
    deadline = time.monotonic() + _LONGEST
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            return None if os.waitstatus_to_exitcode(status) == 0 else _first_failure(output)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "it did not end"


def _run_tests(project: Path, tests: Sequence[str], output: Path) -> None:
    """In a child of its own, which has not imported anything of the project."""
    status = 70
    try:
        for name in [name for name in sys.modules if name.split(".")[0] in {"tools", "tests", "config"}]:
            del sys.modules[name]
        os.chdir(project)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        os.environ.setdefault("TEST_PATIENCE", "30")  # many a mutant has something never happen
        sys.dont_write_bytecode, sys.path[0] = True, str(project)
        opened = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, 1)
        os.dup2(opened, 2)
        folder = output.parent / "pytest-mutant"  # a name by which tests know what they may open to others
        shutil.rmtree(folder, ignore_errors=True)
        status = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", f"--basetemp={folder}", *tests]))
    finally:
        os._exit(status)


def _first_failure(output: Path) -> str:
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
    failed = (line.split(" - ")[0] for line in lines if line.startswith(("FAILED ", "ERROR ")))
    return next(failed, "tests that can't be run").partition(" ")[2] or "the import"


def main() -> int:
    """Returns 1 if a mutant survived."""
    seed, count, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:] or list(_TESTS)
    made = killed = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as top:
        Path(top).chmod(0o755)  # some tests act as another user
        project = _copy_of_project(Path(top))
        for name in names:
            path = project / "tools" / f"{name}.py"
            source = path.read_text(encoding="utf-8")
            tests = [f"tests/{test}" for test in _TESTS[name].split()]
            output = Path(top) / "output"
            found, survived = places(source), 0
            for place in random.Random(f"{seed} {name}").sample(found, min(count, len(found))):
                changed = mutant(source, place)
                path.write_text(changed.source, encoding="utf-8")
                by = _noticed_by(project, tests, output)
                made, survived = made + 1, survived + (by is None)
                print(f"{name}:{changed.line}: {changed.what}: {by or 'SURVIVED'}", flush=True)
            path.write_text(source, encoding="utf-8")
            killed += min(count, len(found)) - survived
            if not survived and (by := _noticed_by(project, tests, output)) is not None:
                print(f"{name}: the tests fail without a change: {by}", flush=True)
                return 2
    print(f"{killed} of {made} killed", flush=True)
    return int(killed < made)


if __name__ == "__main__":
    sys.exit(main())
