"""Pictures of the terminal for README and docs, of what the programs really show: ``python3 -m tests.pictures``.

Each is what tmux has on a screen (``capture-pane -e``), drawn by a browser: ``--status`` over ``tests/scene.py`` in 80
columns, and both windows of a demo while it encodes in 100. Those of the dashboard are made by
``PICTURES=1 pytest tests/integration/test_browser.py``.
"""

import html
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests import scene
from tests.integration.test_browser import shrunk
from tests.patience import until
from tests.programs import ROOT
from tests.scene import Scene
from tests.start_script import SCRIPT, Tmux
from tools.report.cells import cells

_FOLDER = ROOT / "docs/images"
_STYLE = """
body { margin: 0; display: inline-block; background: %(back)s; color: %(text)s; }
pre { margin: 14px 18px; font: 15px/1.35 "DejaVu Sans Mono", "WenQuanYi Micro Hei Mono", monospace; }
i { font-style: normal; display: inline-block; } .c1 { width: 1ch; } .c2 { width: 2ch; }
.bold { font-weight: bold; } .red { color: %(red)s; } .green { color: %(green)s; } .yellow { color: %(yellow)s; }
"""
_LIGHT = {"back": "#fbfbfa", "text": "#1c2329", "red": "#b3261e", "green": "#17713a", "yellow": "#7a4a00"}
_DARK = {"back": "#12181f", "text": "#dfe5ea", "red": "#ff9d94", "green": "#7ddb9b", "yellow": "#ffcf70"}
_COLOURS = {1: "red", 2: "green", 3: "yellow"}  # Source: ECMA-48, SGR 31 to 33
_HIGH = 40  # lines of the screen on which --status is shown


def drawn(screen: str, colours: dict[str, str]) -> str:
    """A page with what ``capture-pane -e`` gave."""
    console = Console(color_system="truecolor", force_terminal=True)
    lines = []
    for line in screen.rstrip("\n").split("\n"):
        text = Text.from_ansi(line)
        lines.append("".join(_cell(char, text, place, console) for place, char in enumerate(text.plain)))
    return f"<meta charset=utf-8><style>{_STYLE % colours}</style><pre>{chr(10).join(lines)}</pre>"


def _cell(char: str, text: Text, place: int, console: Console) -> str:
    style = text.get_style_at_offset(console, place)
    number = style.color.number if style.color is not None else None
    names = [_COLOURS[number]] if number is not None else []
    names += ["bold"] if style.bold else []
    if not char.isascii():  # of a font that may not know the width
        names.append(f"c{cells(char)}")
        return f'<i class="{" ".join(names)}">{html.escape(char)}</i>'
    return f'<span class="{" ".join(names)}">{html.escape(char)}</span>' if names else html.escape(char)


def _status(tmux: Tmux, language: str) -> str:
    """The screen of a person who looks at a busy week."""
    with tempfile.TemporaryDirectory() as top:
        log_dir = Path(top)
        scene.make(log_dir, Scene(folders=200, cluster=False))
        env = {"LOG_DIR": top, "PATH": os.environ["PATH"], "LANG": language, "ANIMATION_DOTENV": f"{top}/none"}
        shown = " ".join(f"{name}={value}" for name, value in env.items())
        with scene.both_running(log_dir):
            command = f"env -i {shown} TERM=$TERM {sys.executable} {ROOT}/tools/queue_processor.py --status; sleep 600"
            tmux("new-session", "-d", "-s", "status", "-x", "80", "-y", str(_HIGH), command)
            try:
                until(lambda: "≈" in tmux("capture-pane", "-p", "-t", "=status:"), "the status")
                time.sleep(0.5)
                return tmux("capture-pane", "-e", "-p", "-t", "=status:")
            finally:
                tmux("kill-session", "-t", "=status")


def _windows(tmux: Tmux) -> dict[str, str]:
    """Both windows of a demo, while it encodes and knows when it will be done."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as top:  # what ends may still write
        env = {"PATH": os.environ["PATH"], "HOME": top, "LANG": "en_US.UTF-8", "TMUX_SOCKET": tmux.socket}
        env |= {
            "HUB_DIR": f"{top}/hub",
            "LOG_DIR": f"{top}/log",
            "WORK_DIR": f"{top}/work",
            "TMUX_SESSION": "shown",
            "MAX_CONCURRENT": "1",
        }
        env |= {"ANIMATION_DOTENV": f"{top}/none", "HUB_PORT": str(_free_port()), "DASHBOARD_PORT": str(_free_port())}
        done = subprocess.run(["bash", str(SCRIPT), "--demo"], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

        for window in ("monitor", "processor"):
            tmux("resize-window", "-t", f"=shown:{window}", "-x", "100", "-y", "26")

        def screen(window: str) -> str:
            return tmux("capture-pane", "-p", "-t", f"=shown:{window}")

        try:
            _add_more(Path(top) / "hub/datasets/demo/animation")
            until(lambda: "fps" in screen("processor") and "Done: about" in screen("processor"), "bars", patience=400)
            return {name: tmux("capture-pane", "-e", "-p", "-t", f"=shown:{name}") for name in ("monitor", "processor")}
        finally:
            tmux("kill-session", "-t", "=shown")


def _add_more(folder: Path) -> None:
    """Folders beside those of the demo, each video a content of its own, so that there is something to wait for."""
    (path,) = folder.glob("*/*.mp4")
    for number in range(9):
        target = folder / f"Harbour Lights Season {number // 3 + 1}" / f"Harbour Lights - {number % 3 + 1:02}.mp4"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes() + struct.pack(">I4sQ", 16, b"free", number))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main(argv: list[str]) -> int:
    """Make all of them, or ``status`` or ``windows`` alone; returns the exit status."""
    if shutil.which("chromium") is None:
        print("no chromium here: apt install chromium", file=sys.stderr)
        return 1
    tmux = Tmux(f"pictures-{os.getpid()}")
    if "windows" not in argv:
        english = _status(tmux, "en_US.UTF-8")
        _save({"status-light": drawn(english, _LIGHT), "status-dark": drawn(english, _DARK)})
        _save({"status-zh": drawn(_status(tmux, "zh_CN.UTF-8"), _LIGHT)})
    if "status" not in argv:
        _save({f"window-{name}": drawn(screen, _DARK) for name, screen in _windows(tmux).items()})
    return 0


def _save(pages: dict[str, str]) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"], timeout=120_000
        )
        for name, page in pages.items():
            tab = browser.new_page(viewport={"width": 1000, "height": 800})
            tab.set_content(page)
            tab.locator("body").screenshot(path=_FOLDER / f"{name}.png")
            shrunk(_FOLDER / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
