"""A clock for stand-ins that stands still until it is set."""

from dataclasses import dataclass
from datetime import datetime


@dataclass
class SteppedClock:
    moment: datetime

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError
