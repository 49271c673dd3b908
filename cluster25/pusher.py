"""Push and download at the same time: one chunk is delivered in a thread while the next is assembled."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from cluster25.chunks import Chunk
from cluster25.logs import with_context
from cluster25.state.ledger import Entry


class Pusher:
    """Delivers chunks one after the other, never two at once: at most one is in flight when a run ends.

    `deliver` returns when OpenCTI has accepted the chunk and the ledger has it. Memory holds two chunks: the
    one in flight and the one being assembled.
    """

    def __init__(self, deliver: Callable[[Chunk], list[Entry]]) -> None:
        self._deliver = deliver
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="push")
        self._in_flight: tuple[Chunk, Future[list[Entry]]] | None = None

    def start(self, chunk: Chunk) -> None:
        """Deliver a chunk; the one before must have been taken back by `landed`."""
        self._in_flight = chunk, self._thread.submit(with_context(self._deliver), chunk)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight."""
        return self._in_flight is None

    @property
    def has_landed(self) -> bool:
        """Whether `landed` would return, or raise, without waiting."""
        return self._in_flight is not None and self._in_flight[1].done()

    def landed(self) -> tuple[Chunk, list[Entry] | Exception]:
        """Wait for the chunk in flight; returns it, with what its delivery returned or raised."""
        assert self._in_flight is not None  # noqa: S101 - for the type checker: callers ask is_idle first
        chunk, future = self._in_flight
        error = future.exception()
        self._in_flight = None
        if error is None:
            return chunk, future.result()
        if not isinstance(error, Exception):
            raise error
        return chunk, error

    def close(self) -> None:
        """End the thread, when what is in flight has landed."""
        self._thread.shutdown()
