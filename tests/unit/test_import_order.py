"""Imports go one way: core → runtime → {state, hub, media} → {hub_server, stages} → processor → cluster → report →
web → programs."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / "tools"
MAY_IMPORT = {
    "core": set(),
    "runtime": {"core"},
    "state": {"core", "runtime"},
    "hub": {"core", "runtime", "state"},
    "media": {"core", "runtime"},
    "hub_server": {"core", "runtime"},
    "stages": {"core", "runtime", "state", "hub", "media"},
    "processor": {"core", "runtime", "state", "hub", "media", "stages"},
    "cluster": {"core", "runtime", "state", "hub", "media", "stages", "processor"},
    "report": {"core", "runtime", "state", "hub", "media", "stages", "processor", "cluster"},
    "web": {"core", "runtime", "state", "report"},
}
# What core and config may use besides themselves: nothing that has an effect.
IMPURE = {"os", "socket", "subprocess", "logging", "threading", "time", "requests", "shutil"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            # "from tools.runtime import logs" names a module by its alias.
            names |= {f"{module}.{alias.name}" for alias in node.names} if module.count(".") == 1 else {module}
    return names


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_folder_imports_only_what_stands_to_its_left(folder: str) -> None:
    for path in (TOOLS / folder).glob("*.py"):
        for name in imported(path):
            parts = name.split(".")
            assert parts[0] != "config", f"{path.name} imports config, which only programs may"
            if parts[0] == "tools":
                assert len(parts) > 2, f"{path.name} imports the program {name}"
                assert parts[1] == folder or parts[1] in MAY_IMPORT[folder], f"{folder}/{path.name} imports {name}"


def test_core_has_no_effects() -> None:
    for path in (TOOLS / "core").glob("*.py"):
        assert not {name.split(".")[0] for name in imported(path)} & IMPURE, path.name


def test_only_one_module_knows_the_sdk() -> None:
    users = {path.name for path in TOOLS.rglob("*.py") if any(n.startswith("modelscope") for n in imported(path))}
    assert users == {"modelscope_client.py", "modelscope_sdk.py"}


def test_config_needs_the_standard_library_alone() -> None:
    import sys

    assert {name.split(".")[0] for name in imported(ROOT / "config.py")} <= set(sys.stdlib_module_names)


def test_parts_of_packages_with_holes_that_no_release_fixes_are_not_used() -> None:
    """SECURITY.md says so of each."""
    for path in TOOLS.rglob("*.py"):
        for name in imported(path):
            assert name.split(".")[0] != "modelscope", f"{path.name}: CVE-2026-84202"
            assert not name.startswith("dask.array"), f"{path.name}: CVE-2026-95897"
