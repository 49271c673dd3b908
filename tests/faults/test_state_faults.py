"""The state store fails: nothing is guessed, nothing is overwritten, and what is stored stays as it is."""

import contextlib
import selectors
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import Aborted
from google.cloud.firestore import WriteBatch

from cluster25.errors import StateUnavailableError
from cluster25.state import sqlite
from cluster25.state.firestore import FirestoreStore
from cluster25.state.store import Page
from local.cluster25 import Cluster25
from local.loopback import Exchange
from local.opencti import OpenCTI
from tests.faults.function import (
    Answer,
    Function,
    NotedClock,
    add_new,
    after,
    asking,
    at_sink,
    everything_once,
    in_feed,
)


class Wire:
    """A TCP connection to somewhere else that can be cut and mended."""

    def __init__(self, target: str) -> None:
        host, port = target.split(":")
        self._target = (host, int(port))
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                if self._is_cut:
                    near.close()
                else:
                    threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._target) as far, selectors.DefaultSelector() as ready:
            self._open |= {near, far}
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            with contextlib.suppress(OSError):
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            return
                        key.data.sendall(data)


class FileAway:
    """A SQLite file in whose place there is a folder for a while."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.with_suffix(".aside")

    def cut(self) -> None:
        if self._path.exists():
            self._path.rename(self._aside)
        self._path.mkdir()

    def mend(self) -> None:
        self._path.rmdir()
        if self._aside.exists():
            self._aside.rename(self._path)


Way = Wire | FileAway


@pytest.fixture
def way(
    either_store: str, environment: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Way]:
    """The way to the state, to be cut and mended."""
    if either_store == "sqlite":
        yield FileAway(tmp_path / "state.db")
        return
    FirestoreStore(
        "test-project", "(default)", "faults", "first"
    ).read()  # an emulator's first answer is slow
    wire = Wire(request.getfixturevalue("firestore_emulator"))
    environment.setenv("FIRESTORE_EMULATOR_HOST", wire.address)
    environment.setattr(FirestoreStore.__init__, "__defaults__", (2.0,))  # its timeout, in seconds
    yield wire
    wire.close()


def mend(way: Way, function: Function) -> None:
    """And wait until the function can use it again: gRPC pauses between attempts to connect."""
    way.mend()
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at:
        with contextlib.suppress(StateUnavailableError):
            function.store.read()
            return
        time.sleep(0.1)


def state_fails(answer: Answer, status: int) -> None:
    assert (answer.status, answer.outcome, answer.error.get("side")) == (status, "failed", "state"), answer
    assert answer.error["what"]
    assert answer.error["remedy"]


def test_a_store_out_of_reach_is_503_for_every_call_and_no_peer_is_asked(
    function: Function, source: Cluster25, sink: OpenCTI, way: Way
) -> None:
    way.cut()
    for path in ("/", "/heartbeat", "/reset"):
        state_fails(function.call(path), 503)
    assert not source.requests
    assert not sink.requests
    mend(way, function)
    everything_once(function, source, sink)


def test_a_store_out_of_reach_between_runs_loses_nothing(
    function: Function, source: Cluster25, sink: OpenCTI, clock: NotedClock, way: Way
) -> None:
    assert function.call().outcome == "ok"
    clock.advance(600)
    add_new(source, clock.now())
    way.cut()
    state_fails(function.call(), 503)
    mend(way, function)
    everything_once(function, source, sink)


def test_state_lost_during_a_run_holds_the_lease_until_it_ends_and_then_goes_on(
    function: Function,
    environment: pytest.MonkeyPatch,
    source: Cluster25,
    sink: OpenCTI,
    clock: NotedClock,
    way: Way,
) -> None:
    environment.setenv("CLUSTER25_CHUNK_OBJECTS", "1")

    def cut(_: Exchange) -> bool:
        if not lost:
            lost.append(way.cut())
        return False

    lost: list[None] = []
    sink.fault = asking("stixBundlePush", after(2, cut))
    state_fails(function.call(), 503)
    accepted = at_sink(sink)
    assert len(accepted) == 3
    state_fails(function.call(), 503)
    mend(way, function)
    skipped = function.call()
    assert (skipped.status, skipped.outcome) == (200, "skipped")
    assert "holds the lease until" in skipped.document["reason"]
    assert skipped.watermark is None
    clock.advance(91)
    assert function.call().outcome == "ok"
    assert at_sink(sink) == in_feed(source)
    assert sink.ingestion.sent_twice == 1  # the chunk that was accepted and could not be recorded


Damage = Callable[[dict[str, Any]], dict[str, Any]]
DAMAGES: dict[str, Damage] = {
    "version of the future": lambda document: {**document, "version": 3},
    "no version": lambda document: {name: value for name, value in document.items() if name != "version"},
    "watermark that is no time": lambda document: {**document, "watermark": "yesterday"},
    "unknown field": lambda document: {**document, "cursor": "abc"},
    "fence that is no number": lambda document: {**document, "fence": "many"},
    "ledger that is no bytes": lambda document: {**document, "ledger": "text"},
    "ledger of half an entry": lambda document: {**document, "ledger": b"seven.."},
    "pages that are missing": lambda document: {**document, "pages": 3},
    "empty document": lambda document: {},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_state_is_500_kept_and_explained(
    either_store: str,
    function: Function,
    source: Cluster25,
    sink: OpenCTI,
    clock: NotedClock,
    damage: Damage,
) -> None:
    assert function.call().outcome == "ok"
    clock.advance(600)
    stored = function.store.read()
    assert stored is not None
    damaged = function.store.write(damage(stored.document), stored)
    source.requests.clear()
    sink.requests.clear()
    answer = function.call()
    state_fails(answer, 500)
    assert function.store.location in answer.error["remedy"]
    assert function.store.read() == damaged
    assert not source.requests
    assert not sink.requests
    function.store.write(stored.document, damaged)  # a person mends it
    add_new(source, clock.now())
    everything_once(function, source, sink)


def test_a_ledger_page_of_half_an_entry_is_500(either_store: str, function: Function) -> None:
    assert function.call().outcome == "ok"
    stored = function.store.read()
    assert stored is not None
    function.store.write(
        {**stored.document, "pages": 1}, stored, Page(stored.document["generation"], 0, b"half")
    )
    state_fails(function.call(), 500)


def test_a_file_that_is_no_database_is_500_and_kept(
    function: Function, source: Cluster25, sink: OpenCTI, tmp_path: Path
) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"This is a letter, not a database. " * 300)
    before = path.read_bytes()
    state_fails(function.call(), 500)
    assert path.read_bytes() == before
    assert not source.requests
    path.unlink()
    everything_once(function, source, sink)


def test_a_locked_database_is_503(
    function: Function, environment: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI, tmp_path: Path
) -> None:
    environment.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.1)
    function.call("/heartbeat")
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        state_fails(function.call(), 503)
    everything_once(function, source, sink)


def aborting(environment: pytest.MonkeyPatch, count: int) -> None:
    """Let Firestore abort the next writes, as it does when others are at the same document."""
    commit = WriteBatch.commit
    left = [count]

    def contended(batch: WriteBatch, *arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise Aborted("Too much contention on these documents.")  # type: ignore[no-untyped-call]
        return commit(batch, *arguments, **options)

    environment.setattr(WriteBatch, "commit", contended)


@pytest.mark.parametrize("either_store", ["firestore"], indirect=True)
def test_aborted_writes_are_tried_again(
    either_store: str,
    function: Function,
    environment: pytest.MonkeyPatch,
    source: Cluster25,
    sink: OpenCTI,
) -> None:
    aborting(environment, 3)
    everything_once(function, source, sink)


@pytest.mark.parametrize("either_store", ["firestore"], indirect=True)
def test_writes_aborted_again_and_again_count_as_a_lease_held_by_others(
    either_store: str,
    function: Function,
    environment: pytest.MonkeyPatch,
    source: Cluster25,
    sink: OpenCTI,
) -> None:
    aborting(environment, 8)
    answer = function.call()
    assert (answer.status, answer.outcome) == (200, "skipped")
    assert not source.requests
    everything_once(function, source, sink)


@pytest.mark.parametrize("either_store", ["firestore"], indirect=True)
def test_writes_aborted_during_a_run_end_it_with_503(
    either_store: str,
    function: Function,
    environment: pytest.MonkeyPatch,
    source: Cluster25,
    sink: OpenCTI,
    clock: NotedClock,
) -> None:
    def contend(_: Exchange) -> bool:
        aborting(environment, 8)
        return False

    sink.fault = asking("stixBundlePush", contend)
    state_fails(function.call(), 503)
    sink.fault = None
    assert function.call().outcome == "ok"
    assert at_sink(sink) == in_feed(source)
    assert sink.ingestion.sent_twice == len(in_feed(source))  # one chunk, accepted and not recorded
