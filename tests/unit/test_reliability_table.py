"""The fault table names tests that exist."""

import re

import config

PAGE = config.ROOT / "docs" / "reliability.md"


def _rows() -> list[list[str]]:
    """Fault, what the program does, test; without headings."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in rows if row[0] != "fault" and not row[0].startswith("**")]


def test_every_fault_names_a_test_that_exists() -> None:
    assert len(_rows()) > 15
    for row in _rows():
        assert len(row) == 3 and row[0] and row[1], row
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[2])
        assert named, f"no test for: {row[0]}"
        for file, name in named:
            source = (config.ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^\s*(def {name}\(|class {name}\b|{name} = )", source, re.MULTILINE), (file, name)
