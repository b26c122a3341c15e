"""A canary: does the installed SDK still have the private parts that are used of it? Run it after any upgrade."""

import importlib.metadata
import re

import pytest

from config import ROOT
from tools.hub import modelscope_sdk as sdk
from tools.report.checks import check_sdk


def test_sdk_has_the_parts_that_are_used_of_it() -> None:
    version = importlib.metadata.version("modelscope-hub")
    assert sdk.moved_parts() == [], (
        f"modelscope-hub {version} has moved these (tested with {sdk.TESTED_WITH}): find them in its source, fix "
        "tools/hub/modelscope_sdk.py and modelscope_client.py, or lower the bound in requirements.txt"
    )


def test_every_private_part_that_is_used_is_listed() -> None:
    code = "".join((ROOT / "tools/hub" / name).read_text() for name in ("modelscope_client.py", "modelscope_sdk.py"))
    code = code.partition("_PARTS = (")[0] + code.partition("def moved_parts")[2]
    used = set(re.findall(r"\b(?:_?sdk|legacy|openapi|control|_download)\.(_\w+)", code))
    used |= set(re.findall(r"import (_[A-Z]\w+)", code)) | set(
        re.findall(r"\(_(?:download|legacy_api), \"(\w+)\"", code)
    )
    listed = {name for part in (*sdk._PARTS, *sdk._PARTS_OF_API) for name in re.split(r"[.:]", part)}
    assert len(used) > 8 and used <= listed


def test_download_of_days_is_ended_by_its_stall_limit_alone() -> None:
    from modelscope_hub import _download

    sdk.configure(60.0)
    assert _download.DOWNLOAD_TOTAL_TIMEOUT > 200e9 / 500e3, "s, of 200 GB at 500 kB/s"


def test_doctor_says_which_part_is_gone_and_which_version_was_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelscope_hub import _download

    assert check_sdk().ok and sdk.TESTED_WITH in check_sdk().seen
    monkeypatch.delattr(_download, "DOWNLOAD_RETRY_TIMES")
    found = check_sdk()
    assert not found.ok and "lacks modelscope_hub._download.DOWNLOAD_RETRY_TIMES" in found.seen and found.advice
