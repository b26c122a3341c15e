"""What the hub says of a blob before it is sent, and what the storage says when it is."""

from typing import Any

import pytest

from tools.core.errors import HubError, HubForbidden, HubNotFound, HubRejected, HubUnavailable
from tools.hub.lfs import upload_url
from tools.hub.modelscope_sdk import translating

OID = "a" * 64


def about(**more: Any) -> dict[str, Any]:
    return {"objects": [{"oid": "b" * 64, "error": {"code": 500}}, {"oid": OID, "size": 3, **more}]}


@pytest.mark.parametrize(
    ("answer", "url"),
    [
        (about(actions={"upload": {"href": "https://s/1"}}), "https://s/1"),
        (about(), None),
        (about(actions={}), None),
        (about(actions=None, error=None), None),
        ({"objects": []}, None),
        ({"objects": [{"oid": "b" * 64}]}, None),
    ],
)
def test_blob_is_sent_where_the_hub_says_or_is_there_already(answer: Any, url: str | None) -> None:
    assert upload_url(answer, OID, "store a blob") == url


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"code": 401, "message": "who?"}, HubForbidden, 401),
        ({"code": 403, "message": "no right"}, HubForbidden, 403),
        ({"code": 404, "message": "no repo"}, HubNotFound, 404),
        ({"code": "413", "message": "too large"}, HubRejected, 413),
        ({"code": 422, "message": "no"}, HubRejected, 422),
        ({"code": 402}, HubRejected, 402),
        ({"code": 429}, HubUnavailable, 429),
        ({"code": 408}, HubUnavailable, 408),
        ({"code": 503}, HubUnavailable, 503),
        ({"code": None, "message": "?"}, HubUnavailable, None),
        ({"message": ["?"]}, HubUnavailable, None),
        ("broken", HubUnavailable, None),
        ([1], HubUnavailable, None),
    ],
)
def test_error_of_a_single_blob_is_read_by_its_code(error: Any, kind: type[HubError], status: int | None) -> None:
    with pytest.raises(kind) as caught:
        upload_url(about(error=error), OID, "store a blob")
    assert type(caught.value) is kind and getattr(caught.value, "status", None) == status
    assert str(caught.value).startswith("can't store a blob: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "html",
        {},
        {"objects": None},
        {"objects": {}},
        {"objects": [None, 1, {}]},
        about(actions=[1]),
        about(actions={"upload": None}),
        about(actions={"upload": {"href": 5}}),
    ],
)
def test_answer_that_says_nothing_of_the_blob_is_no_proof_that_it_is_there(answer: Any) -> None:
    with pytest.raises(HubUnavailable):
        upload_url(answer, OID, "store a blob")


@pytest.mark.parametrize(
    ("sent_to", "kind"),
    [
        ("https://storage.example/put?sign=1", HubUnavailable),
        ("https://hub.example/put", HubForbidden),
        ("", HubForbidden),
    ],
)
def test_refusal_of_the_storage_is_no_matter_of_the_token(sent_to: str, kind: type[HubError]) -> None:
    from modelscope_hub.errors import PermissionDeniedError

    with pytest.raises(kind) as caught, translating("https://hub.example", "send a blob", sent_to=sent_to):
        raise PermissionDeniedError("denied", status_code=403)
    assert ("by the storage" in str(caught.value)) is (kind is HubUnavailable)
