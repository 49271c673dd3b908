"""The function killed by SIGKILL at any instant: nothing is lost, at most the chunk in flight comes twice."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from uuid import uuid4

import pytest

from cluster25.settings import Settings
from local.cluster25 import Cluster25
from local.feed import Feed
from local.function import FunctionProcess
from local.loopback import Exchange
from local.opencti import OpenCTI
from tests.faults.function import asking
from tests.faults.processes import AheadClock, Call, Death, Request, call
from tests.faults.world import offered_by, received_by

SEED = int(os.environ.get("CRASH_SEED", "25"))
FEED = 2_000
CHUNK_OBJECTS = 50
KILLS = 26
KILLS_OF_SERVERS = 2
TURNS = (
    "at an instant",
    "push not accepted",
    "push accepted, not answered",
    "at a call of the store",
    "push answered",
    "at a page of a commit",
)
LEASE_SECONDS = 90
BUDGET_SECONDS = 60
SERVER_LEASE_SECONDS = 5
"""Of a server the end of the lease is waited for; the others only think that time has passed."""


@pytest.fixture
def clock() -> AheadClock:
    """Moving it on costs less than to wait for the end of every lease."""
    return AheadClock()


@pytest.fixture
def connector_environment(
    source: Cluster25, environment: pytest.MonkeyPatch, either_store: str, clock: AheadClock
) -> dict[str, str]:
    """For processes; with a feed that takes forty chunks."""
    source.feed = Feed(size=FEED, now=clock.now())
    environment.setenv("CONNECTOR_LOG_LEVEL", "error")
    environment.setenv("CLUSTER25_CHUNK_OBJECTS", str(CHUNK_OBJECTS))
    environment.setenv("CLUSTER25_LEASE_SEC", str(LEASE_SECONDS))
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", str(BUDGET_SECONDS))
    names = {name.upper() for name in Settings.model_fields} | {"FIRESTORE_EMULATOR_HOST"}
    return {name: value for name, value in os.environ.items() if name in names}


@dataclass
class Killing:
    """Decides when the next process dies, and sees to it."""

    random: random.Random
    source: Cluster25
    sink: OpenCTI
    import_seconds: float
    kinds: Counter[str] = field(default_factory=Counter)
    _turns: Iterator[str] = field(default_factory=lambda: cycle(TURNS))

    def choose(self) -> tuple[str, Death | None, Callable[[Call], None]]:
        """The kind of the next kill, what its process must know of it, and what is to be done to it."""
        kind, nth = next(self._turns), self.random.randint(1, 4)
        match kind:
            case "at an instant":
                return kind, None, partial(self._after, self.random.uniform(0, self._run_seconds()))
            case "at a call of the store":
                return kind, Death(self.random.randint(1, 16)), _leave_alone
            case "at a page of a commit":
                return kind, Death(self.random.randint(1, 2), "write_page"), _leave_alone
        return kind, None, partial(self._at_push, kind, nth)

    def _run_seconds(self) -> float:
        """About as long as the next run will take; never so short that its end is always missed."""
        offered = offered_by(self.source.feed)
        return self.import_seconds * max(0.2, len(offered - received_by(self.sink)) / len(offered))

    def _after(self, seconds: float, victim: Call) -> None:
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            victim.send_signal(signal.SIGKILL)

    def _at_push(self, kind: str, nth: int, victim: Call) -> None:
        def kill(exchange: Exchange) -> bool:
            if kind == "push answered":
                self.sink.respond(exchange)
            victim.send_signal(signal.SIGKILL)
            return kind != "push accepted, not answered"

        self.sink.fault = asking("stixBundlePush", _only(nth, kill))


@pytest.mark.slow
def test_killed_at_any_instant(
    connector_environment: dict[str, str], source: Cluster25, sink: OpenCTI, clock: AheadClock
) -> None:
    print(f"CRASH_SEED={SEED}")
    chance = random.Random(SEED)
    killing = Killing(chance, source, sink, _time_an_import(connector_environment))
    calls = 0
    while killing.kinds.total() < KILLS:
        calls += 1
        assert calls < 4 * KILLS, f"of {calls} calls died: {killing.kinds}"
        kind, death, disturb = killing.choose()
        with Call(Request(connector_environment, clock.ahead_seconds, death=death)) as victim:
            victim.begin()
            disturb(victim)
            answer = victim.answer()
            sink.fault = None
            if answer is None and victim.was_killed():
                killing.kinds[kind] += 1
            else:
                assert answer is not None
                assert answer.outcome in {"ok", "empty", "partial"}, answer
        clock.advance(LEASE_SECONDS)
        _add_some(source, clock, chance)
    _everything_is_there(connector_environment, source, sink, clock)
    print(f"{KILLS} kills in {calls} calls: {killing.kinds}; sent twice: {sink.ingestion.sent_twice}")
    assert sink.ingestion.sent_twice <= KILLS * CHUNK_OBJECTS
    assert len(killing.kinds) == len(set(TURNS)), killing.kinds


@pytest.mark.slow
def test_killed_server(
    connector_environment: dict[str, str],
    source: Cluster25,
    sink: OpenCTI,
    clock: AheadClock,
    tmp_path: Path,
) -> None:
    """The same with functions-framework, master and worker, and leases that end by themselves."""
    chance = random.Random(SEED)
    for turn in range(KILLS_OF_SERVERS):
        environment = {
            **os.environ,
            **connector_environment,
            "CLUSTER25_LEASE_SEC": str(SERVER_LEASE_SECONDS),
            "CLUSTER25_RUN_BUDGET_SEC": str(SERVER_LEASE_SECONDS - 1),
        }
        with Server(environment, tmp_path, tmp_path / f"server-{turn}.log") as server:
            killer = threading.Timer(chance.uniform(0, 0.05), server.kill)

            def kill_soon(exchange: Exchange, killer: threading.Timer = killer) -> bool:
                killer.start()
                return False

            sink.fault = asking("stixBundlePush", _only(chance.randint(1, 8), kill_soon))
            with pytest.raises(RuntimeError, match="no JSON answer"):
                server.call()
        time.sleep(SERVER_LEASE_SECONDS)
    assert 0 < len(received_by(sink)) < FEED
    _everything_is_there(connector_environment, source, sink, clock)
    assert sink.ingestion.sent_twice <= KILLS_OF_SERVERS * CHUNK_OBJECTS


class Server(FunctionProcess):
    """functions-framework, to be killed."""

    def kill(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)


def _time_an_import(environment: dict[str, str]) -> float:
    """How long an import takes on this machine today, into an OpenCTI of its own."""
    with OpenCTI(tokens={environment["OPENCTI_TOKEN"]: frozenset({"CONNECTORAPI"})}) as other:
        started = time.monotonic()
        elsewhere = {**environment, "OPENCTI_URL": other.url, "CONNECTOR_ID": str(uuid4())}
        assert call(Request(elsewhere)).outcome == "ok"
        return time.monotonic() - started


def _everything_is_there(
    environment: dict[str, str], source: Cluster25, sink: OpenCTI, clock: AheadClock
) -> None:
    answer = call(Request(environment, clock.ahead_seconds))
    assert answer.outcome in {"ok", "empty"}, answer
    assert received_by(sink) == offered_by(source.feed)


def _add_some(source: Cluster25, clock: AheadClock, chance: random.Random) -> None:
    first = len(offered_by(source.feed))
    modified = clock.now() - timedelta(seconds=chance.uniform(1, 600))
    source.feed.add(*(source.feed.indicator(number, modified) for number in range(first, first + 150)))


def _only(nth: int, fault: Callable[[Exchange], bool]) -> Callable[[Exchange], bool]:
    count = 0

    def at_nth(exchange: Exchange) -> bool:
        nonlocal count
        count += 1
        return count == nth and fault(exchange)

    return at_nth


def _leave_alone(victim: Call) -> None:
    """Its own fuse ends it."""
