"""The contract of a store, the same for both."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from cluster25.errors import StateDamagedError
from cluster25.state.store import REJECTED_CONTENT_BYTES, ConflictError, Page, Rejected, Store
from tests.clock import SimulatedClock
from tests.state.conftest import OpenStore
from tests.state.runs import document_in

DOCUMENT = {"number": 1, "text": "ü\n", "nothing": None, "list": [{"a": True}], "bytes": b"\0\xff", "gone": 1}


def rejected(
    clock: SimulatedClock, name: str = "a", content: bytes = b"{}", run_id: str = "run-a"
) -> Rejected:
    return Rejected.because(
        "no pattern", object_id=f"indicator--{name}", content=content, run_id=run_id, rejected_at=clock.now()
    )


def test_nothing_is_stored_at_first(store: Store) -> None:
    assert store.read() is None


def test_what_was_written_is_read_by_others(open_store: OpenStore) -> None:
    written = open_store().write(DOCUMENT, None)
    assert open_store().read() == written
    assert written.document == DOCUMENT


def test_a_document_is_created_once(open_store: OpenStore) -> None:
    open_store().write(DOCUMENT, None)
    with pytest.raises(ConflictError):
        open_store().write({"number": 2}, None)
    assert document_in(open_store()) == DOCUMENT


def test_a_write_replaces_changes_and_removes_fields(open_store: OpenStore) -> None:
    store = open_store()
    first = store.write(DOCUMENT, None)
    after = {"number": 2, "text": "ü\n", "nothing": 0, "list": [], "bytes": b"", "new": b"x"}
    second = store.write(after, first)
    assert open_store().read() == second
    assert second.document == after


def test_a_write_from_an_old_revision_conflicts_and_changes_nothing(open_store: OpenStore) -> None:
    first = open_store().write(DOCUMENT, None)
    second = open_store().write({**DOCUMENT, "number": 2}, first)
    with pytest.raises(ConflictError):
        open_store().write({**DOCUMENT, "number": 3}, first, Page(0, 0, b"page"))
    assert open_store().read() == second
    with pytest.raises(StateDamagedError):
        list(open_store().read_pages(0, 1))


def test_a_write_that_changes_nothing_still_checks_the_revision(store: Store) -> None:
    first = store.write(DOCUMENT, None)
    second = store.write(DOCUMENT, first)
    assert document_in(store) == DOCUMENT
    third = store.write({**DOCUMENT, "number": 2}, second)
    with pytest.raises(ConflictError):
        store.write(third.document, first)


def test_a_write_conflicts_when_the_document_was_deleted(
    open_store: OpenStore, delete_document: Callable[[], None]
) -> None:
    first = open_store().write(DOCUMENT, None)
    delete_document()
    with pytest.raises(ConflictError):
        open_store().write({**DOCUMENT, "number": 2}, first)
    assert open_store().read() is None


def test_of_many_writes_from_one_revision_one_succeeds(open_store: OpenStore) -> None:
    first = open_store().write({"number": 0}, None)
    start = threading.Barrier(10)
    results: list[dict[str, Any] | None] = []

    def write(number: int) -> None:
        store = open_store()
        store.read()
        start.wait()
        try:
            results.append(store.write({"number": number}, first).document)
        except ConflictError:
            results.append(None)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 10
    [written] = [result for result in results if result is not None]
    assert document_in(open_store()) == written


def test_pages_are_read_in_order_however_many(store: Store) -> None:
    for number in range(40):
        store.write_page(Page(3, number, b"%d" % number))
    assert list(store.read_pages(3, 40)) == [b"%d" % number for number in range(40)]
    assert list(store.read_pages(3, 2)) == [b"0", b"1"]
    assert list(store.read_pages(3, 0)) == []


def test_a_page_comes_with_the_document_or_replaces_a_forgotten_one(store: Store) -> None:
    store.write_page(Page(0, 0, b"forgotten"))
    first = store.write({"pages": 1}, None, Page(0, 0, b"counted"))
    store.write({"pages": 2}, first, Page(0, 1, b"next"))
    assert list(store.read_pages(0, 2)) == [b"counted", b"next"]


@pytest.mark.parametrize("missing", [0, 17, 19])
def test_a_missing_page_is_damage(store: Store, missing: int) -> None:
    for number in range(20):
        if number != missing:
            store.write_page(Page(1, number, b"x"))
    with pytest.raises(StateDamagedError, match="Nothing was changed"):
        list(store.read_pages(1, 20))


def test_sweeping_deletes_earlier_generations_only(store: Store) -> None:
    for generation in (1, 2, 10):
        for number in range(3):
            store.write_page(Page(generation, number, b"x"))
    store.sweep_pages(10)
    assert list(store.read_pages(10, 3)) == [b"x"] * 3
    for generation in (1, 2):
        with pytest.raises(StateDamagedError):
            list(store.read_pages(generation, 1))


def test_connectors_do_not_see_each_other(open_store: OpenStore, open_other_connector: OpenStore) -> None:
    open_store().write(DOCUMENT, None, Page(0, 0, b"x"))
    other = open_other_connector()
    assert other.read() is None
    other.write({"number": 9}, None)
    other.sweep_pages(5)
    assert document_in(open_store()) == DOCUMENT
    assert list(open_store().read_pages(0, 1)) == [b"x"]


def test_rejected_objects_are_read_newest_first_until_they_expire(
    store: Store, clock: SimulatedClock
) -> None:
    older = rejected(clock, "older")
    clock.advance(60)
    newer = rejected(clock, "newer", content=b"\xff\0")
    store.add_rejected([newer, older])
    assert store.read_rejected(clock.now(), 10) == [newer, older]
    assert store.read_rejected(clock.now(), 1) == [newer]
    clock.advance(timedelta(days=30).total_seconds() - 30)
    assert store.read_rejected(clock.now(), 10) == [newer]
    clock.advance(60)
    assert store.read_rejected(clock.now(), 10) == []


def test_an_object_rejected_again_is_kept_once_as_of_the_latest_run(
    store: Store, clock: SimulatedClock
) -> None:
    store.add_rejected([rejected(clock), rejected(clock, content=b"[]")])
    clock.advance(1)
    again = rejected(clock, run_id="run-b")
    store.add_rejected([again])
    kept = store.read_rejected(clock.now(), 10)
    assert [(one.run_id, one.content) for one in kept] == [("run-b", b"{}"), ("run-a", b"[]")]
    assert kept[0].rejected_at == again.rejected_at


def test_any_number_of_the_largest_rejected_objects_can_be_kept(store: Store, clock: SimulatedClock) -> None:
    huge = [rejected(clock, str(number), content=b"x" * 2**21) for number in range(12)]
    store.add_rejected(huge)
    kept = store.read_rejected(clock.now(), 20)
    assert len(kept) == 12
    assert {len(one.content) for one in kept} == {REJECTED_CONTENT_BYTES}


def test_many_small_rejected_objects_are_kept_and_removed_again(store: Store, clock: SimulatedClock) -> None:
    store.add_rejected([rejected(clock, str(number)) for number in range(120)])
    kept = store.read_rejected(clock.now(), 200)
    assert len({one.object_id for one in kept}) == 120
    store.remove_rejected(kept[1:])
    assert store.read_rejected(clock.now(), 200) == kept[:1]


def test_text_that_is_no_unicode_does_not_stop_an_object_from_being_kept(
    store: Store, clock: SimulatedClock
) -> None:
    store.add_rejected([rejected(clock, "\ud800" + "x" * 10_000)])
    [kept] = store.read_rejected(clock.now(), 10)
    assert kept.object_id.startswith("indicator--?xxx")
    assert len(kept.object_id) == 500
