"""What people are told, in how many messages, and when."""

import json
import threading
import time
from pathlib import Path

import pytest

import config
from tests.patience import PATIENCE, until
from tools.core.news import Kind, News, NewsDesk
from tools.core.queue_item import Status
from tools.notifying import notifier_of, wishes
from tools.processor.reporting import Blocked, ItemSettled, MirrorHeld, Paused, QueueEmpty, Resumed, TakenOut
from tools.report.addresses import _secrets_in
from tools.report.notices import notice
from tools.report.notifier import Notifier, news_of
from tools.report.other_program import problem_of
from tools.startup import DEMO_FILE
from tools.state.singleton import Singleton

ALL = frozenset(kind.value for kind in Kind)
GATHER, INTERVAL = 20.0, 1800.0


def failed(number: int) -> News:
    return News(Kind.FAILED, f"failed: folder {number}: no video in it")


def messages(desk: NewsDesk, events: list[tuple[float, News]], until: float) -> list[tuple[float, list[News]]]:
    """Those that are sent, with when, if each is sent as soon as it is due."""
    sent = []
    for at, news in [*events, (until, None)]:
        while (due := desk.due()) is not None and due <= at:
            sent.append((due, desk.take(due)))
        if news is not None:
            desk.add(news, at)
    return sent


def test_bad_night_is_a_few_messages_and_nothing_is_left_out() -> None:
    desk = NewsDesk(ALL, GATHER, INTERVAL)
    sent = messages(desk, [(number * 3600 / 500, failed(number)) for number in range(500)], 3600 + GATHER)
    assert len(sent) <= 3 and sum(len(news) for _, news in sent) == 500
    title, body = notice(sent[1][1], "box")
    assert title == f"box: {len(sent[1][1])} failed"
    assert body.count("\n") == 5 and body.endswith(f"… and {len(sent[1][1]) - 5} more, see --status")


def test_first_news_go_at_once_and_trouble_does_not_wait_for_what_was_told_of_success() -> None:
    desk, done = NewsDesk(ALL, GATHER, INTERVAL), News(Kind.COMPLETED, "completed: A")
    sent = messages(desk, [(0, done), (100, done), (200, failed(1))], 400)
    assert [(at, len(news)) for at, news in sent] == [(20, 1), (220, 2)]


def test_pause_that_ends_before_anybody_was_told_is_told_to_nobody() -> None:
    pause, over = News(Kind.PAUSED, "paused: no hub", "work"), News(Kind.RECOVERED, "resumed", "work")
    assert messages(NewsDesk(ALL, GATHER, INTERVAL), [(0, pause), (5, over)], 9999) == []
    told = messages(NewsDesk(ALL, GATHER, INTERVAL), [(0, pause), (50, over)], 9999)
    assert [news for _, news in told] == [[pause], [over]]


def test_only_what_is_wanted_is_told() -> None:
    assert messages(NewsDesk({"completed"}, GATHER, INTERVAL), [(0, failed(1))], 9999) == []
    assert set(config._EVENTS) == ALL


def test_message_that_nobody_took_waits_and_goes_with_the_next_one() -> None:
    desk = NewsDesk(ALL, GATHER, INTERVAL)
    desk.add(failed(1), 0)
    desk.put_back(desk.take(20), until=320)
    desk.add(failed(2), 25)
    due = desk.due()
    assert due is not None and due >= 320 and desk.take(due) == [failed(1), failed(2)]


@pytest.mark.parametrize(
    ("event", "kind", "text"),
    [
        (ItemSettled("A", Status.COMPLETED, 12, 0), Kind.COMPLETED, "completed: A, videos: 12"),
        (ItemSettled("A", Status.FAILED, 1, 1, "1 of 2 published"), Kind.FAILED, "failed: A: 1 of 2 published"),
        (Paused("the hub refused the token", True), Kind.PAUSED, "paused: the hub refused the token"),
        (Blocked("no space left", False), Kind.PAUSED, "paused: no space left"),
        (Resumed(), Kind.RECOVERED, "work resumed"),
        (QueueEmpty(), Kind.EMPTY, "the queue is empty"),
        (TakenOut("A", 2, "1.mkv, 2.mkv", 9, "c1"), Kind.MIRROR, "MIRROR took 2 files of A out of the output"),
        (MirrorHeld("too much: look"), Kind.MIRROR, "MIRROR takes nothing out: too much: look"),
    ],
)
def test_events_are_news(event: object, kind: Kind, text: str) -> None:
    news = news_of(event)  # type: ignore[arg-type]
    assert news is not None and (news.kind, news.text) == (kind, text)


class Told:
    def __init__(self, *dead: str) -> None:
        self.dead, self.messages = list(dead), list[tuple[str, str]]()

    def send(self, title: str, body: str) -> list[str]:
        self.messages.append((title, body))
        return self.dead


