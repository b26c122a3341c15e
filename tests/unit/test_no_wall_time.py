"""No test asserts that something takes little time: on a busy machine that is a lie, whatever the code is like.

That something ends is held by deadlines that are far longer than it takes: those of ``tests.patience``, one setting for
all. A test may assert that time did pass.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import ROOT

OTHERS = {"bench", "patience.py", "pictures.py"}  # which makes the pictures of the README
TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if not OTHERS & set(path.parts))
CLOCKS = {"monotonic", "perf_counter", "time"}
WAITS = {"wait", "join", "settimeout", "wait_for"}
BRIEF = 5.0  # s; up to here a wait is for what must not happen, or one of many
PATIENT = 60.0  # s; a wait of its own that is at least so long is nobody's claim about speed


def _asks_a_clock(node: ast.AST) -> bool:
    return any(
        isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in CLOCKS
        for call in ast.walk(node)
    )


def _is_span(node: ast.AST) -> bool:
    """``time.monotonic() - began``."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _asks_a_clock(node.left)


def _upper_bounds(tree: ast.AST) -> Iterator[ast.AST]:
    asserted = [part for node in ast.walk(tree) if isinstance(node, ast.Assert) for part in ast.walk(node)]
    for node in asserted:
        if isinstance(node, ast.Compare):
            terms = [node.left, *node.comparators]
            for left, operator, right in zip(terms, node.ops, terms[1:], strict=False):
                if isinstance(operator, ast.Lt | ast.LtE) and _is_span(left):
                    yield node
                if isinstance(operator, ast.Gt | ast.GtE) and _is_span(right):
                    yield node


def _bare_sleeps(tree: ast.AST) -> Iterator[ast.AST]:
    """Sleeps of a fixed time that wait for no condition: outside of every loop."""
    looped = {id(inner) for loop in ast.walk(tree) if isinstance(loop, ast.While | ast.For) for inner in ast.walk(loop)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in looped:
            continue
        if ast.unparse(node.func) == "time.sleep" and isinstance(node.args[0], ast.Constant):
            yield node


def _deadlines_of_its_own(tree: ast.AST) -> Iterator[ast.AST]:
    """``time.monotonic() + 20`` and what is like it: ``until`` of ``tests.patience`` is how to wait for a condition."""
    for node in ast.walk(tree):
        is_sum = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)
        if is_sum and re.fullmatch(r"time\.(monotonic|perf_counter)\(\) \+ (?!PATIENCE$).*", ast.unparse(node)):
            yield node


def _short_waits(tree: ast.AST) -> Iterator[ast.AST]:
    """``process.wait(20)``, ``run(…, timeout=20)``."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given = [word.value for word in node.keywords if word.arg == "timeout"]
        if isinstance(node.func, ast.Attribute) and node.func.attr in WAITS:
            given += node.args[-1:]
        for value in given:
            if (
                isinstance(value, ast.Constant)
                and isinstance(value.value, int | float)
                and BRIEF < value.value < PATIENT
            ):
                yield node


def faults(tree: ast.AST) -> list[ast.AST]:
    return [*_upper_bounds(tree), *_bare_sleeps(tree), *_deadlines_of_its_own(tree), *_short_waits(tree)]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_no_test_depends_on_how_fast_the_machine_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = faults(tree)
    assert not [f"{path}:{node.lineno}: {ast.unparse(node)}" for node in found]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("assert time.monotonic() - began < 5", True),
        ("assert 1 <= time.perf_counter() - began <= 4 * LIMIT", True),
        ("assert 5 > time.monotonic() - began and done()", True),
        ("time.sleep(2)", True),
        ("deadline = time.monotonic() + 2", True),
        ("assert time.monotonic() - began >= 2", False),
        ("while not done(): time.sleep(0.1)", False),
        ("deadline = time.monotonic() + 60", True),
        ("deadline = time.monotonic() + seconds", True),
        ("deadline = time.monotonic() + PATIENCE", False),
        ("process.wait(20)", True),
        ("subprocess.run(command, timeout=20)", True),
        ("process.wait(PATIENCE)", False),
        ("assert not entered.acquire(timeout=0.4)", False),
        ("requests.get(address, timeout=60)", False),
        ("assert time.monotonic() < deadline", False),
    ],
)
def test_what_is_such_a_dependence(code: str, found: bool) -> None:
    tree = ast.parse(code)
    assert bool(faults(tree)) is found
