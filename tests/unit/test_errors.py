"""What an exception is as a trouble, what that means for the video, and that a trouble travels."""

import json
import pickle
import re

import pytest

from tools.core import errors
from tools.core.errors import PipelineError, Trouble, trouble_of
from tools.processor.opening import FolderChanged
from tools.stages.video_job import OUTCOMES, Outcome


@pytest.mark.parametrize(
    ("exc", "trouble", "outcome"),
    [
        (errors.Stopped("x"), Trouble.STOPPED, Outcome.STOPPED),
        (errors.HubUnavailable("x"), Trouble.HUB_UNAVAILABLE, Outcome.DEFERRED),
        (errors.HubForbidden("x"), Trouble.HUB_FORBIDDEN, Outcome.DEFERRED),
        (errors.HubNotFound("x"), Trouble.HUB_NOT_FOUND, Outcome.DEFERRED),
        (errors.HubRejected("x"), Trouble.HUB_REJECTED, Outcome.DEFERRED),
        (errors.HubRejected("x", status=413), Trouble.HUB_TOO_LARGE, Outcome.DEFERRED),
        (errors.IntegrityError("x"), Trouble.TRANSIENT, Outcome.FAILED),
        (errors.HubError("x"), Trouble.PERMANENT, Outcome.FAILED),
        (errors.DiskFull("x"), Trouble.DISK_FULL, Outcome.DEFERRED),
        (errors.WorkspaceError("x"), Trouble.WORKSPACE, Outcome.DEFERRED),
        (errors.NoEncoder("x"), Trouble.NO_ENCODER, Outcome.DEFERRED),
        (errors.ProbeError("x"), Trouble.MEDIA, Outcome.REFUSED),
        (errors.TranscodeError("x"), Trouble.MEDIA, Outcome.REFUSED),
        (errors.VerifyError("x"), Trouble.MEDIA, Outcome.REFUSED),
        (errors.EncoderStalled("x"), Trouble.TRANSIENT, Outcome.FAILED),
        (errors.StateError("x"), Trouble.WORKSPACE, Outcome.DEFERRED),
        (errors.FilesGone("x"), Trouble.FILES_GONE, Outcome.DEFERRED),
        (errors.MachineError("x"), Trouble.MACHINE, Outcome.FAILED),
        (errors.ReadTooSlow("x"), Trouble.MACHINE, Outcome.FAILED),
        (FolderChanged("A", "me/in", None), Trouble.PERMANENT, Outcome.FAILED),
        (PipelineError("x"), Trouble.PERMANENT, Outcome.FAILED),
        (ZeroDivisionError("a bug"), Trouble.UNEXPECTED, Outcome.FAILED),
        (OSError("a bug"), Trouble.UNEXPECTED, Outcome.FAILED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_trouble_and_outcome_of_an_error(exc: Exception, trouble: Trouble, outcome: Outcome) -> None:
    assert trouble_of(exc) is trouble
    assert OUTCOMES[trouble] is outcome


def test_every_trouble_that_a_job_can_meet_has_an_outcome() -> None:
    assert set(Trouble) - OUTCOMES.keys() == {Trouble.WORKER_LOST}, "which no job tells of itself"


def test_trouble_travels_as_a_plain_value() -> None:
    for trouble in Trouble:
        assert pickle.loads(pickle.dumps(trouble)) is trouble
        assert Trouble(json.loads(json.dumps(trouble))) is trouble


def test_the_tree_at_the_top_names_every_error_and_which_are_retryable() -> None:
    drawn = {name: bool(star) for name, star in re.findall(r"─ (\w+)( \*)?", str(errors.__doc__))}
    expected = {"FolderChanged": FolderChanged.retryable}
    for name, one in vars(errors).items():
        if isinstance(one, type) and issubclass(one, PipelineError) and one is not PipelineError:
            expected[name] = one.retryable
    assert drawn == expected


def test_only_a_request_that_may_have_been_done_is_said_to_be() -> None:
    assert not errors.HubUnavailable("down").may_have_happened
    assert errors.HubUnavailable("no answer", may_have_happened=True).may_have_happened
