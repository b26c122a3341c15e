"""The output repo's dataset card, which goes with the first commit after a start, and only over nobody's work."""

import logging

from tools.core.card import CARD, card_instead_of
from tools.core.errors import HubError
from tools.hub.client import AddBytes, Head, HubClient, Operation
from tools.runtime.logs import fields

log = logging.getLogger("animation.processor")


class OutputCard:
    """For one output repo; used by the thread that publishes."""

    def __init__(self, output_repo: str, input_repo: str, endpoint: str) -> None:
        """``endpoint``: the hub's address, for links; "" = no card is written."""
        self._repo = output_repo
        self._input_repo = input_repo
        self._endpoint = endpoint
        self._is_settled = not endpoint

    def operations(self, hub: HubClient, head: Head | None) -> list[Operation]:
        """What a commit that follows ``head`` has to contain for it: nothing if the card stays as it is, or can't be
        read now (the next commit tries again)."""
        if self._is_settled:
            return []
        try:
            found = hub.read_file(self._repo, head.commit_id, CARD) if head else None
        except HubError as exc:
            log.info("the dataset card waits: %s", fields(repo=self._repo, cause=str(exc)))
            return []
        wanted = card_instead_of(found, self._repo, self._input_repo, self._endpoint)
        self._is_settled = wanted is None
        return [] if wanted is None else [AddBytes(CARD, wanted)]

    def written(self) -> None:
        """A commit with its operations was made."""
        self._is_settled = True

    def refused(self, cause: str) -> None:
        """The hub took no commit with it: no video waits for that."""
        self._is_settled = True
        log.warning("the dataset card was not written: %s", fields(repo=self._repo, cause=cause))


NO_CARD = OutputCard("", "", "")
