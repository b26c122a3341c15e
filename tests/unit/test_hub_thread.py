"""What is asked of the hub comes back as a typed answer, one of each kind at a time, whatever happens to it."""

import queue
import threading

import pytest

from tests.patience import PATIENCE
from tools.core.errors import HubUnavailable, PipelineError
from tools.processor.hub_thread import Answer, Done, Failed, HubThreads, Inbox
from tools.stages.video_job import JobResult


def _fail(exc: Exception) -> str:
    raise exc


def take(inbox: Inbox) -> None:
    reply = inbox.get(timeout=PATIENCE)
    assert not isinstance(reply, JobResult)
    reply()


def test_answers_come_in_the_order_of_the_questions_and_a_bug_is_an_answer_too() -> None:
    inbox: Inbox = queue.SimpleQueue()
    threads = HubThreads(inbox)
    answers: list[Answer[str]] = []
    down = HubUnavailable("down")
    threads.do("open", "A", lambda: "head", answers.append)
    threads.do("open", "B", lambda: _fail(down), answers.append)
    threads.do("open", "C", lambda: _fail(ZeroDivisionError("a bug")), answers.append)
    for _ in range(3):
        take(inbox)
    first, second, third = answers
    assert first == Done("head") and second == Failed(down)
    assert isinstance(third, Failed) and isinstance(third.error, PipelineError)
    assert str(third.error) == "unexpected ZeroDivisionError: a bug" and third.error.retryable


def test_thread_that_the_system_did_not_give_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox: Inbox = queue.SimpleQueue()
    hub = HubThreads(inbox)
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", _no_thread)
        with pytest.raises(RuntimeError):
            hub.do("connect", "the hub", lambda: 1, lambda answer: None)
    got: list[Answer[int]] = []
    hub.do("connect", "the hub", lambda: 2, got.append)
    take(inbox)
    assert got == [Done(2)]


def _no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_what_takes_long_keeps_nothing_of_another_kind_back_and_is_told() -> None:
    inbox: Inbox = queue.SimpleQueue()
    threads = HubThreads(inbox)
    go, begun = threading.Event(), threading.Event()
    answers: list[Answer[bool]] = []

    def slow() -> bool:
        begun.set()
        return go.wait(PATIENCE)

    threads.do("publish", "A/1", slow, answers.append)
    assert begun.wait(PATIENCE)
    threads.do("open", "B", lambda: False, answers.append)
    take(inbox)
    assert answers == [Done(False)]
    assert [(work, about, seconds >= 0) for work, about, seconds in threads.asking()] == [("publish", "A/1", True)]
    go.set()
    take(inbox)
    assert answers == [Done(False), Done(True)] and threads.asking() == []
