"""The demo as a newcomer sees it, on a terminal of 80 columns: no warning, smaller results, what to do next."""

import shlex
from pathlib import Path

import pytest

from tests.patience import until
from tests.start_script import SCRIPT, Tmux
from tools.report.cells import cells

pytestmark = pytest.mark.another_user


def test_demo_warns_of_nothing_and_ends_with_what_came_out(environ: dict[str, str], tmux: Tmux, tmp_path: Path) -> None:
    env = environ | {
        "TMUX_SOCKET": tmux.socket,
        "TMUX_SESSION": "tested",
        "PRESET": "12",
        "TARGET_VMAF": "off",
        "MAX_SIZE_PERCENT": "off",
        "LANG": "C.UTF-8",
    }
    for name in ("MODELSCOPE_API_TOKEN", "MODELSCOPE_ENDPOINT", "INPUT_REPO"):
        del env[name]
    run = " ".join(["env", "-i", *(shlex.quote(f"{k}={v}") for k, v in env.items()), "bash", shlex.quote(str(SCRIPT))])
    tmux("new-session", "-d", "-s", "person", "-x", "80", "-y", "50", "bash", "-c", f"{run}; exec sleep 600")

    progress = tmp_path / "log" / "progress.json"

    def screen() -> str:
        return tmux("capture-pane", "-p", "-J", "-S", "-200", "-t", "=person:")

    until(
        lambda: "bash start_monitoring.sh" in screen().rpartition("next, for your own videos 下一步")[2],
        screen,
        moving=lambda: (screen(), progress.read_bytes() if progress.exists() else b""),
    )
    log = (tmp_path / "log" / "processing.log").read_text(encoding="utf-8")
    assert " WARNING " not in log and " ERROR " not in log and log.count("批次处理成功") >= 2, log
    summary = screen()[screen().index("3 videos converted to AV1: ") :].splitlines()
    assert summary[0].count("MiB") == 2 and "% smaller" in summary[0]
    assert any(line.startswith("Quality beside the sources: VMAF ") for line in summary[:4]), summary[:4]
    assert sum("% smaller" in line for line in summary) == 3
    for repo in ("animation-av1", "animation-frames"):
        assert f"    {tmp_path}/hub/datasets/demo/{repo}" in summary
    assert log.count("scene frames committed") == 2, "of each folder"
    assert all(cells(line) <= 80 for line in summary if str(tmp_path) not in line)
    windows = tmux("list-windows", "-t", "=tested", "-F", "#{window_index} #{window_name}").split()
    assert windows[:2] == ["0", "monitor"] and sorted(windows[3::2]) == ["dashboard", "hub", "processor"]
