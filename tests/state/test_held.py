"""What a run may do to the checkpoint, on both stores."""

from datetime import timedelta

import pytest

from cluster25.errors import StateUnavailableError
from cluster25.state.document import INLINE_LEDGER_BYTES, Question
from cluster25.state.held import HeldLease
from cluster25.state.lease import acquire, read_state, request_reset
from cluster25.state.ledger import ENTRY_BYTES, Ledger, entry_of
from cluster25.state.store import ConflictError, Page
from tests.clock import SimulatedClock
from tests.state.conftest import OpenStore
from tests.state.runs import (
    LEASE_SECONDS,
    OVERLAP,
    QUESTION,
    Write,
    accept,
    commit,
    conflict_always,
    digests,
    entries,
    fail_once,
    lease_in,
    summary,
)


@pytest.fixture
def held(open_store: OpenStore, clock: SimulatedClock) -> HeldLease:
    return acquire(open_store(), clock, "run-a", LEASE_SECONDS)


def test_a_recorded_chunk_survives_the_run_that_is_killed(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    accept(held, entries(clock, "1", "2"))
    accept(held, entries(clock, "3"))
    assert len(held.ledger) == 3
    clock.advance(LEASE_SECONDS)
    found = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    assert len(found.ledger) == 3
    assert all(digest in found.ledger for digest in digests(clock, "1", "2", "3"))


def test_a_chunk_that_could_not_be_recorded_can_be_recorded_later(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    fail_once(held._store, "write", StateUnavailableError("gone", "wait"), applied=False)
    with pytest.raises(StateUnavailableError):
        held.record(entries(clock, "1"))
    held.record(entries(clock, "2"))
    clock.advance(LEASE_SECONDS)
    found = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    assert [digest in found.ledger for digest in digests(clock, "1", "2")] == [False, True]


def test_recording_renews_the_lease(open_store: OpenStore, clock: SimulatedClock, held: HeldLease) -> None:
    for _ in range(5):
        clock.advance(LEASE_SECONDS - 1)
        accept(held, entries(clock, "1"))
    assert lease_in(open_store()).until == clock.now() + timedelta(seconds=LEASE_SECONDS)


def test_the_lease_is_renewed_once_a_third_is_used(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    before = read_state(open_store())
    clock.advance(LEASE_SECONDS / 3)
    held.renew()
    assert read_state(open_store()) == before
    clock.advance(1)
    held.renew()
    assert lease_in(open_store()).until == clock.now() + timedelta(seconds=LEASE_SECONDS)


def test_a_commit_moves_the_watermark_and_gives_the_lease_back(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    started = clock.now()
    accept(held, entries(clock, "1"))
    clock.advance(60)
    state = commit(
        held,
        clock,
        started,
        companions=['{"type":"identity"}'],
        tick="2026-03-01T12:00:00Z",
        summary=summary(clock),
    )
    assert state == read_state(open_store())
    assert (state.watermark, state.floor, state.question) == (started, started - OVERLAP, QUESTION)
    assert state.companions == ['{"type":"identity"}']
    assert state.last_tick == "2026-03-01T12:00:00Z"
    assert (state.last_run, state.runs) == (summary(clock), [summary(clock)])
    found = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    assert len(found.ledger) == 1


def test_a_commit_forgets_what_lies_before_the_floor(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    accept(held, entries(clock, "old"))
    clock.advance(300)
    accept(held, entries(clock, "new"))
    commit(held, clock, floor=clock.now() + timedelta(milliseconds=900))
    found = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    assert digests(clock, "old")[0] not in found.ledger
    assert digests(clock, "new")[0] in found.ledger


def test_times_changed_in_memory_are_stored_by_the_commit(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    accept(held, entries(clock, "seen-again", "seen-once"))
    clock.advance(3000)
    held = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    held.ledger.add(digests(clock, "seen-again")[0], int(clock.now().timestamp()))
    commit(held, clock)
    found = acquire(open_store(), clock, "run-c", LEASE_SECONDS)
    assert len(found.ledger) == 1
    assert digests(clock, "seen-again")[0] in found.ledger


def test_the_watermark_never_moves_back(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    watermark = clock.now()
    commit(held, clock, watermark)
    held = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    before = open_store().read()
    with pytest.raises(ValueError, match="cannot move back"):
        commit(held, clock, watermark - timedelta(microseconds=1))
    assert open_store().read() == before


def test_a_release_keeps_watermark_and_chunks(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    commit(held, clock)
    before = read_state(open_store())
    held = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    accept(held, entries(clock, "1"))
    state = held.release(summary(clock, "partial"), companions=["{}"], tick="t")
    assert state == read_state(open_store())
    assert state.lease is None
    assert (state.watermark, state.floor, state.question) == (before.watermark, before.floor, QUESTION)
    assert (state.companions, state.last_tick, state.last_run) == (["{}"], "t", summary(clock, "partial"))
    found = acquire(open_store(), clock, "run-c", LEASE_SECONDS)
    assert len(found.ledger) == 1


def test_what_is_registered_is_stored_by_the_next_write(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    held.registration = "abc"
    held.release(summary(clock, "failed"))
    assert acquire(open_store(), clock, "run-b", LEASE_SECONDS).registration == "abc"


def test_another_question_rewinds_but_forgets_nothing(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    accept(held, entries(clock, "1"))
    commit(held, clock)
    watermark, week_ago = clock.now(), clock.now() - timedelta(days=7)
    narrower = Question(base_url="https://x", types=["url"])
    held = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    held.rewind(watermark=watermark, start=week_ago, question=narrower)
    clock.advance(LEASE_SECONDS)
    held = acquire(open_store(), clock, "run-c", LEASE_SECONDS)
    found = held.state
    assert (found.watermark, found.start, found.question) == (watermark, week_ago, narrower)
    assert found.floor is None
    assert len(held.ledger) == 1
    assert commit(held, clock).start is None


def test_while_a_backfill_is_under_way_the_ledger_goes_back_as_far(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    since = clock.now() - timedelta(days=90)
    [digest] = digests(clock, "old")
    old = entry_of(digest, int(since.timestamp()))
    held.begin_backfill(since, ["ipv4"])
    accept(held, [old])
    held.release(summary(clock, "partial"))

    clock.advance(600)
    regular = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    state = commit(regular, clock)
    assert state.backfill is not None
    assert (state.backfill.since, state.floor) == (since, clock.now() - OVERLAP)
    assert digest in acquire(open_store(), clock, "run-c", LEASE_SECONDS).ledger


@pytest.mark.parametrize("end", ["done", "given up"])
def test_after_a_backfill_the_ledger_is_pruned_as_usual(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease, end: str
) -> None:
    since = clock.now() - timedelta(days=90)
    held.begin_backfill(since, ["ipv4"])
    accept(held, entries(clock, "old"))
    held.release(summary(clock), backfill_done=(since, ["ipv4"]) if end == "done" else None)
    clock.advance(timedelta(days=8 if end == "given up" else 1).total_seconds())
    regular = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    assert commit(regular, clock).backfill is None
    assert len(acquire(open_store(), clock, "run-c", LEASE_SECONDS).ledger) == 0


@pytest.mark.parametrize("days", [1, 90])
def test_another_backfill_takes_no_protection_from_one_that_goes_back_as_far(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease, days: int
) -> None:
    long_ago, later = clock.now() - timedelta(days=90), clock.now() - timedelta(days=days)
    held.begin_backfill(long_ago, ["ipv4"])
    held.release(summary(clock, "partial"))
    other = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    other.begin_backfill(later, ["url"])
    other.release(summary(clock), backfill_done=(later, ["url"]))
    backfill = read_state(open_store()).backfill
    assert backfill is not None
    assert (backfill.since, backfill.types) == (long_ago, ["ipv4"])
    again = acquire(open_store(), clock, "run-c", LEASE_SECONDS)
    again.begin_backfill(long_ago, ["ipv4"])
    again.release(summary(clock), backfill_done=(long_ago, ["ipv4"]))
    assert read_state(open_store()).backfill is None


WRITES = [
    pytest.param(lambda held, clock: accept(held, entries(clock, "1")), id="record"),
    pytest.param(lambda held, clock: held.rewind(watermark=None, start=None, question=None), id="rewind"),
    pytest.param(lambda held, clock: held.reset(), id="reset"),
    pytest.param(commit, id="commit"),
    pytest.param(lambda held, clock: held.release(summary(clock, "partial")), id="release"),
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("applied", [True, False])
def test_a_write_that_conflicts_while_the_fence_is_ours_is_done_once(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease, write: Write, applied: bool
) -> None:
    fail_once(held._store, "write", ConflictError(), applied=applied)
    write(held, clock)
    state = read_state(open_store())
    assert state == held.state
    assert len(state.runs) <= 1
    if state.lease is None:
        return
    assert state.pages == len(held.ledger)
    accept(held, entries(clock, "2"))
    commit(held, clock)


def test_a_chunk_recorded_again_because_the_answer_was_lost_counts_once(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    fail_once(held._store, "write", StateUnavailableError("cut", "wait"), applied=True)
    with pytest.raises(StateUnavailableError):
        accept(held, entries(clock, "1"))
    accept(held, entries(clock, "1"))
    commit(held, clock)
    assert len(acquire(open_store(), clock, "run-b", LEASE_SECONDS).ledger) == 1


def test_giving_back_after_a_commit_whose_answer_was_lost_keeps_the_commit(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    fail_once(held._store, "write", StateUnavailableError("cut", "wait"), applied=True)
    with pytest.raises(StateUnavailableError):
        commit(held, clock)
    assert held.release(summary(clock, "failed")).watermark == clock.now()
    assert read_state(open_store()).lease is None


def test_a_store_that_only_ever_conflicts_is_unavailable(
    held: HeldLease, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held._store, "write", conflict_always)
    with pytest.raises(StateUnavailableError):
        accept(held, entries(clock, "1"))
    assert clock.monotonic() < 15


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""


def large(count: int) -> Ledger:
    ledger = Ledger()
    for number in range(count):
        ledger.add(number.to_bytes(8, "little"), 2**31)
    return ledger


INLINE_ENTRIES = INLINE_LEDGER_BYTES // ENTRY_BYTES


@pytest.mark.parametrize("method", ["write_page", "write", "sweep_pages"])
@pytest.mark.parametrize("applied", [True, False])
def test_a_commit_killed_between_its_writes_is_whole_or_not_at_all(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease, method: str, applied: bool
) -> None:
    accept(held, entries(clock, "before"))
    held.ledger = large(INLINE_ENTRIES + 2)
    fail_once(held._store, method, Killed(), applied=applied)
    with pytest.raises(Killed):
        commit(held, clock)
    committed = method == "sweep_pages" or (method == "write" and applied)
    clock.advance(LEASE_SECONDS)
    found = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    assert (found.state.watermark is not None) == committed
    assert len(found.ledger) == (INLINE_ENTRIES + 2 if committed else 1)
    accept(found, entries(clock, "after"))
    commit(found, clock)
    again = acquire(open_store(), clock, "run-c", LEASE_SECONDS)
    assert len(again.ledger) == (INLINE_ENTRIES + 3 if committed else 2)


def test_pages_a_zombie_writes_do_no_harm(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie = held
    zombie.ledger = large(INLINE_ENTRIES + 2)
    write_page = zombie._store.write_page

    def write_page_late(page: Page) -> None:
        clock.advance(LEASE_SECONDS)
        successor = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
        successor.ledger = large(INLINE_ENTRIES + 5)
        commit(successor, clock)
        write_page(page)

    monkeypatch.setattr(zombie._store, "write_page", write_page_late)
    with pytest.raises(Exception, match="no longer holds"):
        commit(zombie, clock)
    assert len(acquire(open_store(), clock, "run-c", LEASE_SECONDS).ledger) == INLINE_ENTRIES + 5


def test_pages_that_count_no_longer_are_swept(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    accept(held, entries(clock, "1"))
    commit(held, clock)
    with pytest.raises(Exception, match=r"missing|lacks"):
        list(open_store().read_pages(0, 1))


def test_a_sweep_that_fails_does_not_fail_the_run(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    accept(held, entries(clock, "1"))
    fail_once(held._store, "sweep_pages", StateUnavailableError("gone", "wait"), applied=False)
    assert commit(held, clock).watermark == clock.now()
    held = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    accept(held, entries(clock, "2"))
    commit(held, clock)
    with pytest.raises(Exception, match=r"missing|lacks"):
        list(open_store().read_pages(0, 1))


def test_sweeping_spares_what_a_later_run_records_after_a_reset(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.record(entries(clock, "1"))
    request_reset(open_store(), clock)
    sweep_pages = held._store.sweep_pages

    def sweep_late(before_generation: int) -> None:
        acquire(open_store(), clock, "run-b", LEASE_SECONDS).record(entries(clock, "2"))
        sweep_pages(before_generation)

    monkeypatch.setattr(held._store, "sweep_pages", sweep_late)
    commit(held, clock)
    clock.advance(LEASE_SECONDS)
    acquire(open_store(), clock, "run-c", LEASE_SECONDS)


@pytest.mark.slow
def test_a_million_objects_are_recorded_committed_and_found_again(
    open_store: OpenStore, clock: SimulatedClock, held: HeldLease
) -> None:
    for chunk in range(500):
        first = chunk * 2000
        accept(held, [entry_of(number.to_bytes(8, "little"), 2**31) for number in range(first, first + 2000)])
    resumed = acquire(open_store(), clock, "run-a", LEASE_SECONDS)
    assert len(resumed.ledger) == 1_000_000
    commit(resumed, clock)
    found = acquire(open_store(), clock, "run-b", LEASE_SECONDS)
    assert len(found.ledger) == 1_000_000
    assert all(number.to_bytes(8, "little") in found.ledger for number in range(0, 1_000_000, 997))
    assert len(found.state.ledger) <= INLINE_LEDGER_BYTES
