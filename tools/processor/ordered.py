"""The pause that a person ordered, as the engine obeys it: see ``tools.state.orders``."""

import logging

from tools.runtime import logs
from tools.state.orders import OrdersFile, PauseHow, PauseOrder

log = logging.getLogger("animation.processor")


class Ordered:
    """Asked once per turn. What it costs is one look at a file's time."""

    def __init__(self, orders: OrdersFile) -> None:
        self._orders = orders
        self._order: PauseOrder | None = None

    def ask(self) -> bool:
        """Look for a new order, log it; whether everything that runs must end because of it."""
        before, self._order = self._order, self._orders.read().pause
        if self._order == before:
            return False
        if self._order is None:
            log.info("resumed by --resume")
            return False
        log.info("paused by --pause %s", logs.fields(how=self._order.how.value, reason=self._order.reason or None))
        return self._order.how is PauseHow.NOW

    @property
    def may_claim(self) -> bool:
        """Whether a folder may be begun."""
        return self._order is None

    @property
    def may_submit(self) -> bool:
        """Whether a video may be begun."""
        return self._order is None or self._order.how is PauseHow.FOLDER

    @property
    def reason(self) -> str | None:
        """For people; None if there is no order."""
        return self._order.text if self._order is not None else None
