"""Who may work: acquiring, contention, expiry and takeover, on both stores."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from cluster25.errors import LeaseHeldError, LeaseLostError, StateDamagedError, StateUnavailableError
from cluster25.state.document import LONGEST_LEASE, State
from cluster25.state.lease import acquire, read_checkpoint, read_state, request_reset
from cluster25.state.store import ConflictError, Store
from tests.clock import SimulatedClock
from tests.state.conftest import OpenStore
from tests.state.runs import (
    LEASE_SECONDS,
    Write,
    accept,
    commit,
    conflict_always,
    digests,
    document_in,
    entries,
    fail_once,
    lease_in,
    summary,
)


def test_the_first_run_finds_an_empty_checkpoint(store: Store, clock: SimulatedClock) -> None:
    held = acquire(store, clock, "run-a", LEASE_SECONDS)
    assert held.state.watermark is None
    assert held.state.floor is None
    assert len(held.ledger) == 0
    stored = read_state(store)
    assert stored == held.state
    assert (stored.fence, lease_in(store).holder) == (1, "run-a")
    assert lease_in(store).until == clock.now() + timedelta(seconds=LEASE_SECONDS)


def test_reading_the_state_changes_nothing(store: Store) -> None:
    assert read_state(store) == State()
    assert store.read() is None


def test_a_held_lease_is_refused_naming_its_holder_and_its_end(
    open_store: OpenStore, clock: SimulatedClock
) -> None:
    acquire(open_store(), clock, "run-a", LEASE_SECONDS)
    clock.advance(LEASE_SECONDS - 1)
    with pytest.raises(LeaseHeldError, match=r"run-a .*2026-03-01T12:09:30"):
        acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    assert lease_in(open_store()).holder == "run-a"


def test_the_fence_grows_with_every_lease(open_store: OpenStore, clock: SimulatedClock) -> None:
    for fence in (1, 2, 3):
        held = acquire(open_store(), clock, f"run-{fence}", LEASE_SECONDS)
        assert held.state.fence == fence
        commit(held, clock)


def test_of_twenty_calls_at_once_one_runs(open_store: OpenStore, clock: SimulatedClock) -> None:
    start = threading.Barrier(20)
    results: list[str | LeaseHeldError] = []

    def call(number: int) -> None:
        store = open_store()
        store.read()
        start.wait()
        try:
            acquire(store, clock, f"run-{number}", LEASE_SECONDS)
            results.append(f"run-{number}")
        except LeaseHeldError as error:
            results.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [result for result in results if isinstance(result, str)]
    assert winners == [lease_in(open_store()).holder]
    assert [type(result) for result in results if result not in winners] == [LeaseHeldError] * 19


def test_calls_that_only_ever_conflict_count_as_lease_held(
    store: Store, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write", conflict_always)
    with pytest.raises(LeaseHeldError, match="at the same time"):
        acquire(store, clock, "run-a", LEASE_SECONDS)
    assert clock.monotonic() < 15


def test_an_expired_lease_is_taken_over_with_what_was_recorded(
    open_store: OpenStore, clock: SimulatedClock
) -> None:
    first = acquire(open_store(), clock, "run-a", LEASE_SECONDS)
    accept(first, entries(clock, "1", "2"))
    clock.advance(LEASE_SECONDS)
    second = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    assert second.state.fence == 2
    assert all(digest in second.ledger for digest in digests(clock, "1", "2"))


def zombie_writes() -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "write",
        [
            lambda held, clock: accept(held, entries(clock, "late")),
            lambda held, clock: held.renew(),
            lambda held, clock: held.reset(),
            lambda held, clock: held.rewind(watermark=None, start=None, question=None),
            commit,
            lambda held, clock: held.release(summary(clock)),
        ],
        ids=["record", "renew", "reset", "rewind", "commit", "release"],
    )


@zombie_writes()
def test_a_run_that_outlived_its_lease_writes_nothing(
    store: Store, clock: SimulatedClock, write: Write
) -> None:
    held = acquire(store, clock, "run-a", LEASE_SECONDS)
    before = store.read()
    clock.advance(LEASE_SECONDS)
    with pytest.raises(LeaseLostError, match="run-a"):
        write(held, clock)
    assert store.read() == before


@zombie_writes()
@pytest.mark.parametrize("takeover", ["is working", "has committed"])
def test_after_a_takeover_a_run_with_a_slow_clock_writes_nothing(
    open_store: OpenStore, clock: SimulatedClock, write: Write, takeover: str
) -> None:
    slow_clock = SimulatedClock()
    zombie = acquire(open_store(), slow_clock, "run-a", LEASE_SECONDS)
    accept(zombie, entries(slow_clock, "1"))
    slow_clock.advance(LEASE_SECONDS / 2)
    clock.advance(LEASE_SECONDS)
    successor = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    accept(successor, entries(clock, "2"))
    if takeover == "has committed":
        commit(successor, clock)
    before = open_store().read()
    with pytest.raises(LeaseLostError):
        write(zombie, slow_clock)
    assert open_store().read() == before
    if takeover == "is working":
        accept(successor, entries(clock, "3"))
        commit(successor, clock)
    assert len(acquire(open_store(), clock, "run-c", LEASE_SECONDS).ledger) >= 2


def test_the_same_tick_is_served_once(store: Store, clock: SimulatedClock) -> None:
    tick = "2026-03-01T12:00:00Z"
    commit(acquire(store, clock, "run-a", LEASE_SECONDS, tick), clock, tick=tick)
    with pytest.raises(LeaseHeldError, match=f"{tick} was already served"):
        acquire(store, clock, "run-b", LEASE_SECONDS, tick)
    acquire(store, clock, "run-c", LEASE_SECONDS, "2026-03-01T12:10:00Z")


def test_a_tick_that_failed_is_served_again(store: Store, clock: SimulatedClock) -> None:
    tick = "2026-03-01T12:00:00Z"
    acquire(store, clock, "run-a", LEASE_SECONDS, tick).release(summary(clock, "failed"))
    acquire(store, clock, "run-b", LEASE_SECONDS, tick)


def test_calls_without_a_tick_are_always_served(store: Store, clock: SimulatedClock) -> None:
    commit(acquire(store, clock, "run-a", LEASE_SECONDS), clock)
    acquire(store, clock, "run-b", LEASE_SECONDS)


def test_acquiring_is_ours_when_only_the_answer_was_lost(store: Store, clock: SimulatedClock) -> None:
    fail_once(store, "write", ConflictError(), applied=True)
    held = acquire(store, clock, "run-a", LEASE_SECONDS)
    assert held.state.fence == 1
    accept(held, entries(clock, "1"))
    commit(held, clock)


def test_a_state_that_cannot_be_reached_is_never_a_first_run(store: Store, clock: SimulatedClock) -> None:
    commit(acquire(store, clock, "run-a", LEASE_SECONDS), clock)
    fail_once(store, "read", StateUnavailableError("gone", "wait"), applied=False)
    with pytest.raises(StateUnavailableError):
        acquire(store, clock, "run-b", LEASE_SECONDS)


def test_damage_is_refused_and_leaves_no_lease_behind(open_store: OpenStore, clock: SimulatedClock) -> None:
    held = acquire(open_store(), clock, "run-a", LEASE_SECONDS)
    accept(held, entries(clock, "1"))
    held.release(summary(clock, "partial"))
    stored = open_store().read()
    damaged = open_store().write({**document_in(open_store()), "pages": 2}, stored)
    for _ in range(2):
        with pytest.raises(StateDamagedError, match="Nothing was changed"):
            acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    assert open_store().read() == damaged


@pytest.mark.parametrize("damage", [{"version": 3}, {"ledger": b"x" * 13}, {"fence": None}])
def test_a_document_that_is_not_understood_is_kept(
    open_store: OpenStore, clock: SimulatedClock, damage: dict[str, Any]
) -> None:
    stored = open_store().write({**State().to_document(), **damage}, None)
    with pytest.raises(StateDamagedError, match="Nothing was changed"):
        acquire(open_store(), clock, "run-a", LEASE_SECONDS)
    with pytest.raises(StateDamagedError, match="Nothing was changed"):
        read_checkpoint(open_store())
    assert open_store().read() == stored


@pytest.mark.parametrize("look", [True, False])
def test_pages_swept_while_they_were_read_are_no_damage(
    open_store: OpenStore, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch, look: bool
) -> None:
    first = acquire(open_store(), clock, "run-a", LEASE_SECONDS)
    accept(first, entries(clock, "1"))
    first.release(summary(clock, "partial"))
    reader = open_store()
    read_pages = reader.read_pages

    def read_after_another_run(generation: int, count: int) -> Iterator[bytes]:
        monkeypatch.undo()
        commit(acquire(open_store(), clock, "run-b", LEASE_SECONDS), clock)
        return read_pages(generation, count)

    monkeypatch.setattr(reader, "read_pages", read_after_another_run)
    if look:
        state, ledger = read_checkpoint(reader)
        assert state.fence == 2
    else:
        held = acquire(reader, clock, "run-c", LEASE_SECONDS)
        assert held.state.fence == 3
        ledger = held.ledger
    assert digests(clock, "1")[0] in ledger


def test_looking_at_the_checkpoint_takes_no_lease(open_store: OpenStore, clock: SimulatedClock) -> None:
    held = acquire(open_store(), clock, "run-a", LEASE_SECONDS)
    accept(held, entries(clock, "1"))
    before = open_store().read()
    state, ledger = read_checkpoint(open_store())
    assert state == held.state
    assert len(ledger) == 1
    assert open_store().read() == before


@pytest.mark.parametrize("freed_by", ["the next run", "a reset"])
def test_a_lease_taken_while_the_clock_was_ahead_blocks_nobody(
    open_store: OpenStore, clock: SimulatedClock, freed_by: str
) -> None:
    clock.advance(LONGEST_LEASE.total_seconds() * 30)
    zombie = acquire(open_store(), clock, "run-a", LEASE_SECONDS)
    clock.advance(-LONGEST_LEASE.total_seconds() * 30)
    if freed_by == "a reset":
        assert request_reset(open_store(), clock)
    held = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    assert held.state.fence > zombie.state.fence
    with pytest.raises(LeaseLostError):
        zombie.record(entries(clock, "1"))
