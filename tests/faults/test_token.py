"""The token: refused while the programs run, healed by a new one, and nowhere to be read."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import Settings
from tests.fakes import FakeClock
from tests.hub_server import Fault, RunningHub, running_hub
from tests.media import make_clip
from tests.patience import PATIENCE, until
from tests.programs import ROOT, environment
from tools.core.errors import HubForbidden
from tools.hub.client import HubClient
from tools.login import Login

FIRST, SECOND = "ms-f1rst-0f-tw0-t0kens", "ms-sec0nd/0f+tw0-t0kens"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        running.token = FIRST
        running.store.create("me/in", 1)
        yield running


def upload(hub: RunningHub, top: Path, folder: str) -> None:
    target = hub.root / "datasets" / "me" / "in" / folder
    target.mkdir()
    make_clip(top / "clip.mp4", seconds=0.5).rename(target / "1.mp4")


class Spy(threading.Thread):
    """Reads the command line of every process, and the environment of each ffmpeg and ffprobe, all the while."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.done = threading.Event()
        self.seen: set[bytes] = set()
        self.children = 0

    def run(self) -> None:
        while not self.done.wait(0.01):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    self._look(entry)

    def _look(self, entry: Path) -> None:
        try:
            line = (entry / "cmdline").read_bytes()
            self.seen.add(line)
            program = line.split(b"\0")[0].rpartition(b"/")[2]
            if program.startswith((b"ffmpeg", b"ffprobe")):
                self.seen.add((entry / "environ").read_bytes())
                self.children += 1
        except OSError:
            return


def start(module: str, env: dict[str, str], said: Path) -> subprocess.Popen[bytes]:
    """A program as a module, with everything logged that there is."""
    code = "import logging; logging.basicConfig(level=logging.DEBUG); "
    code += f"from tools.{module} import main; raise SystemExit(main([]))"
    with said.open("wb") as stream:
        return subprocess.Popen([sys.executable, "-c", code], env=env, cwd="/", stdout=stream, stderr=stream)


def test_token_that_is_refused_pauses_heals_by_a_new_one_and_is_nowhere_to_be_read(
    hub: RunningHub, tmp_path: Path
) -> None:
    """Success, errors of the hub that echo the token, a refusal, and a new token in ``.env`` while that of the
    environment is the old one; everything logged at DEBUG."""
    dotenv, log = tmp_path / "dotenv", tmp_path / "log" / "processing.log"
    env = environment(hub, tmp_path, PYTHONPATH=str(ROOT), ANIMATION_DOTENV=str(dotenv))
    env["MODELSCOPE_API_TOKEN"] = FIRST
    echo = f"Bearer {FIRST}"
    for match in ("/repo/tree", "/repo?Revision", "/objects/batch", "PUT ", "/commit/master"):
        # After 500 a commit may have happened, which is waited for.
        hub.faults.append(Fault(match, "status:429" if "commit" in match else "status:500", times=1, says=echo))
    upload(hub, tmp_path, "A")
    out = hub.root / "datasets" / "me" / "out"
    spy = Spy()
    spy.start()
    programs = [start(module, env, tmp_path / f"{module}.out") for module in ("modelscope_monitor", "queue_processor")]
    try:
        until(lambda: (out / "A" / "1.mkv").exists())
        hub.faults[:] = [Fault("", "status:401", times=10**6, says=echo)]
        upload(hub, tmp_path, "B")
        hub.token = SECOND
        until(lambda: " ERROR monitor " in log.read_text("utf-8"))
        hub.faults.clear()
        refusal = Fault("/commits", "unsuccess:401", times=2, says=echo)
        hub.faults.append(refusal)
        until(lambda: refusal.hits > 0)
        dotenv.write_text(f"MODELSCOPE_API_TOKEN={SECOND}\n")
        until(lambda: (out / "B" / "1.mkv").exists())
    finally:
        for program in programs:
            program.terminate()
        assert [program.wait(PATIENCE) for program in programs] == [0, 0]
        spy.done.set()
        spy.join()
    told = [line for line in log.read_text("utf-8").splitlines() if " ERROR " in line]
    assert [line.split()[3] for line in told].count("monitor") == 1 and len(told) <= 2, told
    assert all("MODELSCOPE_API_TOKEN" in line for line in told)
    assert len(hub.store.repo("me/out").commits) == 2 and spy.children > 2
    places = [path for top in (log.parent, tmp_path / "work") for path in top.rglob("*") if path.is_file()]
    places += list(tmp_path.glob("*.out"))
    content = {str(path): path.read_bytes() for path in places} | {str(n): one for n, one in enumerate(spy.seen)}
    assert b"***" in content[str(log)], "it was there to be masked"
    secrets = (b"ms-sec0nd%2F0f%2Btw0-t0kens", FIRST[:14].encode(), SECOND[:14].encode())
    for place, text in content.items():
        assert not any(secret in text for secret in secrets), place
    for path in (hub.root / "datasets").rglob("metadata.jsonl"):
        assert not any(secret in path.read_bytes() for secret in secrets)


def test_new_token_is_found_wherever_it_was_put(
    hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dotenv = tmp_path / "dotenv"
    for name, value in {**environment(hub, tmp_path), "ANIMATION_DOTENV": str(dotenv)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "0ld-and-refused")
    settings = Settings.load(dict(os.environ))
    clock = FakeClock()

    def connect(settings: Settings, clock: FakeClock) -> tuple[HubClient, str]:
        return Login(settings, clock).connect()

    with pytest.raises(HubForbidden, match="MODELSCOPE_API_TOKEN"):
        connect(settings, clock)
    dotenv.write_text(f"MODELSCOPE_API_TOKEN={FIRST}\n")
    assert connect(settings, clock)[1] == "local"
    dotenv.write_text("MODELSCOPE_API_TOKEN=wr0ng-again\n")
    with pytest.raises(HubForbidden):
        connect(settings, clock)
    login = "import os; from modelscope_hub import HubApi; hub = os.environ['MODELSCOPE_ENDPOINT']\n"
    login += "HubApi(endpoint=hub).login(os.environ['T'])"
    subprocess.run([sys.executable, "-c", login], env={**os.environ, "T": FIRST}, check=True, capture_output=True)
    assert connect(settings, clock)[1] == "local" and clock.slept == []
