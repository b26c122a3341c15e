"""Causes that reach a person are sentences: no exit status, no address, no Python value, no «1 problems»."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import ROOT
from tools.core.errors import DiskFull, MachineError
from tools.media.complaints import Complaints
from tools.media.transcode import failure
from tools.runtime.child import Ended
from tools.runtime.spawn import NOTHING

NO_SENTENCE = re.compile(r"ended with status|\(status |0x[0-9a-f]{3,}|\bb['\"]|\\x[0-9a-f]{2}|\b1 \w+s\b(?<!this)")
BAD = re.compile(r"(ended|exited) with status|(\(| exit )status \{\}|!r of a value|\{\} (problems|failures)\b")
MODULES = sorted(path for path in (ROOT / "tools").rglob("*.py") if "hub_server" not in path.parts)

SAID = {  # the last lines of a real ffmpeg → the end of the cause
    "the input": (
        "[in#0 @ 0x5566aa10f040] Error opening input: No such file or directory\n"
        "Error opening input file file:/w/source.mp4.\nError opening input files: No such file or directory",
        "No such file or directory",
    ),
    "the header": (
        "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x55d0c8a3c040] moov atom not found\n"
        "[in#0 @ 0x55d0c8a3bf00] Error opening input: Invalid data found when processing input",
        "moov atom not found",
    ),
    "the encoder": (
        "[libsvtav1 @ 0x561a2c4f4a80] Error setting encoder parameters: bad parameter (0x80001005)\n"
        "[vost#0:0/libsvtav1 @ 0x561a2c4f4700] Error while opening encoder - maybe incorrect parameters",
        "bad parameter",
    ),
    "two parts": (
        "[vost#0:0/libsvtav1 @ 0x5] [enc:libsvtav1 @ 0x55ff0c0ffee0] Could not open encoder before EOF",
        "Could not open encoder before EOF",
    ),
    "an address inside": ("Failed to send a packet to [h264 @ 0x55ff0c0ffee0]", "Failed to send a packet to [h264]"),
    "nothing": ("", "without a word"),
}


@pytest.mark.parametrize("status", [1, 69, 183, 187, 234, 254])
@pytest.mark.parametrize("kind", SAID)
def test_failure_of_ffmpeg_is_a_sentence(kind: str, status: int) -> None:
    said, expected = SAID[kind]
    complaints = Complaints()
    for line in said.splitlines():
        complaints.line(line)
    error = failure("ffmpeg", ["ffmpeg"], Ended(status, said), complaints, NOTHING)
    assert not NO_SENTENCE.search(str(error)), error
    assert str(error).startswith("ffmpeg ") and "\n" not in str(error)
    if isinstance(error, MachineError | DiskFull):
        assert "machine" in str(error)
    else:
        assert expected in str(error)


def _texts_of_errors(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each text that is raised, what is put into it written as ``{}``, and as ``{!r}`` if it is shown as a value."""
    raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
    for node in (part for found in raised for part in ast.walk(found)):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(_shown(part) for part in node.values)


def _shown(part: ast.expr) -> str:
    if isinstance(part, ast.FormattedValue):
        is_value = part.conversion == ord("r")
        return "{!r of a value}" if is_value and not _is_text(part.value) else "{}"
    return str(part.value) if isinstance(part, ast.Constant) else ""


def _is_text(value: ast.expr) -> bool:
    """What was typed or is a name: quoted, it is still readable. Exceptions and bytes are not."""
    return not re.fullmatch(r"exc|error|content|head|data|line|\w*bytes", ast.unparse(value).split("[")[0])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "tools")))
def test_texts_of_errors_are_sentences(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [f"{path.name}:{line}: {text}" for line, text in _texts_of_errors(tree) if BAD.search(text)] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("raise E(f'ffmpeg ended with status {n}')", True),
        ("raise E(f'it begins with {head!r}')", True),
        ("raise E(f'{n} problems')", True),
        ("raise E(f'{name!r} is no program')", False),
    ],
)
def test_what_is_no_sentence(code: str, found: bool) -> None:
    assert any(BAD.search(text) for _, text in _texts_of_errors(ast.parse(code))) is found


def test_no_program_or_script_tells_of_an_exit_status() -> None:
    """Whatever way it takes to a person: a log line, a terminal, a tmux window."""
    files = [*MODULES, *ROOT.glob("*.sh")]
    found = [path.name for path in files if re.search(r"(ended|exited|died) with status", path.read_text("utf-8"))]
    assert found == []
