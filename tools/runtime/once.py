"""Says a problem when it starts and when it is over, and nothing in between."""


class Once:
    """What was said and is not over yet. Problems of different ``kind`` are over at different times.

    Several problems of one kind may alternate (a network refuses, then times out): each is said once until all is well.
    """

    def __init__(self) -> None:
        self._said: dict[str, set[str]] = {}

    def is_news(self, problem: str, kind: str = "") -> bool:
        """Whether to say it: True the first time since its kind was over. Whoever asks says it."""
        said = self._said.setdefault(kind, set())
        if problem in said:
            return False
        said.add(problem)
        return True

    def over(self, *kinds: str) -> bool:
        """These kinds are well again (none given: all); whether anything had been said of them, so this is news too."""
        gone = [self._said.pop(kind, None) for kind in kinds or list(self._said)]
        return any(gone)

    def __bool__(self) -> bool:
        """Whether anything that was said is not over yet."""
        return any(self._said.values())
