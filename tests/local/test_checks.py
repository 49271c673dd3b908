"""The demo's verdict: each thing that can go wrong is noticed and named."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from local.calls import Call
from local.checks import check_failures, check_import, count_objects
from local.feed import Feed
from local.indicators import COMPANIONS
from local.ingestion import Pushed
from local.opencti import OpenCTI

FEED = Feed(size=3, now=datetime(2026, 3, 4, tzinfo=UTC))
LATE = FEED.indicator(3)


def call(name: str, outcome: str, pushed: int, at_sink: int, pushes: int, minute: int) -> Call:
    answer = {"outcome": outcome, "pushed": pushed, "rejected": 0, "watermark": f"2026-03-04T00:{minute}:00Z"}
    return Call(name, answer, 0.1, at_sink=at_sink, sent_twice=0, pushes=pushes)


GOOD = [call("1", "ok", 3, 3, 1, 10), call("2", "empty", 0, 3, 1, 20), call("3", "ok", 1, 4, 2, 30)]


def answering(number: int, **members: Any) -> list[Call]:
    """The good calls, except that one answered this."""
    changed = list(GOOD)
    changed[number] = replace(GOOD[number], answer=GOOD[number].answer | members)
    return changed


@pytest.fixture
def sink() -> OpenCTI:
    """What OpenCTI holds after three good calls; it need not serve."""
    opencti = OpenCTI()
    for objects in (list(FEED.objects()), [*COMPANIONS, LATE]):
        opencti.ingestion.accept(Pushed("work", b"".join(_bundle(objects).encoded()).decode()), objects, 1)
    return opencti


def _bundle(objects: list[Any]) -> Feed:
    feed = Feed(companions="absent")
    feed.add(*objects)
    return feed


def test_three_good_calls_are_good(sink: OpenCTI) -> None:
    assert check_failures(GOOD) == []
    assert check_import(count_objects(FEED), LATE, GOOD, sink) == []


@pytest.mark.parametrize(
    ("calls", "complaint"),
    [
        (answering(0, rejected=1), "accounts for 3 objects"),
        (answering(0, outcome="partial"), "the first call is ok"),
        ([replace(GOOD[0], at_sink=2), *GOOD[1:]], "is at OpenCTI"),
        (answering(1, outcome="ok"), "second call is empty"),
        ([GOOD[0], replace(GOOD[1], pushes=2), GOOD[2]], "second call pushed nothing"),
        (answering(2, pushed=2), "third call pushed one"),
        ([*GOOD[:2], replace(GOOD[2], sent_twice=1)], "nothing was sent twice"),
        (answering(2, watermark="2026-03-04T00:20:00Z"), "watermark moved"),
        (answering(2, watermark=None), "watermark moved"),
    ],
)
def test_each_fault_is_named(sink: OpenCTI, calls: list[Call], complaint: str) -> None:
    (problem,) = check_import(count_objects(FEED), LATE, calls, sink)
    assert complaint in problem


def test_another_indicator_than_the_late_one_is_noticed(sink: OpenCTI) -> None:
    (problem,) = check_import(count_objects(FEED), FEED.indicator(4), GOOD, sink)
    assert "the late one" in problem


def test_a_bundle_that_the_workers_could_not_import_is_noticed(sink: OpenCTI) -> None:
    sink.ingestion.accept(Pushed("work", b"".join(_bundle([LATE]).encoded()).decode()), [], 1)
    (problem,) = check_import(count_objects(FEED), LATE, GOOD, sink)
    assert "can import" in problem


@pytest.mark.parametrize("outcome", ["failed", "skipped", None])
def test_a_call_that_did_not_end_well_is_reported_with_its_answer(outcome: str | None) -> None:
    calls = answering(1, outcome=outcome, error={"what": "Cluster25 is down."})
    (problem,) = check_failures(calls)
    assert "Cluster25 is down." in problem
