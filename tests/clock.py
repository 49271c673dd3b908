"""Time that moves only when a test says so."""

import threading
from datetime import UTC, datetime, timedelta


class SimulatedClock:
    """A `cluster25.clock.Clock` whose wall clock and monotonic clock advance together; safe with threads."""

    def __init__(self, start: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_seconds = 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_seconds)

    def monotonic(self) -> float:
        return self._elapsed_seconds

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._elapsed_seconds += seconds
