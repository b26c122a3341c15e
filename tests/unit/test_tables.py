"""The tables of cases and faults in the guides name tests that exist."""

import re

import pytest

import config

DOCS = config.ROOT / "docs"


def _rows(page: str) -> list[list[str]]:
    """Case, what comes of it, test; without headings."""
    lines = [line for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in rows if row[-1] != "test" and not row[0].startswith("**")]


@pytest.mark.parametrize("page", ["conversion.md", "reliability.md"])
def test_every_case_names_a_test_that_exists(page: str) -> None:
    rows = _rows(page)
    assert len(rows) > 15
    for row in rows:
        assert len(row) == 3 and row[0] and row[1], row
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[2])
        assert named, f"no test for: {row[0]}"
        for file, name in named:
            source = (config.ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^\s*(def {name}\(|class {name}\b|{name} = )", source, re.MULTILINE), (file, name)
