"""Time, injected: from here every run, lease and budget learns what time it is."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the connector needs of time; tests pass a simulated one."""

    def now(self) -> datetime:
        """Wall clock, aware, UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""

    def sleep(self, seconds: float) -> None:
        """Wait that long."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Wall clock, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """`time.monotonic`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """`time.sleep`."""
        time.sleep(seconds)


ENDING_SECONDS = 10.0
"""What is under way when a budget is ended early may take that much longer."""


NAP_SECONDS = 5.0
"""A wait within a budget that is ended early lasts no longer than that."""


@dataclass
class Budget:
    """The time a run may use; every wait on a network is bounded by what is left of it."""

    clock: Clock
    ends: float
    ended_early: bool = False
    _bounds: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def of(cls, clock: Clock, seconds: float) -> "Budget":
        """A budget of that many seconds, starting now."""
        return cls(clock, clock.monotonic() + seconds)

    def remaining_seconds(self) -> float:
        """What is left, never negative."""
        return max(0.0, self.ends - self.clock.monotonic())

    @property
    def spent(self) -> bool:
        """Whether nothing more may be begun."""
        return self.ended_early or self.clock.monotonic() >= self.ends

    def sleep(self, seconds: float) -> None:
        """Wait that long; less when it is ended early."""
        wakes_at = self.clock.monotonic() + seconds
        while not self.ended_early and (left := wakes_at - self.clock.monotonic()) > 0:
            self.clock.sleep(min(left, NAP_SECONDS))

    def reserving(self, seconds: float) -> "Budget":
        """A budget that ends so much before this one, and early when this one does."""
        earlier = Budget(self.clock, self.ends - seconds, self.ended_early)
        self._bounds.append(earlier.end_early)
        return earlier

    def end_early(self) -> None:
        """Let it be spent now; what is under way gets `ENDING_SECONDS`. May be called by a signal handler."""
        self.ended_early = True
        self.ends = min(self.ends, self.clock.monotonic() + ENDING_SECONDS)
        for bound in list(self._bounds):
            bound()

    @contextmanager
    def bounding(self, abort: Callable[[], None]) -> Iterator[None]:
        """Have `abort` called, in a thread of its own, should the budget end before the `with` does."""
        timers: list[threading.Timer] = []

        def bound() -> None:
            timer = threading.Timer(self.remaining_seconds(), abort)
            timer.daemon = True
            timers.append(timer)
            timer.start()

        self._bounds.append(bound)
        bound()
        try:
            yield
        finally:
            self._bounds.remove(bound)
            for timer in timers:
                timer.cancel()


def as_utc(moment: datetime) -> datetime:
    """The time, aware and in UTC; without an offset it is taken for UTC.

    Raises OverflowError where that is beyond the calendar's ends.
    """
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def to_rfc3339(moment: datetime) -> str:
    """An aware time as RFC 3339 in UTC with microseconds, the form stored and shown everywhere."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
