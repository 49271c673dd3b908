"""Chunks out of objects in any order: nothing lost, nothing twice, no reference to what is not there."""

import json
import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster25 import references
from cluster25.chunks import Chunk, Companions
from cluster25.references import PLATFORM_MARKINGS, Assembler
from cluster25.stix import COMPANION_TYPES, REQUIRED_REFERENCES, Item, unescape
from local.judgement import judge_bundles, references_of, split_bundle
from tests.objects import AUTHOR, PLATFORM_MARKING, content_of, item_of, object_id, read

KINDS = ("indicator", "malware", "report", "relationship", "identity", "marking-definition")


@dataclass
class Delivery:
    """What came of a stream, pushed chunk by chunk as soon as each is full."""

    max_objects: int = 1_000
    known: frozenset[str] = frozenset()
    companions: Companions = field(default_factory=lambda: Companions([AUTHOR]))
    chunks: list[Chunk] = field(default_factory=list)
    rejected: list[tuple[Item, str]] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.accepted |= self.known
        self.assembler = Assembler(
            self.companions,
            self.accepted.__contains__,
            author_id=AUTHOR.object_id,
            max_objects=self.max_objects,
            max_bytes=1 << 20,
        )

    def push(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self.chunks.append(chunk)
            self.accepted |= {item.object_id for item in chunk.items}
            self.assembler.accept(chunk)

    def add(self, item: Item) -> None:
        self.assembler.add(item)
        self.push(self.assembler.take_full())

    def finish(self) -> None:
        self.assembler.finish()
        self.push(self.assembler.take_full())

    def of(self, items: Iterable[Item]) -> "Delivery":
        for item in items:
            self.add(item)
        self.finish()
        self.rejected += self.assembler.take_rejected()
        return self

    @property
    def objects(self) -> list[list[dict[str, Any]]]:
        """The objects of every bundle."""
        return [json.loads(unescape(b"".join(chunk.escaped_bundle())))["objects"] for chunk in self.chunks]

    @property
    def ids(self) -> list[list[str]]:
        """The ids in every bundle."""
        return [[found["id"] for found in objects] for objects in self.objects]

    def latest(self, wanted: str) -> dict[str, Any]:
        """An object as it was pushed last."""
        return [found for objects in self.objects for found in objects if found["id"] == wanted][-1]


def deliver(*contents: dict[str, Any], max_objects: int = 1_000, known: Iterable[str] = ()) -> Delivery:
    return Delivery(max_objects, frozenset(known)).of(map(item_of, contents))


@st.composite
def streams(draw: st.DrawFn, *, circles: bool) -> list[dict[str, Any]]:
    """Objects that refer to each other, to the platform's and to what never comes, in any order.

    Without circles there are only references to objects of a lower number, and only one version of each. Only
    identities come in several: circles that a later version of another object closes are not looked for.
    """
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=14))
    ids = [object_id(kind, number) for number, kind in enumerate(kinds)]
    absent = [
        PLATFORM_MARKING,
        *(object_id(kind, 99) for kind in ("malware", "identity", "marking-definition")),
    ]
    contents = []
    for number, kind in enumerate(kinds):
        others = [*(ids if circles else ids[:number]), *absent]
        if kind in COMPANION_TYPES:  # they refer to nothing else
            others = [ref for ref in others if ref.startswith(tuple(COMPANION_TYPES))]
        least = 2 if kind == "relationship" else int(kind == "report")
        for version in range(draw(st.integers(1, 3)) if circles and kind == "identity" else 1):
            refs = draw(st.lists(st.sampled_from(others), min_size=least, max_size=4, unique=True))
            if kind == "relationship":
                refs = [ref for ref in refs if ref != ids[number]][:2] or absent[:2]
                refs = refs if len(refs) == 2 else [*refs, absent[1]]
            if kind == "report" and not [ref for ref in refs if not ref.startswith(("identity", "marking"))]:
                refs.append(absent[1])
            contents.append(content_of(kind, number, refs, version))
    return draw(st.permutations([content for content in contents if not is_of_itself(content)]))


def is_of_itself(content: dict[str, Any]) -> bool:
    """Whether it would be rejected before it came here."""
    return content.get("object_refs") == [content["id"]] and content["type"] == "report"


