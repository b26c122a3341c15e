"""``MIRROR=1`` in the engine: one look at a time, in the thread that publishes, while nothing else is in work."""

from tools.core.retry import asked_to_wait
from tools.processor.hub_thread import Answer, Failed
from tools.processor.mirror import Swept
from tools.processor.parts import EngineParts
from tools.processor.reporting import MirrorHeld, MirrorWaits, TakenOut
from tools.runtime.once import Once


class Mirroring:
    """Begins looks and tells what came of them. Without ``MIRROR=1`` it does nothing."""

    def __init__(self, parts: EngineParts) -> None:
        self._mirror = parts.mirror
        self._hub = parts.hub
        self._tools = parts.tools
        self._tell = parts.observer.observe
        self._said = Once()
        self.is_busy = False

    @property
    def is_due(self) -> bool:
        """Whether a look may find news."""
        return self._mirror is not None and self._mirror.is_due()

    def begin(self) -> None:
        """Look, if it is due. Nothing of the queue may be in work, or be begun before ``is_busy`` is over."""
        mirror = self._mirror
        if mirror is not None and not self.is_busy and mirror.is_due():
            self.is_busy = True
            self._hub.do("publish", "MIRROR", lambda: mirror.sweep(self._tools.hub), self._ended)

    def _ended(self, answer: Answer[Swept]) -> None:
        self.is_busy = False
        assert self._mirror is not None
        if isinstance(answer, Failed):
            asked = asked_to_wait(answer.error)
            self._mirror.put_off(*([asked.seconds] if asked else []))
            self._waits(str(answer.error))
            return
        swept = answer.value
        for one in swept.taken:
            names = ", ".join(one.names)
            self._tell(TakenOut(one.folder, len(one.names), names, one.size, one.commit))
        if (held := swept.held) is not None:
            if self._said.is_news(held.digest, "held"):
                self._tell(MirrorHeld(held.text()))
        elif swept.waits:
            self._waits(swept.waits)
        else:
            self._said.over()

    def _waits(self, cause: str) -> None:
        if self._said.is_news(cause, "waits"):
            self._tell(MirrorWaits(cause))
