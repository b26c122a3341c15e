"""The processor's link to the scheduler: one thread with an event loop that stays connected.

Everything of a connection happens in that thread, and so do all calls of the link's user (``LinkUser``). Other threads
change what the user does next and ``wake`` the link; they never wait for it.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from tools.cluster.connection import Connect, Connection, HowLost
from tools.cluster.handshake import Handshake
from tools.cluster.worker_report import Message, parse_message
from tools.core.errors import PipelineError
from tools.core.planning import VideoJob

log = logging.getLogger("animation.processor")
_RECONNECT = 2.0  # s before the scheduler is tried again
_TURN = 0.25  # s between two turns
_CALL = 90.0  # s for a worker to answer; a handshake may try its encoders


class LinkUser(Protocol):
    """Who uses a link. All calls come from its thread."""

    def on_connected(self) -> None: ...

    def turn(self, handshake: Handshake) -> None:
        """Do what is due: at least every quarter of a second while connected, and when woken."""
        ...

    def on_message(self, message: Message) -> None:
        """A worker reported."""
        ...

    def on_worker_lost(self, address: str, how: HowLost) -> None: ...

    def on_disconnected(self, cause: str) -> None:
        """The scheduler can't be used; ``cause`` is one line. It is tried again."""
        ...

    def on_closed(self) -> None:
        """The last call."""
        ...


class Link:
    """``handshake`` is called before each connection (it may try encoders, and raise what is wrong)."""

    def __init__(self, connect: Connect, handshake: Callable[[], Handshake], user: LinkUser) -> None:
        self._connect = connect
        self._handshake = handshake
        self._user = user
        self._connection: Connection | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._closing = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._woken = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="cluster", daemon=True)

    # --- called from any thread ----------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Have a turn now."""
        with contextlib.suppress(RuntimeError):  # the link has ended
            self._loop.call_soon_threadsafe(self._woken.set)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def close(self, timeout: float) -> None:
        """Disconnect; waits at most ``timeout`` s."""
        self._closing.set()
        self.wake()
        self._thread.join(timeout)

    # --- called by the user, in the link's thread ----------------------------------------------------------------

    def send(self, job: VideoJob, address: str) -> Callable[[], Awaitable[object]]:
        """See ``Connection.send``."""
        assert self._connection is not None
        return self._connection.send(job, address)

    async def call(self, address: str, function: Callable[..., Any], argument: Any) -> Any:
        """Have a worker call a function of its node; its answer, or one line on why there is none."""
        assert self._connection is not None
        try:
            answer = await asyncio.wait_for(self._connection.call(address, function, argument), _CALL)
        except asyncio.TimeoutError:
            return f"it did not answer within {_CALL:g} s"
        except Exception as exc:
            # Whatever another machine's Python can not load or do; the caller continues without it.
            answer = exc
        return f"it can't be asked: {type(answer).__name__}: {answer}" if isinstance(answer, Exception) else answer

    def ask(self, address: str, function: Callable[..., Any], argument: Any) -> None:
        """Call without waiting for the answer."""
        self.start_task(self.call(address, function, argument))

    def start_task(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something beside the turns."""
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def cancel_soon(self, task: "asyncio.Task[None]") -> None:
        """Cancel a task that may be the one which asks for it, and ends first then."""
        self._loop.call_soon(task.cancel)

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._stay_connected())
        finally:
            self._user.on_closed()
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

    async def _stay_connected(self) -> None:
        while not self._closing.is_set():
            cause = "the connection was lost"
            try:
                handshake = await asyncio.to_thread(self._handshake)
                async with self._connect(self._on_report, self._user.on_worker_lost) as connection:
                    await self._serve(connection, handshake)
            except (OSError, asyncio.TimeoutError, RuntimeError, PipelineError) as exc:
                cause = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
            except Exception as exc:
                # The boundary of a thread: a bug must not leave every job waiting for ever.
                log.exception("unexpected error in the link to the cluster")
                cause = f"unexpected {type(exc).__name__}: {exc}"
            if not self._closing.is_set():
                self._user.on_disconnected(cause)
                await self._nap(_RECONNECT)

    async def _serve(self, connection: Connection, handshake: Handshake) -> None:
        self._connection = connection
        self._user.on_connected()
        while connection.is_up() and not self._closing.is_set():
            self._user.turn(handshake)
            await self._nap(_TURN)

    async def _nap(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        self._woken.clear()

    def _on_report(self, received: object) -> None:
        try:
            message = parse_message(received)
        except ValueError:
            return  # another program's, on the same topic
        self._user.on_message(message)
