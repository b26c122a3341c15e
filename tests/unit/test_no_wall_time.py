"""No test asserts that something takes little time: on a busy machine that is a lie, whatever the code is like.

That something ends is held by deadlines that are far longer than it takes. A test may assert that time did pass.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import ROOT

TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if "bench" not in path.parts)
CLOCKS = {"monotonic", "perf_counter", "time"}
SHORTEST = 5.0  # s of a deadline; below that it is an assertion about speed


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


def _short_deadlines(tree: ast.AST) -> Iterator[ast.AST]:
    """``time.monotonic() + 2``."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and _asks_a_clock(node.left)):
            continue
        if isinstance(node.right, ast.Constant) and float(ast.unparse(node.right)) < SHORTEST:
            yield node


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_no_test_depends_on_how_fast_the_machine_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [*_upper_bounds(tree), *_bare_sleeps(tree), *_short_deadlines(tree)]
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
        ("deadline = time.monotonic() + 60", False),
        ("assert time.monotonic() < deadline", False),
    ],
)
def test_what_is_such_a_dependence(code: str, found: bool) -> None:
    tree = ast.parse(code)
    assert bool([*_upper_bounds(tree), *_bare_sleeps(tree), *_short_deadlines(tree)]) is found