def test_dead_address_is_said_once_and_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    told, hanging = Told("1 (json)"), threading.Event()

    def send(title: str, body: str) -> list[str]:
        hanging.wait(PATIENCE)
        return told.send(title, body)

    notifier = Notifier(NewsDesk(ALL, 0, 0), send, ["1 (json)", "2 (tgram)"], "box")
    for number in range(100):
        notifier.observe(ItemSettled(f"{number}", Status.FAILED, 0, 1, "broken"))
    assert not told.messages, "it returned although no message is sent yet"
    hanging.set()
    until(lambda: sum(title.count("fail") for title, _ in told.messages))
    notifier.observe(QueueEmpty())
    notifier.close()
    assert "the queue is empty" in told.messages[-1][1]
    assert [record.getMessage() for record in caplog.records] == [
        "address 1 (json) of NOTIFY_URLS did not take a message: --notify-test tries them all"
    ]


def test_what_waits_is_sent_when_the_program_ends() -> None:
    told = Told()
    notifier = Notifier(NewsDesk(ALL, GATHER, INTERVAL), told.send, ["1 (json)"], "box")
    notifier.observe(Paused("the hub refused the token", True))
    notifier.close()
    assert told.messages == [("box: paused", "paused: the hub refused the token")]


def test_last_message_gets_the_time_that_the_program_has() -> None:
    told, may = Told(), threading.Event()

    def send(title: str, body: str) -> list[str]:
        may.wait(PATIENCE)
        return told.send(title, body)

    notifier = Notifier(NewsDesk(ALL, 0, 0), send, ["1 (json)"], "box")
    notifier.observe(QueueEmpty())
    notifier.close(0.01)
    assert not told.messages, "it is not waited for"
    threading.Timer(0.1, may.set).start()
    notifier.close(20)
    assert told.messages == [("box: the queue is empty", "the queue is empty")]


def test_what_is_held_back_by_the_interval_is_sent_when_the_program_ends() -> None:
    told = Told()
    notifier = Notifier(NewsDesk(ALL, 0.0, INTERVAL), told.send, ["1 (json)"], "box")
    notifier.observe(QueueEmpty())
    until(lambda: told.messages)
    notifier.observe(ItemSettled("A", Status.COMPLETED, 3, 0))
    notifier.close()
    assert [title for title, _ in told.messages] == ["box: the queue is empty", "box: 1 completed"]


def test_name_of_a_folder_calls_nobody_and_makes_no_link() -> None:
    title, body = notice([News(Kind.FAILED, "failed: @everyone <!here> [win](http://x) <#C1>: @here")], "box")
    assert title == "box: 1 failed"
    assert body == "failed: @\u200beveryone <\u200b!here> [win]\u200b(http://x) <\u200b#C1>: @\u200bhere"


def test_demo_tells_nobody(tmp_path: Path) -> None:
    settings = config.Settings.load({"NOTIFY_URLS": "json://localhost:9/x", "LOG_DIR": str(tmp_path)})
    made = notifier_of(settings, "monitor")
    assert made is not None
    made.close()
    (tmp_path / DEMO_FILE).touch()
    assert notifier_of(settings, "monitor") is None and not any("localhost" in one for one in wishes(settings))


@pytest.mark.parametrize(
    ("url", "secret", "shown"),
    [
        ("tgram://123456:AAE.abcdefgh.x/42", "AAE.abcdefgh.x", "42"),
        ("mailtos://me:pass.word.one@smtp.example.com/a", "pass.word.one", "smtp.example.com"),
        ("json://hook.example.org:8080/part.one.two?key=val.ue.long", "val.ue.long", "hook.example.org"),
        ("discord://id.of.hook.42/tok%2Een.long", "tok.en.long", "log"),
    ],
)
def test_secrets_with_dots_are_masked_and_hosts_are_not(url: str, secret: str, shown: str) -> None:
    found = _secrets_in(url)
    assert secret in found and shown not in found, found


def test_other_program_is_missed_when_it_died_or_says_nothing_and_not_when_it_was_ended(tmp_path: Path) -> None:
    assert problem_of(tmp_path, "processor") is None, "it never ran"
    lock = Singleton(tmp_path, "processor")
    lock.acquire()
    assert problem_of(tmp_path, "processor") is None, "it has only just begun"
    progress = tmp_path / "progress.json"
    progress.write_text(f'{{"updated": {time.time()}, "interval": 1}}')
    assert problem_of(tmp_path, "processor") is None
    progress.write_text(f'{{"updated": {time.time() - 600}, "interval": 1}}')
    assert problem_of(tmp_path, "processor") is None, "the one before it wrote that"
    plate = (tmp_path / ".processor.pid").read_text()
    (tmp_path / ".processor.pid").write_text(json.dumps({**json.loads(plate), "since": time.time() - 700}))
    assert "processor stalled" in (problem_of(tmp_path, "processor") or "")
    lock.release()
    assert problem_of(tmp_path, "processor") is None
    (tmp_path / ".processor.pid").write_text(plate)
    assert problem_of(tmp_path, "processor") == "processor died"