def check_sound(delivery: Delivery, given_items: list[Item], max_objects: int) -> None:
    """What holds for every stream."""
    expected = sorted(item.digest for item in given_items if item.object_type not in COMPANION_TYPES)
    sent = [item.digest for chunk in delivery.chunks for item in chunk.items]
    rejected = [item for item, _ in delivery.rejected]
    assert sorted([*sent, *(item.digest for item in rejected)]) == expected
    assert all(item.object_type in REQUIRED_REFERENCES for item in rejected)

    there = set(PLATFORM_MARKINGS) | delivery.known
    for chunk, objects in zip(delivery.chunks, delivery.objects, strict=True):
        here = {found["id"] for found in objects}
        there |= here
        assert len(here) == len(objects) > 0
        assert len(objects) <= max_objects or len(chunk.items) <= 1
        for found in objects:
            for _, ref in references_of(found):
                assert ref in there, f"{found['id']} came before {ref}"
                assert ref in here | PLATFORM_MARKINGS or not ref.startswith(
                    ("identity", "marking-definition")
                )
        expectations, incompatible = split_bundle({"type": "bundle", "id": "x", "objects": objects})
        assert (expectations, incompatible) == (len(objects), [])


def check_newest_companions(delivery: Delivery, given_items: list[Item]) -> None:
    newest = {}
    for item in sorted(given_items, key=lambda item: item.modified.timestamp() if item.modified else 0):
        newest[item.object_id] = item
    for item in newest.values():
        if item.object_type in COMPANION_TYPES:
            assert delivery.latest(item.object_id)["name"] == json.loads(unescape(item.escaped))["name"]


@given(streams(circles=True), st.integers(1, 20), st.sampled_from([0, 6_000, 8 << 20]))
def test_any_stream_makes_closed_chunks_in_order_and_loses_nothing(
    contents: list[dict[str, Any]], max_objects: int, held_back_bytes: int
) -> None:
    items = [item_of(content) for content in contents]
    with mock.patch.object(references, "HELD_BACK_BYTES", held_back_bytes):
        delivery = Delivery(max_objects).of(items)
    check_sound(delivery, items, max_objects)
    check_newest_companions(delivery, items)


@given(streams(circles=False), st.integers(1, 20))
def test_without_circles_only_references_to_what_never_came_are_dropped(
    contents: list[dict[str, Any]], max_objects: int
) -> None:
    items = [item_of(content) for content in contents]
    delivery = Delivery(max_objects).of(items)
    check_sound(delivery, items, max_objects)
    lost = {item.object_id for item, _ in delivery.rejected}
    there = ({item.object_id for item in items} | PLATFORM_MARKINGS) - lost
    dropped = 0
    for item in items:
        if item.object_id not in lost:
            wanted = {ref for _, ref in references_of(json.loads(unescape(item.escaped)))}
            kept = {ref for _, ref in references_of(delivery.latest(item.object_id))} - {AUTHOR.object_id}
            assert kept == (wanted & there) - {AUTHOR.object_id}
            dropped += len(wanted - there - {AUTHOR.object_id})
    assert delivery.assembler.dropped_references == dropped


def test_authors_and_markings_that_come_last_still_come_first_in_every_chunk() -> None:
    author, marking = object_id("identity", 1), object_id("marking-definition", 2)
    indicators = [content_of("indicator", number, [author, marking]) for number in range(10, 20)]
    delivery = deliver(
        *indicators,
        content_of("marking-definition", 2, [author]),
        content_of("identity", 1, []),
        max_objects=5,
    )
    assert [set(ids[:2]) for ids in delivery.ids] == [{author, marking}] * 4
    assert [len(chunk.items) for chunk in delivery.chunks] == [3, 3, 3, 1]
    assert judge_bundles({"type": "bundle", "objects": objects} for objects in delivery.objects).sound


def test_a_marking_travels_along_even_where_it_refers_to_no_more_than_its_neighbours() -> None:
    author = AUTHOR.object_id
    marking = content_of("marking-definition", 2, [author])
    delivery = deliver(
        content_of("malware", 1, [author]),
        marking,
        *(content_of("indicator", number, [author, marking["id"]]) for number in range(10, 15)),
        max_objects=4,
    )
    assert [item.object_type for chunk in delivery.chunks for item in chunk.items].count("indicator") == 5
    assert all(item.object_type not in COMPANION_TYPES for chunk in delivery.chunks for item in chunk.items)
    assert all(marking["id"] in ids for ids in delivery.ids[1:])


