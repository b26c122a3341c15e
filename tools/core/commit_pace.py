"""How often may be committed to a hub that limits commits, and does not say how."""

from dataclasses import dataclass

_LONGEST = 600.0  # s


@dataclass(slots=True)
class CommitPace:
    """Nothing is held back until the hub refuses a commit for their number. Then one is made per ``wait`` s, which
    doubles with each refusal and halves with each that is taken, and whatever is ready by then shares it. Times in
    monotonic s."""

    shortest: float  # s
    wait: float = 0.0  # s between two commits; 0 = the hub limits nothing
    _next: float = 0.0

    @property
    def is_limited(self) -> bool:
        return self.wait > 0

    def may_commit(self, now: float) -> bool:
        return now >= self._next

    def refused(self, now: float) -> float:
        """The hub took none for now. Returns when to try again (one that named its own wait is left alone with that
        commit until then, see ``tools.processor.waits``; others may be taken earlier)."""
        self.wait = min(_LONGEST, max(self.shortest, 2 * self.wait))
        self._next = now + self.wait
        return self._next

    def taken(self, now: float) -> None:
        """The hub took one."""
        self.wait = self.wait / 2 if self.wait > self.shortest else 0.0
        self._next = now + self.wait
