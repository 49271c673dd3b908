"""What is asked changes: other types, another address of Cluster25."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from cluster25.clock import to_rfc3339
from local.cluster25 import Cluster25
from local.feed import Feed
from local.loopback import Fault
from local.opencti import OpenCTI
from tests.faults.function import (
    CLIENT_SECRET,
    Function,
    NotedClock,
    answering,
    asking,
    at_sink,
    in_feed,
    times,
)

FEED = 90


@pytest.fixture
def two_types(
    environment: pytest.MonkeyPatch, source: Cluster25, function: Function, clock: NotedClock
) -> int:
    """An import of two types, finished a while ago; returns how many objects it brought."""
    source.feed = Feed(size=FEED, now=clock.now())
    environment.setenv("CLUSTER25_INDICATOR_TYPES", "ipv4,domain")
    answer = function.call()
    assert answer.outcome == "ok"
    clock.advance(3_600)
    assert function.call().outcome == "empty"
    clock.advance(600)
    return int(answer.document["pushed"])


def ask_for(types: str, environment: pytest.MonkeyPatch, function: Function) -> None:
    environment.setenv("CLUSTER25_INDICATOR_TYPES", types)
    function.main.connector.cache_clear()


def test_new_type_is_back_filled(
    two_types: int,
    environment: pytest.MonkeyPatch,
    function: Function,
    source: Cluster25,
    sink: OpenCTI,
    clock: NotedClock,
) -> None:
    ask_for("ipv4,domain,md5", environment, function)
    answer = function.call()
    assert answer.outcome == "ok"
    assert answer.document["by_type"]["md5"] == count(source, "md5")
    assert len(at_sink(sink)) == count(source, "ipv4", "domain", "md5")
    clock.advance(600)
    assert function.call().outcome == "empty"
    assert source.exports[-1].start > source.exports[-2].start


def test_removed_type_sends_nothing_again(
    two_types: int,
    environment: pytest.MonkeyPatch,
    function: Function,
    source: Cluster25,
    sink: OpenCTI,
    clock: NotedClock,
) -> None:
    ask_for("ipv4", environment, function)
    source.feed.add(source.feed.indicator(new_of(source, "ipv4"), clock.now()))
    answer = function.call()
    assert (answer.outcome, answer.document["pushed"]) == ("ok", 1)
    assert source.exports[-1].types == ("ipv4",)
    assert sink.ingestion.sent_twice == 0


def test_type_that_returns_is_back_filled_over_the_gap(
    two_types: int,
    environment: pytest.MonkeyPatch,
    function: Function,
    source: Cluster25,
    sink: OpenCTI,
    clock: NotedClock,
) -> None:
    ask_for("ipv4", environment, function)
    missed = source.feed.indicator(new_of(source, "domain"), clock.now())
    source.feed.add(missed)
    assert function.call().document["pushed"] == 0
    clock.advance(7_200)
    assert function.call().outcome == "empty"
    ask_for("domain,ipv4", environment, function)
    assert function.call().outcome == "ok"
    assert missed["id"] in at_sink(sink)


def test_other_base_url_starts_over(
    two_types: int, environment: pytest.MonkeyPatch, function: Function, sink: OpenCTI, clock: NotedClock
) -> None:
    with Cluster25(Feed(size=FEED, seed=26, now=clock.now()), clock=clock) as other:
        other.client_secret = CLIENT_SECRET
        environment.setenv("CLUSTER25_BASE_URL", other.base_url)
        ask_for("ipv4,domain,md5,sha1,sha256,url,email,ipv6,filename", environment, function)
        assert function.call().outcome == "ok"
        assert in_feed(other) <= at_sink(sink)


def count(source: Cluster25, *types: str) -> int:
    entries = source.feed.objects(types)
    return sum(isinstance(entry, dict) and entry["type"] == "indicator" for entry in entries)


def new_of(source: Cluster25, type_: str) -> int:
    """The number of an indicator of that type which the feed does not have."""
    numbers = range(FEED, FEED + 1_000)
    return next(number for number in numbers if f"[{PATHS[type_]}" in pattern(source, number))


PATHS = {"ipv4": "ipv4-addr", "domain": "domain-name"}


def pattern(source: Cluster25, number: int) -> str:
    return str(source.feed.indicator(number)["pattern"]).replace("[ ", "[")


def returning(state: str) -> Fault:
    """A ping answered with a state that was not sent."""
    connector = {"connector_state": state, "connector_queue_details": {"messages_size": 0}}
    return times(1, answering(200, json.dumps({"data": {"pingConnector": connector}}).encode()))


@pytest.mark.parametrize(
    "ordered", ["2026-02-27T12:00:00Z", "2026-02-27T14:00:00+02:00", "2026-02-27T12:00:00"]
)
@pytest.mark.parametrize("path", ["/", "/heartbeat"])
def test_a_watermark_that_opencti_orders_is_gone_on_from(
    two_types: int, function: Function, source: Cluster25, sink: OpenCTI, path: str, ordered: str
) -> None:
    sink.fault = asking("pingConnector", returning(json.dumps({"watermark": ordered})))
    answer = function.call(path)
    assert source.exports[-1].start == datetime(2026, 2, 27, 11, 45, tzinfo=UTC)
    # What the ledger no longer remembers is sent again: that is what such an order is for.
    assert 0 < answer.document["pushed"] == sink.ingestion.sent_twice < two_types
    assert function.checkpoint()[0].watermark == function.clock.now()


@pytest.mark.parametrize(
    "state",
    [
        '{"watermark": "2036-01-01T00:00:00Z"}',
        '{"watermark": "0001-01-01T00:00:00+23:59"}',
        '{"watermark": "0001-01-01T00:00:00Z"}',
        '{"watermark": "1969-12-31T23:59:59Z"}',
        '{"watermark": null}',
        '{"last_run": 1767225600}',
        "no JSON",
        "[]",
    ],
)
def test_a_state_that_nobody_can_go_on_from_is_not_adopted(
    two_types: int, function: Function, source: Cluster25, sink: OpenCTI, state: str
) -> None:
    before, _ = function.checkpoint()
    sink.fault = asking("pingConnector", returning(state))
    assert function.call().outcome == "empty"
    assert before.watermark is not None
    assert source.exports[-1].start == before.watermark - timedelta(seconds=900)
    assert "not adopted" in function.log


def test_a_clock_that_was_ahead_for_one_run_costs_no_indicator(
    two_types: int, function: Function, source: Cluster25, sink: OpenCTI, clock: NotedClock
) -> None:
    clock.advance(3_600)
    assert function.call().outcome == "empty"
    clock.advance(-3_600)
    addresses = [number for number in range(FEED, 10 * FEED) if "[ipv4-addr" in pattern(source, number)]
    for number in addresses[:9]:
        source.feed.add(source.feed.indicator(number, clock.now()))
        clock.advance(600)
        answer = function.call()
        assert answer.document["pushed"] > 0
        assert answer.watermark == to_rfc3339(clock.now())
    assert len(at_sink(sink)) == two_types + 9
    assert "some clock was wrong" not in function.log  # by now
