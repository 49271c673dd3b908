"""Time, injected: the only place that asks the machine what time it is."""

import time
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Budget:
    """The time a run may use; every wait on a network is bounded by what is left of it."""

    clock: Clock
    ends: float

    @classmethod
    def of(cls, clock: Clock, seconds: float) -> "Budget":
        """A budget of that many seconds, starting now."""
        return cls(clock, clock.monotonic() + seconds)

    def remaining_seconds(self) -> float:
        """What is left, never negative."""
        return max(0.0, self.ends - self.clock.monotonic())

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.clock.monotonic() >= self.ends


def to_rfc3339(moment: datetime) -> str:
    """An aware time as RFC 3339 in UTC with microseconds, the form stored and shown everywhere."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
