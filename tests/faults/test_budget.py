"""Imports that take longer than a run may: each run gets further, or says that it does not."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from local.cluster25 import Cluster25
from local.feed import Feed
from local.loopback import Exchange
from local.opencti import OpenCTI
from tests.faults.function import Function, NotedClock, asking, at_sink, everything_once, in_feed

FEED = 300
CHUNK_OBJECTS = 10
BUDGET_SECONDS = 60
PUSH_SECONDS = 25
"""Three pushes use the budget up."""


@pytest.fixture
def slow_sink(
    environment: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI, clock: NotedClock
) -> OpenCTI:
    source.feed = Feed(size=FEED, now=clock.now())
    environment.setenv("CLUSTER25_CHUNK_OBJECTS", str(CHUNK_OBJECTS))
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", str(BUDGET_SECONDS))

    def wait(exchange: Exchange) -> bool:
        clock.advance(PUSH_SECONDS)
        return False

    sink.fault = asking("stixBundlePush", wait)
    return sink


def test_import_of_more_than_ten_budgets(
    either_store: str, function: Function, source: Cluster25, slow_sink: OpenCTI, clock: NotedClock
) -> None:
    partial_runs = 0
    before = -1
    while (answer := function.call()).outcome == "partial":
        partial_runs += 1
        assert answer.status == 200
        assert answer.watermark is None
        assert answer.document["pushed"] > 0
        assert before < len(at_sink(slow_sink))
        before = len(at_sink(slow_sink))
        clock.advance(600)
    assert (answer.status, answer.outcome) == (200, "ok")
    assert partial_runs >= 10
    assert at_sink(slow_sink) == in_feed(source)
    assert slow_sink.ingestion.sent_twice <= partial_runs * CHUNK_OBJECTS
    # Counted from each day anew, the start would have left behind what an earlier run had not got to.
    assert len({export.start for export in source.exports}) == 1


def test_what_appears_during_a_long_import_is_imported(
    function: Function, source: Cluster25, slow_sink: OpenCTI, clock: NotedClock
) -> None:
    while function.call().outcome == "partial":
        source.feed.add(source.feed.indicator(len(in_feed(source)), clock.now() - timedelta(seconds=300)))
        clock.advance(600)
    slow_sink.fault = None
    assert function.call().status == 200
    assert at_sink(slow_sink) == in_feed(source)


def test_what_broke_off_in_time_is_a_failure_however_late_the_rest_is_pushed(
    environment: pytest.MonkeyPatch,
    function: Function,
    source: Cluster25,
    slow_sink: OpenCTI,
    clock: NotedClock,
) -> None:
    environment.setenv("CLUSTER25_CHUNK_OBJECTS", "1000")

    def cut(pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield next(pieces)
        clock.advance(BUDGET_SECONDS - PUSH_SECONDS + 1)

    source.transform = cut
    failed = function.fails(503, "source")
    assert "cut short" in failed.error["what"]
    assert 0 < failed.document["pushed"] < FEED
    slow_sink.fault = None
    everything_once(function, source, slow_sink)


def test_no_progress_is_a_failure(
    either_store: str,
    environment: pytest.MonkeyPatch,
    function: Function,
    source: Cluster25,
    sink: OpenCTI,
    clock: NotedClock,
) -> None:
    """What the first run had time for is all that the next have time to read."""
    source.feed = Feed(size=2_000, now=clock.now())
    environment.setenv("CLUSTER25_CHUNK_OBJECTS", "100")
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", str(BUDGET_SECONDS))

    def drip(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for number, piece in enumerate(pieces):
            if number == 4:
                accept_two_pushes(sink)
            if number < 6:  # the lease, at least, does not end meanwhile
                clock.advance(BUDGET_SECONDS / 6)
            yield piece

    source.transform = drip
    answers = [function.call() for _ in range(4)]
    assert answers[0].outcome == "partial"
    last = answers[-1]
    assert (last.status, last.outcome, last.document["pushed"]) == (503, "failed", 0)
    assert last.document["skipped"] > 0
    assert "CLUSTER25_RUN_BUDGET_SEC" in last.error["remedy"]
    assert last.watermark is None


def accept_two_pushes(sink: OpenCTI) -> None:
    """Pushing takes time that is not simulated; once there are two, the first is in the ledger."""
    give_up_at = time.monotonic() + 10
    while len(sink.ingestion.body_sizes_bytes) < 2 and time.monotonic() < give_up_at:
        time.sleep(0.01)
