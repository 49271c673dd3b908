"""A chunk as it is pushed, and the companions that are attached to it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from cluster25.chunks import Chunk, Companions
from cluster25.state.document import COMPANIONS_BYTES
from cluster25.stix import Item, escape, unescape
from tests.objects import AUTHOR, content_of, item_of, object_id


def identity(number: int, version: int = 0, description: str = "") -> Item:
    return item_of(content_of("identity", number, [], version) | {"description": description})


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_a_chunk_is_a_bundle_as_a_string_within_json_and_no_larger_than_it_says(texts: list[str]) -> None:
    contents = [content_of("malware", number, []) | {"x": text} for number, text in enumerate(texts)]
    chunk = Chunk()
    chunk.add(map(item_of, contents), [identity(1)])
    body = b'{"bundle":"' + b"".join(chunk.escaped_bundle()) + b'"}'
    bundle = json.loads(json.loads(body)["bundle"])
    assert bundle["type"] == "bundle"
    assert bundle["id"].startswith("bundle--")
    assert [found["id"] for found in bundle["objects"]] == [
        object_id("identity", 1),
        *(content["id"] for content in contents),
    ]
    assert [found["x"] for found in bundle["objects"][1:]] == texts
    assert len(chunk) == len(bundle["objects"])
    assert len(body) <= chunk.size_bytes


@given(st.text())
def test_what_was_escaped_is_found_again(text: str) -> None:
    assert unescape(escape(text)) == text
    assert json.loads(b'"' + escape(text) + b'"') == text


def test_what_a_companion_refers_to_comes_along_however_far_and_once() -> None:
    chain = [item_of(content_of("identity", n, [object_id("identity", (n + 1) % 5)])) for n in range(5)]
    companions = Companions([AUTHOR, *chain])
    needed = companions.needed([object_id("identity", 3), object_id("malware", 1)], ())
    assert {item.object_id for item in needed} == {item.object_id for item in chain}
    assert companions.needed([object_id("identity", 3)], {object_id("identity", 3)}) == []


def test_room_is_counted_by_what_is_attached_now() -> None:
    companions = Companions([])
    for version in range(10):
        large = identity(1, version, "x" * (COMPANIONS_BYTES // 2))
        assert companions.fits(large)
        assert companions.add(large)
    assert not companions.fits(identity(2, 0, "x" * (COMPANIONS_BYTES // 2)))
    assert not companions.fits(identity(1, 59, "x" * COMPANIONS_BYTES))
    companions.forget(object_id("identity", 1))
    assert object_id("identity", 1) not in companions
    assert companions.fits(identity(2, 0, "x" * (COMPANIONS_BYTES // 2)))


def test_only_another_and_newer_version_changes_what_is_attached() -> None:
    companions = Companions([identity(1, 5)])
    changes = [companions.add(identity(1, version)) for version in (5, 4, 6)]
    assert changes == [False, False, True]
    assert companions.needed([object_id("identity", 1)], ()) == [identity(1, 6)]


def test_what_is_forgotten_is_not_remembered() -> None:
    companions = Companions([identity(1), identity(2)])
    companions.forget(object_id("identity", 1))
    assert [json.loads(text)["id"] for text in companions.to_remember(10_000)] == [object_id("identity", 2)]


def test_what_was_accepted_last_is_remembered_first_also_in_later_runs() -> None:
    companions = Companions([])
    companions.accept(identity(number) for number in (3, 1, 2, 1))
    texts = companions.to_remember(10_000)
    newest_first = [object_id("identity", number) for number in (1, 2, 3)]
    assert [json.loads(text)["id"] for text in texts] == newest_first
    later = Companions(item_of(json.loads(text)) for text in texts)
    assert later.to_remember(10_000) == texts
    assert later.to_remember(len(texts[0])) == texts[:1]
