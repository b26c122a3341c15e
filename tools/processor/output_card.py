"""The output repo's dataset card, which goes with the first commit after a start, and only over nobody's work."""

import logging
from dataclasses import dataclass

from tools.core.card import CARD, card_instead_of
from tools.core.errors import HubError
from tools.hub.client import AddBytes, HubClient, Operation
from tools.runtime.logs import fields

log = logging.getLogger("animation.processor")
_RESTORES = "Restore the dataset card that was edited meanwhile"


@dataclass(frozen=True, slots=True)
class _Written:
    """A card that a commit was to contain."""

    base: str  # the commit that it was decided on; "" = there was none
    before: bytes | None  # what lay there
    content: bytes


class OutputCard:
    """For one output repo; used by the thread that publishes."""

    def __init__(self, output_repo: str, input_repo: str, endpoint: str) -> None:
        """``endpoint``: the hub's address, for links; "" = no card is written."""
        self._repo = output_repo
        self._input_repo = input_repo
        self._endpoint = endpoint
        self._is_settled = not endpoint
        self._written: _Written | None = None  # as long as it is not known whether somebody edited it meanwhile

    def operations(self, hub: HubClient) -> list[Operation]:
        """What the next commit has to contain for it: nothing if the card stays as it is, or can't be read now (the one
        after that tries again). It is read as it is at this moment."""
        if self._is_settled:
            return []
        try:
            head = hub.head(self._repo)
            found = hub.read_file(self._repo, head.commit_id, CARD) if head else None
        except HubError as exc:
            log.info("the dataset card waits: %s", fields(repo=self._repo, cause=str(exc)))
            return []
        wanted = card_instead_of(found, self._repo, self._input_repo, self._endpoint)
        self._is_settled = wanted is None
        self._written = None if wanted is None else _Written(head.commit_id if head else "", found, wanted)
        return [] if wanted is None else [AddBytes(CARD, wanted)]

    def written(self, hub: HubClient) -> None:
        """A commit with its operations was made. It names no parent: what somebody wrote into the card between our
        reading and it is put back. No video waits for that."""
        self._is_settled = True
        sent, self._written = self._written, None
        if sent is None:
            return
        try:
            theirs = self._overwritten(hub, sent)
            if theirs is not None:
                hub.commit(self._repo, [AddBytes(CARD, theirs)], _RESTORES)
                log.warning("somebody edited the dataset card meanwhile; put back: %s", fields(repo=self._repo))
        except HubError as exc:
            about = fields(repo=self._repo, since=sent.base, cause=str(exc))
            log.warning("it is not known whether somebody edited the dataset card meanwhile: %s", about)

    def _overwritten(self, hub: HubClient, sent: _Written) -> bytes | None:
        """What somebody else wrote there since, if ours lies there now."""
        recent = hub.recent(self._repo)
        known = recent.index(sent.base) if sent.base in recent else 0 if sent.base else len(recent)
        since = recent[:known]
        if len(since) < 2 or hub.read_file(self._repo, since[0], CARD) != sent.content:
            return None
        cards = (hub.read_file(self._repo, commit, CARD) for commit in since[1:])  # the newest first
        return next((card for card in cards if card is not None and card not in {sent.before, sent.content}), None)

    def refused(self, cause: str) -> None:
        """The hub took no commit with it: no video waits for that."""
        self._is_settled, self._written = True, None
        log.warning("the dataset card was not written: %s", fields(repo=self._repo, cause=cause))


NO_CARD = OutputCard("", "", "")
