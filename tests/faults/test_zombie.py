"""A process stopped beyond its lease: once another run has taken over, it can do nothing more."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from cluster25.settings import Settings, load_settings
from cluster25.state.lease import read_checkpoint
from cluster25.state.opening import open_store
from local.cluster25 import Cluster25
from local.feed import Feed
from local.loopback import Exchange
from local.opencti import OpenCTI
from tests.faults.function import asking
from tests.faults.processes import AheadClock, Call, Request, call
from tests.faults.world import offered_by, received_by

CHUNK_OBJECTS = 50
LEASE_SECONDS = 3


@pytest.fixture
def clock() -> AheadClock:
    return AheadClock()


@pytest.fixture
def connector_environment(
    source: Cluster25, environment: pytest.MonkeyPatch, either_store: str, clock: AheadClock
) -> dict[str, str]:
    source.feed = Feed(size=300, now=clock.now())
    environment.setenv("CONNECTOR_LOG_LEVEL", "error")
    environment.setenv("CLUSTER25_CHUNK_OBJECTS", str(CHUNK_OBJECTS))
    environment.setenv("CLUSTER25_LEASE_SEC", str(LEASE_SECONDS))
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", str(LEASE_SECONDS - 1))
    names = {name.upper() for name in Settings.model_fields} | {"FIRESTORE_EMULATOR_HOST"}
    return {name: value for name, value in os.environ.items() if name in names}


@pytest.mark.slow
@pytest.mark.parametrize("its_clock", ["right", "slow"])
def test_zombie_cannot_record_or_commit(
    its_clock: str,
    connector_environment: dict[str, str],
    source: Cluster25,
    sink: OpenCTI,
    clock: AheadClock,
) -> None:
    """With a slow clock it even believes that its lease still lasts: only the fence is left to stop it."""
    store = open_store(load_settings())
    patient = {**connector_environment, "CLUSTER25_LEASE_SEC": "90", "CLUSTER25_RUN_BUDGET_SEC": "60"}
    stopped_in_push = threading.Event()
    with Call(Request(connector_environment if its_clock == "right" else patient)) as zombie:

        def stop(exchange: Exchange) -> bool:
            if len(sink.ingestion.body_sizes_bytes) == 2 and not stopped_in_push.is_set():
                zombie.send_signal(signal.SIGSTOP)
                stopped_in_push.set()
            return False

        sink.fault = asking("stixBundlePush", stop)
        zombie.begin()
        assert stopped_in_push.wait(60)
        fence = read_checkpoint(store)[0].fence
        if its_clock == "right":
            time.sleep(LEASE_SECONDS)
        else:
            clock.advance(90)

        other = call(Request(patient, clock.ahead_seconds))
        assert other.outcome == "ok"
        state, ledger = read_checkpoint(store)
        assert state.fence == fence + 1

        zombie.send_signal(signal.SIGCONT)
        answer = zombie.answer()
        assert answer is not None
        assert (answer.status, answer.outcome) == (503, "failed")
        assert "no longer holds its lease" in answer.error["what"]

    state_after, ledger_after = read_checkpoint(store)
    assert state_after == state
    assert list(ledger_after.pack(1 << 20)) == list(ledger.pack(1 << 20))
    assert received_by(sink) == offered_by(source.feed)
    assert sink.ingestion.sent_twice <= CHUNK_OBJECTS
    assert other.watermark in shown(sink, connector_environment)


@pytest.mark.slow
def test_zombie_cannot_write_into_a_run_at_work(
    connector_environment: dict[str, str], source: Cluster25, sink: OpenCTI, clock: AheadClock
) -> None:
    """Its clock is slow, and the lease in the state is one that lasts, though not its own."""
    store = open_store(load_settings())
    patient = {**connector_environment, "CLUSTER25_LEASE_SEC": "90", "CLUSTER25_RUN_BUDGET_SEC": "60"}
    stopped, zombie_ended = threading.Event(), threading.Event()
    with Call(Request(patient)) as zombie:

        def stop_and_wait(exchange: Exchange) -> bool:
            if stopped.is_set():
                zombie_ended.wait(50)
            elif len(sink.ingestion.body_sizes_bytes) == 2:
                zombie.send_signal(signal.SIGSTOP)
                stopped.set()
            return False

        sink.fault = asking("stixBundlePush", stop_and_wait)
        zombie.begin()
        assert stopped.wait(60)
        clock.advance(90)
        with Call(Request(patient, clock.ahead_seconds)) as other:
            other.begin()
            while read_checkpoint(store)[0].fence == 1 or len(source.exports) < 2:
                time.sleep(0.05)
            pages = read_checkpoint(store)[0].pages
            zombie.send_signal(signal.SIGCONT)
            answer = zombie.answer()
            assert read_checkpoint(store)[0].pages == pages
            zombie_ended.set()
            last = other.answer()
    assert answer is not None
    assert "no longer holds its lease" in answer.error["what"]
    assert last is not None
    assert last.outcome == "ok"
    assert received_by(sink) == offered_by(source.feed)
    assert sink.ingestion.sent_twice <= CHUNK_OBJECTS


@pytest.mark.slow
def test_zombie_with_an_unfinished_export_says_why_it_ends(
    connector_environment: dict[str, str], source: Cluster25, sink: OpenCTI
) -> None:
    """Its budget is over, too, and its export broken off; that it has lost its lease is what counts."""
    few_chunks = {**connector_environment, "CLUSTER25_CHUNK_OBJECTS": "200"}
    stopped, continued = threading.Event(), threading.Event()

    def stall(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for number, piece in enumerate(pieces):
            if number == 4:  # what came before fills the scanner's window
                continued.wait(60)
            yield piece

    source.transform = stall
    with Call(Request(few_chunks)) as zombie:

        def stop(exchange: Exchange) -> bool:
            if not stopped.is_set():
                zombie.send_signal(signal.SIGSTOP)
                stopped.set()
            return False

        sink.fault = asking("stixBundlePush", stop)
        zombie.begin()
        assert stopped.wait(60)
        time.sleep(LEASE_SECONDS)
        source.transform = None
        other = call(Request({**few_chunks, "CLUSTER25_LEASE_SEC": "90", "CLUSTER25_RUN_BUDGET_SEC": "60"}))
        assert other.outcome == "ok"
        works = len(sink.works.by_id)
        zombie.send_signal(signal.SIGCONT)
        answer = zombie.answer()
        continued.set()
    assert answer is not None
    assert "no longer holds its lease" in answer.error["what"]
    assert len(sink.works.by_id) == works, "nobody is told of a failure that is none"
    assert other.watermark in shown(sink, connector_environment)


def shown(sink: OpenCTI, environment: dict[str, str]) -> str:
    """The state as OpenCTI's operators see it."""
    return str(sink.connectors.by_id[environment["CONNECTOR_ID"]].state)
