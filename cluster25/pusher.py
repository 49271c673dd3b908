"""Push and download at the same time: one chunk is delivered in a thread while the next is assembled."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from cluster25.chunks import Chunk
from cluster25.logs import with_context


class Pusher:
    """Delivers chunks one after the other, never two at once: at most one is in flight when a run ends.

    `deliver` returns when OpenCTI has accepted the chunk and the ledger has it. Memory holds two chunks: the
    one in flight and the one being assembled.
    """

    def __init__(self, deliver: Callable[[Chunk], None]) -> None:
        self._deliver = deliver
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="push")
        self._in_flight: tuple[Chunk, Future[None]] | None = None

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

    def landed(self) -> tuple[Chunk, Exception | None]:
        """Wait for the chunk in flight; returns it, with the error that its delivery raised if it did."""
        assert self._in_flight is not None  # noqa: S101
        chunk, future = self._in_flight
        error = future.exception()
        self._in_flight = None
        if error is not None and not isinstance(error, Exception):
            raise error
        return chunk, error

    def close(self) -> None:
        """End the thread, when what is in flight has landed."""
        self._thread.shutdown()
