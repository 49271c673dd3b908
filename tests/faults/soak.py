"""What happens to a connector in a long time, told by a random generator, and the account of it."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from cluster25.errors import StateUnavailableError
from local.loopback import Exchange, Fault
from tests.faults.function import PASSING, TOKEN, asking, at, times
from tests.faults.mortal import Fuse, Killed
from tests.faults.world import OVERLAP, World

INTERVAL_SECONDS = 600
LATEST_SECONDS = OVERLAP.total_seconds() - 1
"""An object may appear that long after the time it says it was modified at."""

MAY_SEND_TWICE = {
    "killed at a call",
    "push accepted, not answered",
    "state lost",
    "state fails once",
    "slow OpenCTI",
}
"""In these a chunk can be accepted without anybody to note it."""


@dataclass
class Soak:
    """The world, what happens in it, and the account of it."""

    world: World
    chance: random.Random
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    longest_lag: timedelta = timedelta(0)

    def live(self) -> None:
        """One interval: something may appear, the Scheduler calls, something may go wrong."""
        tick = self.world.clock.now()
        self._appear()
        fault = self.chance.choice(list(self._faults())) if self.chance.random() < 1 / 3 else None
        if fault is None:
            self.call()
        else:
            self.faults[fault] += 1
            self._faults()[fault]()
            self.world.source.transform = self.world.source.fault = self.world.sink.fault = None
        self._note_lag()
        elapsed = self.world.clock.now() - tick
        self.world.clock.advance(max(0.0, INTERVAL_SECONDS - elapsed.total_seconds()))

    def call(self, *, life: Fuse | None = None, state: Fuse | None = None) -> None:
        """One run."""
        try:
            outcome: str = self.world.run(life=life, state=state).outcome
        except Killed:
            outcome = "killed"
            self.world.restart()
        self.outcomes[outcome] += 1

    def _faults(self) -> dict[str, Callable[[], None]]:
        return {
            "killed at a call": self._killed,
            "state fails once": self._state_fails_once,
            "state lost": self._state_lost,
            "export cut": self._export_cut,
            "slow export": self._slow_export,
            "Cluster25 fails once": lambda: self._source_fails(1),
            "Cluster25 fails": lambda: self._source_fails(99),
            "token revoked": self._token_revoked,
            "OpenCTI fails once": lambda: self._sink_fails(1),
            "OpenCTI fails": lambda: self._sink_fails(99),
            "push accepted, not answered": self._push_not_answered,
            "slow OpenCTI": self._slow_sink,
            "queue full": self._queue_full,
            "overlapping call": self._overlapping_call,
            "arrivals during the export": self._arrivals_during_export,
        }

    def _appear(self) -> None:
        for _ in range(self.chance.choice([0, 0, 1, 2, 4, 12])):
            late_seconds = self.chance.uniform(0, LATEST_SECONDS)
            if self.chance.random() < 0.3:
                self.world.change(self.chance.randrange(self.world.known), late_seconds=late_seconds)
            else:
                self.world.arrive(late_seconds=late_seconds)

    def _note_lag(self) -> None:
        """How long what is there now has been in the feed without being in OpenCTI."""
        now, received = self.world.clock.now(), self.world.sink.ingestion.received
        for version, arrived_at in self.world.arrived_at.items():
            if received[version] == 0:
                self.longest_lag = max(self.longest_lag, now - arrived_at)

    def _killed(self) -> None:
        self.call(life=Fuse(self.chance.randint(1, 24)))

    def _state_fails_once(self) -> None:
        self.call(state=Fuse(self.chance.randint(1, 16), _state_unavailable))

    def _state_lost(self) -> None:
        self.call(state=Fuse(self.chance.randint(1, 16), _state_unavailable, lasting=True))

    def _export_cut(self) -> None:
        share, resets = self.chance.random(), self.chance.random() < 0.5

        def cut(pieces: Iterator[bytes]) -> Iterator[bytes]:
            answer = b"".join(pieces)
            yield answer[: int(share * len(answer))]
            if resets:
                raise ConnectionResetError

        self.world.source.transform = cut
        self.call()

    def _slow_export(self) -> None:
        def wait(pieces: Iterator[bytes]) -> Iterator[bytes]:
            self.world.clock.advance(self.chance.uniform(1, 900))
            yield from pieces

        self.world.source.transform = wait
        self.call()

    def _source_fails(self, often: int) -> None:
        self.world.source.fault = times(often, self._any_fault())
        self.call()

    def _token_revoked(self) -> None:
        self.world.source.revoke_tokens()
        self.world.source.fault = at(TOKEN, times(1, self._any_fault()))
        self.call()

    def _sink_fails(self, often: int) -> None:
        fault, after = times(often, self._any_fault()), self.chance.randint(0, 6)

        def fail(exchange: Exchange) -> bool:
            nonlocal after
            after -= 1
            return after < 0 and fault(exchange)

        self.world.sink.fault = fail
        self.call()

    def _push_not_answered(self) -> None:
        def accept(exchange: Exchange) -> bool:
            with suppress(ValueError):
                exchange.wfile.close()
                self.world.sink.respond(exchange)
            exchange.break_off()
            return True

        self.world.sink.fault = asking("stixBundlePush", times(1, accept))
        self.call()

    def _slow_sink(self) -> None:
        seconds = self.chance.uniform(100, 700)

        def wait(exchange: Exchange) -> bool:
            self.world.clock.advance(seconds)
            return False

        self.world.sink.fault = asking("stixBundlePush", wait)
        self.call()

    def _queue_full(self) -> None:
        self.world.sink.connectors.queue_messages_size_bytes = 600_000_000
        self.call()
        self.world.sink.connectors.queue_messages_size_bytes = 0

    def _overlapping_call(self) -> None:
        def call_again(exchange: Exchange) -> bool:
            self.call()
            return False

        self.world.sink.fault = asking("stixBundlePush", times(1, call_again))
        self.call()

    def _arrivals_during_export(self) -> None:
        def appear(pieces: Iterator[bytes]) -> Iterator[bytes]:
            answer = list(pieces)
            for _ in range(3):
                self.world.clock.advance(self.chance.uniform(1, 60))
                self._appear()
            self.world.clock.advance(self.chance.uniform(1, 60))
            yield from answer

        self.world.source.transform = appear
        self.call()

    def _any_fault(self) -> Fault:
        return PASSING[self.chance.choice(list(PASSING))]


def _state_unavailable() -> None:
    raise StateUnavailableError("The state store is away.", "Wait.")
