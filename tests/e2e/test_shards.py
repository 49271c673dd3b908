"""Two deployments that share a very large feed by type: each its own CONNECTOR_ID, checkpoint and queue."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from local.cluster25 import Cluster25
from local.feed import Feed, pattern_type
from local.indicators import TYPES
from local.opencti import OpenCTI
from tests.clock import SimulatedClock
from tests.e2e.conftest import Function
from tests.faults.world import environment_of, offered_by, received_by

HASHES = ("md5", "sha1", "sha256")
OTHERS = tuple(type_ for type_ in TYPES if type_ not in HASHES)


@pytest.fixture
def sink(clock: SimulatedClock) -> Iterator[OpenCTI]:
    with OpenCTI(clock=clock) as opencti:
        yield opencti


class Shards:
    """Two functions, told apart by nothing but their settings; which one is called is up to `run`."""

    def __init__(self, function: Function, source: Cluster25, sink: OpenCTI, folder: Path) -> None:
        self._function = function
        self._settings = {
            types: environment_of(
                source,
                sink,
                cluster25_indicator_types=",".join(types),
                state_sqlite_path=folder / f"{types[0]}.db",
            )
            for types in (HASHES, OTHERS)
        }

    def run(self, types: tuple[str, ...]) -> dict[str, object]:
        self._function.configure(**self._settings[types])
        return self._function.run()


@pytest.fixture
def shards(function: Function, source: Cluster25, sink: OpenCTI, tmp_path: Path) -> Shards:
    return Shards(function, source, sink, tmp_path)


def test_together_they_bring_everything_once(shards: Shards, feed: Feed, sink: OpenCTI) -> None:
    hashes, others = shards.run(HASHES), shards.run(OTHERS)
    assert (hashes["outcome"], others["outcome"]) == ("ok", "ok")
    assert received_by(sink) == offered_by(feed)
    assert sink.ingestion.sent_twice == 0
    assert len(sink.connectors.by_id) == 2


def test_the_companions_come_with_each_and_nothing_dangles(shards: Shards, sink: OpenCTI) -> None:
    shards.run(HASHES)
    shards.run(OTHERS)
    assert sink.judge().sound


def test_one_goes_on_while_the_other_is_away(
    shards: Shards, feed: Feed, sink: OpenCTI, clock: SimulatedClock
) -> None:
    shards.run(HASHES)
    shards.run(OTHERS)
    feed.add(*_one_of_each(feed, clock.now() + timedelta(seconds=300)))
    clock.advance(600)
    assert shards.run(HASHES)["pushed"] == len(HASHES)
    assert shards.run(HASHES)["outcome"] == "empty"
    clock.advance(6_000)  # long after the overlap of the first run
    assert shards.run(OTHERS)["pushed"] == len(OTHERS)
    assert received_by(sink) == offered_by(feed)
    assert sink.ingestion.sent_twice == 0


def _one_of_each(feed: Feed, modified: datetime) -> list[dict[str, Any]]:
    """An indicator of each type that the feed does not have yet."""
    found: dict[str | None, dict[str, Any]] = {}
    for number in count(feed.size):
        indicator = feed.indicator(number, modified)
        found.setdefault(pattern_type(indicator["pattern"]), indicator)
        if len(found) == len(TYPES):
            break
    return list(found.values())
