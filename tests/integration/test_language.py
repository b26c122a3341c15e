"""Programs speak the language of the terminal, also about what another program stored in English."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.programs import run_program

ITEM: dict[str, object] = {
    "folder": "番剧", "file_count": 1, "total_size": 9, "added_time": "2026-01-01T00:00:00", "status": "failed",
    "priority": 1, "hash": "h", "error": "0 of 1 published, 1 can't be converted", "videos_total": 1,
    "quarantined": [{"path": "番剧/1.mp4", "cause": "not a video file: unknown content"}],
}  # fmt: skip
PAUSED = "the hub refused the token: put a new one into .env (MODELSCOPE_API_TOKEN); next try at 2026-01-01T00:00:00"
# Names, flags and values: what is the same in every language.
SAME = r"--?\w[\w-]*|\b[\w.]+\.(py|sh|mp4|env)\b|[A-Z_]{3,}|\bHub\b|\bhub\b|\bfree=\S+|\w+=\w+"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "processing_queue.json").write_text(json.dumps([ITEM]), encoding="utf-8")
    progress = {"updated": 0, "paused": PAUSED, "jobs": [], "workers": [], "confined": [], "hub": []}
    (tmp_path / "log" / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANG", "LC_", "MODELSCOPE"))}
    places = {"LOG_DIR": str(tmp_path / "log"), "WORK_DIR": str(tmp_path / "work")}
    return kept | places | {"ANIMATION_DOTENV": str(tmp_path / "none.env")}


def test_chinese_terminal_reads_chinese_and_state_files_stay_english(env: dict[str, str], tmp_path: Path) -> None:
    env |= {"LC_ALL": "zh_CN.UTF-8"}
    told = run_program("queue_processor.py", "--status", env=env).stdout
    for line in (
        "已暂停：令牌被拒绝，请在 .env 中写入新令牌（MODELSCOPE_API_TOKEN）；下次尝试 2026-01-01T00:00:00；会自动继续",
        "失败 番剧：1 个中已发布 0 个，1 个无法转换：",
        "    番剧/1.mp4: 不是视频文件：内容无法识别",
        "    请上传更好的文件；--retry 无效",
    ):
        assert line in told.splitlines(), told
    checked = run_program("health.py", env=env).stdout
    assert checked.startswith("CRITICAL - 监控程序未运行"), checked
    wrong = run_program("queue_processor.py", "--retry", "没有", env=env)
    assert wrong.returncode == 1 and wrong.stderr == "queue_processor.py: 没有 不在队列（--status 显示有哪些）中\n"
    for text in (told, checked):
        words = re.findall(r"[a-z]{3,} [a-z]{3,}", re.sub(SAME, "", text))
        assert words == [], text
    assert "0 of 1 published, 1 can't be converted" in (tmp_path / "log" / "processing_queue.json").read_text(
        encoding="utf-8"
    )


def test_setting_decides_otherwise_also_in_the_env_file(env: dict[str, str], tmp_path: Path) -> None:
    dotenv = tmp_path / "settings.env"
    dotenv.write_text("UI_LANG=en\n", encoding="utf-8")
    env |= {"LANG": "zh_CN.UTF-8", "ANIMATION_DOTENV": str(dotenv)}
    told = run_program("health.py", "--help", env=env).stdout
    assert told.startswith("usage: ") and not re.search("[一-鿿]", told)
    told = run_program("health.py", "--help", env=env | {"UI_LANG": "both"}).stdout
    assert "print nothing if all is well (for cron)\n" in told and "一切正常时不输出（供 cron 使用）\n" in told
    asked = run_program("health.py", "--nothing", env=env | {"UI_LANG": "zh"})
    assert asked.returncode == 3 and asked.stdout == "UNKNOWN - 无法识别的参数：--nothing；请看 --help\n"
    dotenv.write_text("UI_LANG=klingon\n", encoding="utf-8")
    wrong = run_program("queue_processor.py", "--status", env=env)
    assert wrong.returncode == 2 and "UI_LANG='klingon'（来自 .env）：应为 auto, zh, en, both 之一" in wrong.stderr
