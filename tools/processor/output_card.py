"""The output repo's dataset card, written when something is published: once per start, and only over nobody's work."""

import logging

from tools.core.card import CARD, card_instead_of
from tools.core.errors import HubError, HubUnavailable
from tools.hub.client import AddBytes, HubClient
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

    def write(self, hub: HubClient) -> None:
        """Commit the card if there is none, or one that is ours or the hub's to replace. What fails is tried again at
        the next call, what is refused is not: no video waits for it."""
        if self._is_settled:
            return
        try:
            head = hub.head(self._repo)
            if head is None:
                return
            found = hub.read_file(self._repo, head.commit_id, CARD)
            wanted = card_instead_of(found, self._repo, self._input_repo, self._endpoint)
            if wanted is not None:
                hub.commit(self._repo, [AddBytes(CARD, wanted)], "Add a dataset card")
        except HubUnavailable as exc:
            log.info("the dataset card waits: %s", fields(repo=self._repo, cause=str(exc)))
            return
        except HubError as exc:
            log.warning("the dataset card was not written: %s", fields(repo=self._repo, cause=str(exc)))
        self._is_settled = True
