"""A reset: not lost, and never half applied, whenever it comes; on both stores."""

from typing import Any

import pytest

from cluster25.errors import StateDamagedError
from cluster25.state.document import State
from cluster25.state.held import ResetPendingError
from cluster25.state.lease import acquire, read_state, request_reset
from cluster25.state.store import ConflictError, Store
from tests.clock import SimulatedClock
from tests.state.conftest import OpenStore
from tests.state.runs import LEASE_SECONDS, Write, accept, commit, digests, entries, fail_once, summary


@pytest.fixture
def imported(open_store: OpenStore, clock: SimulatedClock) -> State:
    """A connector that has imported two objects; the last of them is still in a page."""
    held = acquire(open_store(), clock, "run-a", LEASE_SECONDS)
    accept(held, entries(clock, "1"))
    commit(held, clock, tick="t1", companions=["{}"])
    held = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    accept(held, entries(clock, "2"))
    held.registration = "abc"
    return held.release(summary(clock, "partial"))


def assert_starts_over(state: State) -> None:
    assert (state.watermark, state.start, state.floor, state.question) == (None, None, None, None)
    assert state.companions == []
    assert (state.pages, state.ledger, state.last_tick) == (0, b"", None)


def test_without_a_run_it_is_carried_out_at_once(
    open_store: OpenStore, clock: SimulatedClock, imported: State
) -> None:
    assert request_reset(open_store(), clock) is True
    state = read_state(open_store())
    assert_starts_over(state)
    assert (state.runs, state.registration) == (imported.runs, "abc")
    assert state.reset_pending, "a heartbeat may start the import over"
    held = acquire(open_store(), clock, "run-c", LEASE_SECONDS)
    assert not held.state.reset_pending
    assert len(held.ledger) == 0
    assert held.state.fence > imported.fence


def test_before_any_run_there_is_nothing_to_forget(store: Store, clock: SimulatedClock) -> None:
    assert request_reset(store, clock) is True
    assert store.read() is None


def test_the_tick_served_before_a_reset_may_be_served_again(
    open_store: OpenStore, clock: SimulatedClock, imported: State
) -> None:
    request_reset(open_store(), clock)
    acquire(open_store(), clock, "run-c", LEASE_SECONDS, "t1")


@pytest.mark.parametrize("end", [commit, lambda held, clock: held.release(summary(clock, "partial"))])
def test_during_a_run_it_is_carried_out_when_the_run_ends(
    open_store: OpenStore, clock: SimulatedClock, imported: State, end: Write
) -> None:
    held = acquire(open_store(), clock, "run-c", LEASE_SECONDS)
    assert request_reset(open_store(), clock) is False
    assert read_state(open_store()).watermark is not None
    state = end(held, clock)
    assert state == read_state(open_store())
    assert_starts_over(state)
    assert state.lease is None
    assert state.reset_pending
    assert state.last_run == state.runs[0]
    assert len(acquire(open_store(), clock, "run-d", LEASE_SECONDS).ledger) == 0


def test_during_a_run_it_stops_the_run_at_its_next_write(
    open_store: OpenStore, clock: SimulatedClock, imported: State
) -> None:
    held = acquire(open_store(), clock, "run-c", LEASE_SECONDS)
    request_reset(open_store(), clock)
    with pytest.raises(ResetPendingError):
        accept(held, entries(clock, "3"))
    clock.advance(LEASE_SECONDS / 2)
    for write in (
        held.renew,
        lambda: accept(held, entries(clock, "3")),
        lambda: held.rewind(watermark=None, start=None, question=None),
    ):
        with pytest.raises(ResetPendingError):
            write()
    assert_starts_over(held.release(summary(clock, "partial")))


def test_when_the_run_dies_the_next_one_carries_it_out(
    open_store: OpenStore, clock: SimulatedClock, imported: State
) -> None:
    accept(acquire(open_store(), clock, "run-c", LEASE_SECONDS), entries(clock, "3"))
    request_reset(open_store(), clock)
    clock.advance(LEASE_SECONDS)
    held = acquire(open_store(), clock, "run-d", LEASE_SECONDS)
    assert_starts_over(held.state)
    assert len(held.ledger) == 0
    accept(held, entries(clock, "4"))
    commit(held, clock)
    assert len(acquire(open_store(), clock, "run-e", LEASE_SECONDS).ledger) == 1


def test_with_a_write_whose_answer_was_lost_it_is_not_forgotten(
    open_store: OpenStore, clock: SimulatedClock, imported: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = acquire(open_store(), clock, "run-c", LEASE_SECONDS)
    write = held._store.write

    def write_then_reset(*arguments: Any) -> None:
        monkeypatch.undo()
        write(*arguments)
        request_reset(open_store(), clock)
        raise ConflictError

    monkeypatch.setattr(held._store, "write", write_then_reset)
    accept(held, entries(clock, "3"))
    with pytest.raises(ResetPendingError):
        accept(held, entries(clock, "4"))
    assert_starts_over(held.release(summary(clock, "partial")))


def test_an_expired_lease_is_broken_so_that_its_holder_cannot_undo_it(
    open_store: OpenStore, clock: SimulatedClock, imported: State
) -> None:
    slow_clock = SimulatedClock()
    zombie = acquire(open_store(), slow_clock, "run-c", LEASE_SECONDS)
    clock.advance(LEASE_SECONDS)
    assert request_reset(open_store(), clock) is True
    with pytest.raises(Exception, match="no longer holds"):
        commit(zombie, slow_clock)
    assert_starts_over(read_state(open_store()))


def test_ordered_by_opencti_the_run_itself_starts_over(
    open_store: OpenStore, clock: SimulatedClock, imported: State
) -> None:
    held = acquire(open_store(), clock, "run-c", LEASE_SECONDS)
    held.reset()
    assert_starts_over(held.state)
    assert len(held.ledger) == 0
    accept(held, entries(clock, "5"))
    clock.advance(LEASE_SECONDS)
    held = acquire(open_store(), clock, "run-d", LEASE_SECONDS)
    assert [digest in held.ledger for digest in digests(clock, "1", "2", "5")] == [False, False, True]
    commit(held, clock)
    assert len(acquire(open_store(), clock, "run-e", LEASE_SECONDS).ledger) == 1


def test_it_is_asked_for_again_when_others_write_at_the_same_time(
    open_store: OpenStore, clock: SimulatedClock, imported: State
) -> None:
    store = open_store()
    fail_once(store, "write", ConflictError(), applied=False)
    assert request_reset(store, clock) is True
    assert_starts_over(read_state(open_store()))


def test_a_state_that_is_not_understood_is_not_reset_either(store: Store, clock: SimulatedClock) -> None:
    stored = store.write({"version": 99}, None)
    with pytest.raises(StateDamagedError):
        request_reset(store, clock)
    assert store.read() == stored
