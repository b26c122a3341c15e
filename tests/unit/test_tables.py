"""The tables of cases and faults in the guides name tests that exist."""

import re

import pytest

import config

DOCS = config.ROOT / "docs"


def _rows(page: str) -> list[list[str]]:
    """Case, what comes of it, test; of the tables whose last column is the test."""
    rows: list[list[str]] = []
    is_wanted = is_inside = False
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("| ") else None
        if cells is None:
            is_inside = is_inside and line.startswith("|")
        elif not is_inside:
            is_inside, is_wanted = True, cells[-1] == "test"
        elif is_wanted and not cells[0].startswith(("**", "---")):
            rows.append(cells)
    return rows


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
            defined = rf"^\s*((?:async )?def {name}\(|class {name}\b|{name} = )"
            assert re.search(defined, source, re.MULTILINE), (file, name)
