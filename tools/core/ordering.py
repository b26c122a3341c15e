"""What a person may order of an item of the queue, apart from its moves: its place, and whether it waits."""

from dataclasses import replace

from tools.core.errors import IllegalTransition
from tools.core.folder import Folder
from tools.core.queue_item import QueueItem, Status, enqueue_again, is_as_queued, new_item
from tools.core.redo import Redo


def hold(item: QueueItem) -> QueueItem:
    """A person wants it to wait until ``release``."""
    _need_waiting(item, "held")
    return replace(item, held=True)


def release(item: QueueItem) -> QueueItem:
    """The end of ``hold``, whatever became of the item meanwhile."""
    if not item.held:
        raise IllegalTransition(f"{item.folder} is not held")
    return replace(item, held=False)


def with_priority(item: QueueItem, priority: int) -> QueueItem:
    """A person gives it another place; 0 comes before all that come by themselves."""
    _need_waiting(item, "given another place")
    return replace(item, priority=priority)


def need_settled(item: QueueItem) -> None:
    """Raises IllegalTransition for an item that waits or is in work."""
    if item.status is Status.PENDING or item.status is Status.PROCESSING:
        raise IllegalTransition(f"{item.folder} is {item.status.value}: --cancel it first")


def _need_waiting(item: QueueItem, what: str) -> None:
    if item.status is not Status.PENDING:
        raise IllegalTransition(f"{item.folder} is {item.status.value}, only a pending item can be {what}")


def redo_now(item: QueueItem | None, folder: Folder, order: Redo, now: float) -> QueueItem:
    """A person wants published videos of the folder made again; one that waits keeps its place."""
    if item is not None and item.status is Status.PROCESSING:
        raise IllegalTransition(f"{item.folder} is {item.status.value}: wait for its end, or --cancel it first")
    entry = new_item(folder, now) if item is None else enqueue_again(item, folder, now)
    return replace(entry, redo=order, quarantined=())


def add_now(item: QueueItem | None, folder: Folder, now: float) -> QueueItem:
    """A person wants the folder as it is now in the queue, settled or not, quiet or not, in the place of ``item``."""
    if item is None:
        return new_item(folder, now)
    if item.status is Status.PROCESSING or (item.status is Status.PENDING and is_as_queued(item, folder)):
        raise IllegalTransition(f"{item.folder} is {item.status.value} already")
    return enqueue_again(item, folder, now)