def test_a_relationship_waits_for_both_its_ends_and_goes_at_once_where_they_are_on_the_platform() -> None:
    ends = object_id("indicator", 1), object_id("malware", 2)
    relationship = content_of("relationship", 3, ends)
    waiting = deliver(relationship, content_of("malware", 2, []), content_of("indicator", 1, []))
    assert [item.object_type for item in waiting.chunks[0].items] == ["malware", "indicator", "relationship"]
    assert deliver(relationship, known=ends).ids == [[AUTHOR.object_id, relationship["id"]]]


def test_an_end_that_the_stream_shows_but_is_not_sent_again_counts_as_shown() -> None:
    delivery = Delivery(known=frozenset([object_id("malware", 2)]))
    relationship = content_of("relationship", 3, [object_id("indicator", 1), object_id("malware", 2)])
    delivery.assembler.add(item_of(relationship))
    assert delivery.assembler.take_full() == []
    delivery.assembler.show(object_id("indicator", 1))
    delivery.finish()
    assert delivery.latest(relationship["id"])["source_ref"] == object_id("indicator", 1)


def test_a_relationship_whose_end_never_came_is_rejected_with_the_end_in_the_reason() -> None:
    delivery = deliver(
        content_of("indicator", 1, []),
        content_of("relationship", 3, [object_id("indicator", 1), object_id("malware", 99)]),
        content_of("relationship", 4, [object_id("relationship", 3), object_id("indicator", 1)]),
    )
    (first, first_reason), (second, second_reason) = delivery.rejected
    assert (first.object_id, second.object_id) == (object_id("relationship", 3), object_id("relationship", 4))
    assert object_id("malware", 99) in first_reason
    assert object_id("relationship", 3) in second_reason
    assert delivery.assembler.dropped_references == 0


def test_two_that_refer_to_each_other_both_go_and_only_the_closing_reference_is_dropped() -> None:
    report = content_of("report", 1, [object_id("indicator", 2)])
    indicator = content_of("indicator", 2, [object_id("report", 1)])
    for order in ([report, indicator], [indicator, report]):
        delivery = deliver(*order)
        assert delivery.latest(report["id"])["object_refs"] == [indicator["id"]]
        assert "object_refs" not in delivery.latest(indicator["id"])
        assert delivery.assembler.dropped_references == 1


def test_what_refers_to_itself_waits_for_nothing() -> None:
    itself = content_of("identity", 1, [object_id("identity", 1)])
    assert deliver(itself, content_of("indicator", 2, [itself["id"]])).latest(itself["id"]) == itself


def test_what_waits_for_something_held_back_takes_it_along_when_the_buffer_is_full() -> None:
    relationship = content_of("relationship", 1, [object_id("malware", 2), object_id("malware", 3)])
    malware = content_of("malware", 3, [object_id("malware", 99)])
    with mock.patch.object(references, "HELD_BACK_BYTES", 5_000):
        delivery = Delivery(known=frozenset([object_id("malware", 2)]))
        delivery.add(item_of(relationship))
        delivery.add(item_of(malware))
        for number in range(10, 20):
            delivery.add(item_of(content_of("malware", number, [object_id("malware", 99)])))
        delivery.finish()
    assert delivery.assembler.take_rejected() == []
    assert [item.object_id for item in delivery.chunks[0].items][:2] == [malware["id"], relationship["id"]]


def test_a_new_version_of_an_author_goes_with_what_comes_after_it_and_an_old_one_changes_nothing() -> None:
    author = object_id("identity", 1)
    delivery = deliver(
        content_of("identity", 1, [], version=1),
        content_of("indicator", 2, [author]),
        content_of("identity", 1, [], version=2),
        content_of("indicator", 3, [author]),
        content_of("identity", 1, [], version=0),
        content_of("indicator", 4, [author]),
    )
    assert [[found["name"] for found in objects] for objects in delivery.objects] == [
        ["identity 1.1", "indicator 2.0"],
        ["identity 1.2", "indicator 3.0", "indicator 4.0"],
    ]


def test_a_new_version_of_an_author_is_sent_even_when_nothing_refers_to_it_any_more() -> None:
    delivery = deliver(
        content_of("identity", 1, [], version=1),
        content_of("indicator", 2, [object_id("identity", 1)]),
        content_of("identity", 1, [], version=2),
    )
    assert delivery.latest(object_id("identity", 1))["name"] == "identity 1.2"


def test_two_versions_of_an_object_never_share_a_bundle() -> None:
    delivery = deliver(content_of("malware", 1, [], version=1), content_of("malware", 1, [], version=2))
    assert [len(chunk.items) for chunk in delivery.chunks] == [1, 1]


