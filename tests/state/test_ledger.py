"""The ledger against a dict, and what it costs."""

import gc
import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster25.state.ledger import ENTRY_BYTES, TIME_UNIT_SECONDS, Ledger, digest_of, entry_of

# Few different bytes, so that digests repeat and also occur across the border of two entries.
digests = st.binary(min_size=8, max_size=8) | st.text("\0\1", min_size=8, max_size=8).map(str.encode)
times = st.integers(0, 2**32 - 1)


def _units(seconds: int) -> int:
    return seconds // TIME_UNIT_SECONDS


def ledger_of(count: int) -> Ledger:
    ledger = Ledger()
    for number in range(count):
        ledger.add(digest_of(f"indicator--{number}", "2026-03-01T12:00:00Z"), 1_770_000_000 + 256 * number)
    return ledger


@given(st.lists(st.tuples(digests, times)), st.lists(digests), times)
def test_it_behaves_like_a_dict(added: list[tuple[bytes, int]], others: list[bytes], floor: int) -> None:
    ledger, model = Ledger(), {}
    for digest, seconds in added:
        ledger.add(digest, seconds)
        model[digest] = seconds
    assert len(ledger) == len(model)
    assert all(digest in ledger for digest in model)
    assert [digest in ledger for digest in others] == [digest in model for digest in others]

    ledger.prune(floor)
    unit = _units(floor)
    model = {digest: seconds for digest, seconds in model.items() if _units(seconds) >= unit}
    assert len(ledger) == len(model)
    assert [digest in ledger for digest, _ in added] == [digest in model for digest, _ in added]


@given(st.lists(st.tuples(digests, times), max_size=300), st.integers(ENTRY_BYTES, 200))
def test_packing_and_unpacking_keeps_digests_and_times(
    added: list[tuple[bytes, int]], page_bytes: int
) -> None:
    ledger = Ledger()
    for digest, seconds in added:
        ledger.add(digest, seconds)
    pages = list(ledger.pack(page_bytes))
    assert all(0 < len(page) <= page_bytes and len(page) % ENTRY_BYTES == 0 for page in pages)
    packed = b"".join(pages)
    stored = {packed[at : at + ENTRY_BYTES] for at in range(0, len(packed), ENTRY_BYTES)}
    assert stored == {entry_of(digest, seconds) for digest, seconds in dict(added).items()}
    assert b"".join(Ledger.unpack(pages).pack(page_bytes)) == packed


def test_a_large_ledger_forgets_what_is_pruned_and_keeps_the_rest() -> None:
    ledger = ledger_of(20_000)
    ledger.prune(1_770_000_000 + 256 * 19_900)
    assert len(ledger) == 100
    for number in (0, 19_899, 19_900, 19_999):
        digest = digest_of(f"indicator--{number}", "2026-03-01T12:00:00Z")
        assert (digest in ledger) == (number >= 19_900)
    for number in range(20_000, 40_000):
        ledger.add(digest_of(f"indicator--{number}", "2026-03-01T12:00:00Z"), 1_770_000_000 + 256 * number)
    assert len(ledger) == 20_100


def test_an_object_that_was_modified_is_a_new_one() -> None:
    ledger = Ledger()
    ledger.add(digest_of("indicator--1", "2026-03-01T12:00:00Z"), 1)
    assert digest_of("indicator--1", "2026-03-01T12:00:00Z") in ledger
    assert digest_of("indicator--1", "2026-03-01T12:00:01Z") not in ledger
    assert digest_of("indicator--2", "2026-03-01T12:00:00Z") not in ledger


def test_an_object_is_known_in_whatever_version_it_was_accepted() -> None:
    ledger = ledger_of(1000)
    assert all(ledger.knows(f"indicator--{number}") for number in range(1000))
    assert not any(ledger.knows(f"malware--{number}") for number in range(1000))


def test_objects_whose_ids_agree_in_their_half_still_differ() -> None:
    of_half: dict[bytes, bytes] = {}
    collisions = 0
    for number in range(300_000):
        digest = digest_of(f"indicator--{number}", "2026-03-01T12:00:00Z")
        other = of_half.setdefault(digest[:4], digest)
        if other is not digest:
            collisions += 1
            assert other != digest
    assert collisions


def test_id_and_version_are_not_confused() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")


def test_many_new_entries_at_once_are_remembered_like_one_by_one() -> None:
    one_by_one, at_once = Ledger(), Ledger()
    for begin in range(0, 3000, 300):
        times = {
            digest_of(f"indicator--{number}", "1"): 1000 * number for number in range(begin, begin + 300)
        }
        at_once.add_new(entry_of(digest, seconds) for digest, seconds in times.items())
        for digest, seconds in times.items():
            one_by_one.add(digest, seconds)
    assert len(at_once) == len(one_by_one) == 3000
    assert sorted(b"".join(at_once.pack(1200))) == sorted(b"".join(one_by_one.pack(1200)))
    assert all(digest_of(f"indicator--{number}", "1") in at_once for number in range(3000))
    at_once.prune(2_000_000)
    assert len(at_once) == 1000


def test_times_that_do_not_fit_become_the_nearest_that_do() -> None:
    assert entry_of(b"12345678", -1000)[8:] == bytes(3)
    assert entry_of(b"12345678", 2**32 - 1)[8:] == entry_of(b"12345678", 2**40)[8:] == b"\xff" * 3


@given(times, times)
def test_nothing_is_forgotten_too_early_and_nothing_kept_for_long(seconds: int, floor: int) -> None:
    ledger = Ledger()
    ledger.add(b"12345678", seconds)
    ledger.prune(floor)
    if seconds >= floor:
        assert len(ledger) == 1
    elif seconds < floor - TIME_UNIT_SECONDS:
        assert len(ledger) == 0


def test_a_page_cut_in_the_middle_of_an_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        Ledger.unpack([bytes(ENTRY_BYTES + 1)])


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_memory_is_less_than_14_bytes_an_entry(count: int) -> None:
    random = Random(1)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        ledger = Ledger()
        for _ in range(count):
            ledger.add(random.randbytes(8), 1_770_000_000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ledger) == count
    assert (after - before) / count < 14


def test_an_empty_ledger_is_small() -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        ledger = Ledger()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ledger) == 0
    assert after - before < 1024
