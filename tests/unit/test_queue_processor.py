"""The processor's loop: no turn ends it, whatever it raises, and the same trouble is said once."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import FakeClock, Told
from tools.core.errors import StateError
from tools.processor.reporting import Blocked, Resumed
from tools.queue_processor import QueueProcessor


class Raising:
    """An engine of which a turn, or a report, raises what it is told to."""

    def __init__(self) -> None:
        self.of_turn: Exception | None = None
        self.of_report: Exception | None = None
        self.reports = 0

    def turn(self, wait: float) -> None:
        if self.of_turn is not None:
            raise self.of_turn

    def report_progress(self) -> None:
        self.reports += 1
        if self.of_report is not None:
            raise self.of_report


def test_turn_that_raises_is_said_once_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    processor, engine, told, clock = QueueProcessor(), Raising(), Told(), FakeClock()
    built: Any = SimpleNamespace(engine=engine, observer=told)

    def turns(of_turn: Exception | None, of_report: Exception | None = None) -> list[logging.LogRecord]:
        caplog.clear()
        engine.of_turn, engine.of_report = of_turn, of_report
        for _ in range(3):
            processor._turn(built, clock)  # type: ignore[arg-type]
        return [record for record in caplog.records if record.exc_info]

    before = clock.time()
    assert len(turns(ZeroDivisionError("a bug"))) == 1 and engine.reports == 3
    assert clock.time() == before + 3 * processor.check_interval
    assert turns(StateError("the queue is damaged")) == []
    assert told.events == [Blocked("the queue is damaged", needs_person=True)]
    assert len(turns(None, ZeroDivisionError("another"))) == 1
    assert told.events[1:] == [Resumed()]
    assert len(turns(ZeroDivisionError("a bug"))) == 1, "it is news again after a turn that worked"