def test_versions_keep_apart_also_when_an_earlier_chunk_is_accepted_late() -> None:
    delivery = Delivery()
    first, second, third = (item_of(content_of("indicator", 1, [], version)) for version in range(3))
    delivery.assembler.add(first)
    delivery.assembler.add(second)
    in_flight = delivery.assembler.take_full()
    delivery.push(in_flight)
    delivery.of([third])
    assert [len(chunk.items) for chunk in delivery.chunks] == [1, 1, 1]


def test_what_is_remembered_is_what_was_accepted_and_is_not_sent_again_for_itself() -> None:
    author, marking = object_id("identity", 1), object_id("marking-definition", 2)
    stream = [
        content_of("identity", 1, []),
        content_of("marking-definition", 2, [author, object_id("identity", 99)]),
        content_of("indicator", 3, [marking]),
    ]
    first = deliver(*stream)
    remembered = first.companions.to_remember(100_000)
    later = Delivery(companions=Companions([AUTHOR, *map(read, remembered)]))
    later.of([item_of(content) for content in (*stream[:2], content_of("indicator", 4, [marking]))])
    assert later.ids[0][:-1] == first.ids[0][:-1]
    assert {author, marking} <= set(later.ids[0])
    again = Delivery(companions=Companions([AUTHOR, *map(read, remembered)]))
    assert again.of([item_of(content) for content in stream[:2]]).chunks == []


def test_what_is_remembered_stays_within_the_limit_the_last_ones_first() -> None:
    delivery = deliver(*(content_of("identity", number, []) for number in range(20)))
    remembered = delivery.companions.to_remember(1_000)
    assert sum(len(text.encode()) for text in remembered) <= 1_000
    assert [json.loads(text)["id"] for text in remembered][:2] == [object_id("identity", n) for n in (19, 18)]


def test_companions_beyond_their_room_are_sent_once_like_any_other_object() -> None:
    authors = [content_of("identity", number, []) | {"description": "x" * 12_000} for number in range(20)]
    indicators = [
        content_of("indicator", 100 + number, [object_id("identity", number)]) for number in range(20)
    ]
    delivery = deliver(*authors, *indicators, max_objects=3)
    sent_alone = [
        item.object_id
        for chunk in delivery.chunks
        for item in chunk.items
        if item.object_type in COMPANION_TYPES
    ]
    assert 9 <= len(sent_alone) == len(set(sent_alone)) < 12
    assert (
        judge_bundles({"type": "bundle", "objects": objects} for objects in delivery.objects).dangling == []
    )


def test_chunks_keep_to_their_bytes_unless_one_object_alone_has_more() -> None:
    sizes = (300_000, 300_000, 300_000, 300_000, 1_500_000, 10)
    delivery = deliver(*(content_of("malware", n, []) | {"x": "x" * size} for n, size in enumerate(sizes)))
    assert [len(chunk.items) for chunk in delivery.chunks] == [3, 1, 1, 1]
    for chunk in delivery.chunks:
        assert sum(map(len, chunk.escaped_bundle())) <= chunk.size_bytes
        assert chunk.size_bytes <= 1 << 20 or len(chunk.items) == 1


def test_a_chunk_that_is_taken_back_is_there_no_longer() -> None:
    delivery = Delivery(max_objects=2)
    delivery.assembler.add(item_of(content_of("malware", 1, [])))
    delivery.assembler.add(item_of(content_of("malware", 2, [])))
    (chunk,) = delivery.assembler.take_full()
    delivery.assembler.withdraw(chunk)
    delivery.of([item_of(content_of("relationship", 3, [object_id("malware", 1), object_id("malware", 2)]))])
    assert [item.object_id for item, _ in delivery.rejected] == [object_id("relationship", 3)]


@pytest.mark.parametrize(
    "shared", [True, False], ids=["one that never comes", "each another that never comes"]
)
def test_memory_stays_flat_when_everything_refers_to_what_never_comes(shared: bool) -> None:
    delivery = Delivery()
    tracemalloc.start()
    try:
        with mock.patch.object(references, "HELD_BACK_BYTES", 1 << 20):
            for number in range(10_000):
                absent = object_id("malware", 1 if shared else 1_000_000 + number)
                delivery.assembler.add(item_of(content_of("indicator", number, [absent])))
                for chunk in delivery.assembler.take_full():
                    delivery.assembler.accept(chunk)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert delivery.assembler.dropped_references > 8_000
    assert peak_bytes < 4 << 20
