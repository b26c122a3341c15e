"""What is asked of the hub comes back as a typed answer, one at a time, whatever happens to it."""

import queue

from tools.core.errors import HubUnavailable, PipelineError
from tools.processor.hub_thread import Answer, Done, Failed, HubThread, Inbox
from tools.stages.video_job import JobResult


def _fail(exc: Exception) -> str:
    raise exc


def test_answers_come_in_the_order_of_the_questions_and_a_bug_is_an_answer_too() -> None:
    inbox: Inbox = queue.SimpleQueue()
    thread = HubThread(inbox)
    answers: list[Answer[str]] = []
    down = HubUnavailable("down")
    thread.do("one", lambda: "head", answers.append)
    thread.do("two", lambda: _fail(down), answers.append)
    thread.do("three", lambda: _fail(ZeroDivisionError("a bug")), answers.append)
    for _ in range(3):
        reply = inbox.get(timeout=10)
        assert not isinstance(reply, JobResult)
        reply()
    first, second, third = answers
    assert first == Done("head") and second == Failed(down)
    assert isinstance(third, Failed) and isinstance(third.error, PipelineError)
    assert str(third.error) == "unexpected ZeroDivisionError: a bug" and not third.error.retryable
