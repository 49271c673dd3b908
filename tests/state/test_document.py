"""What is stored, and what is refused."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from cluster25.errors import StateDamagedError
from cluster25.state.document import REMEMBERED_RUNS, RETRY, Lease, Question, State
from cluster25.state.store import Stored
from tests.clock import SimulatedClock
from tests.state.runs import summary

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def read(document: dict[str, Any]) -> State:
    return State.of(Stored(document, 1), "the test's document")


def test_a_full_state_survives_being_stored(clock: SimulatedClock) -> None:
    state = State(
        fence=3,
        lease=Lease(holder="run-a", until=NOON),
        watermark=NOON + timedelta(microseconds=1),
        floor=NOON,
        start=NOON - timedelta(days=7),
        question=Question(base_url="https://x", types=["ipv4"]),
        generation=2,
        pages=1,
        ledger=b"\0\xff" * 6,
        companions=['{"type":"identity"}'],
        last_tick="2026-03-01T12:00:00Z",
        registration="abc",
    ).with_run(summary(clock, "failed").model_copy(update={"by_type": {"ipv4": 1}, "error": {"what": "x"}}))
    document = state.to_document()
    assert read(document) == state
    del document["ledger"]
    assert json.loads(json.dumps(document)) == document


def test_times_are_stored_in_utc_whatever_zone_they_came_in() -> None:
    in_rome = NOON.astimezone(timezone(timedelta(hours=1)))
    document = State(watermark=in_rome).to_document()
    assert document["watermark"] == "2026-03-01T12:00:00.000000Z"
    assert read(document).watermark == NOON


def test_nothing_stored_is_an_empty_state() -> None:
    assert State.of(None, "nowhere") == State()


@pytest.mark.parametrize(
    "damage",
    [
        {"fence": "3"},
        {"watermark": "yesterday"},
        {"watermark": "2026-03-01T12:00:00"},
        {"lease": {"holder": "run-a"}},
        {"ledger": "text"},
        {"runs": [{}]},
        {"surprise": 1},
    ],
)
def test_a_document_that_is_not_understood_is_refused_and_explained(damage: dict[str, Any]) -> None:
    with pytest.raises(StateDamagedError) as caught:
        read({**State().to_document(), **damage})
    assert next(iter(damage)) in caught.value.what
    assert "the test's document" in caught.value.remedy
    assert "Nothing was changed" in caught.value.remedy


@pytest.mark.parametrize("version", [1, 3, None, "2"])
def test_another_version_is_refused_and_explained(version: object) -> None:
    with pytest.raises(StateDamagedError, match="Deploy the release that wrote it") as caught:
        read({**State().to_document(), "version": version})
    assert repr(version) in caught.value.what


def test_the_last_runs_are_remembered_newest_first(clock: SimulatedClock) -> None:
    state = State()
    for number in range(REMEMBERED_RUNS + 10):
        state = state.with_run(summary(clock, run_id=f"run-{number}"))
    assert state.last_run == state.runs[0]
    assert [run.run_id for run in state.runs] == [f"run-{n}" for n in range(REMEMBERED_RUNS + 9, 9, -1)]


def test_what_is_skipped_again_and_again_drives_nothing_out(clock: SimulatedClock) -> None:
    state = State().with_run(summary(clock, run_id="worked"))
    for number in range(REMEMBERED_RUNS + 10):
        state = state.with_run(summary(clock, "skipped", run_id=f"run-{number}"))
    assert [run.run_id for run in state.runs] == [f"run-{REMEMBERED_RUNS + 9}", "worked"]
    assert state.last_run == state.runs[0]
    by_another = summary(clock, "skipped", run_id="other").model_copy(update={"trigger": "backfill"})
    assert len(state.with_run(by_another).runs) == 3


def test_sending_rejected_objects_again_says_nothing_of_a_failure(clock: SimulatedClock) -> None:
    state = State().with_run(summary(clock, "failed"))
    retried = state.with_run(summary(clock, "ok").model_copy(update={"trigger": RETRY}))
    assert retried.failing_since == state.failing_since is not None


def test_failing_since_is_the_first_failure_of_a_row(clock: SimulatedClock) -> None:
    first = clock.now()
    state = State().with_run(summary(clock, "failed"))
    clock.advance(600)
    state = state.with_run(summary(clock, "failed"))
    state = state.with_run(summary(clock, "skipped"))
    assert state.failing_since == first
    assert state.with_run(summary(clock, "partial")).failing_since is None


def test_skipped_since_is_the_first_skipped_run_of_a_row(clock: SimulatedClock) -> None:
    first = clock.now()
    state = State().with_run(summary(clock, "skipped"))
    clock.advance(600)
    state = state.with_run(summary(clock, "skipped"))
    assert state.skipped_since == first
    assert state.with_run(summary(clock, "empty")).skipped_since is None
