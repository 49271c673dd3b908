"""Whatever an object is like, `Reader` makes of it what `parse` and `complete` do."""

import json
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster25 import reading
from cluster25.element import UnsendableError, parse
from cluster25.reading import Reader
from cluster25.stix import Item, cluster25_author, complete
from local.feed import Feed
from local.indicators import COMPANIONS

AUTHOR_ID = cluster25_author().object_id
FEED = Feed(now=datetime(2026, 3, 1, tzinfo=UTC))

TEXTS = st.sampled_from(["", "x", "é", "\\u00e9", "a'b", 'q"q', "\n", "2026-01-01T00:00:00Z", "[{" * 60])
IDS = st.sampled_from(
    ["", "identity--c2a5b8d1-6f0e-4c3b-9d27-51e8a4f0b6c9", "indicator--c2a5b8d1-6f0e-4c3b-9d27-51e8a4f0b6c9"]
)
TIMES = st.sampled_from(
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.123456789Z",
        "2026-01-01T01:00:00+01:00",
        "2026-01-01",
        "2026-01-01 00:00:00",
        "2026-01-01t00:00:00z",
        "2026-02-30T00:00:00Z",
        "2020-01-01T00:00:00.000Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59.999Z",
        "",
    ]
)
PATTERNS = st.sampled_from(
    ["", " ", "[ipv4-addr:value = '1.2.3.4']", "[file:hashes.MD5 = 'x']", "[a", "[x-y:z = 'v']", "no pattern"]
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | IDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["indicator", "identity", "report", "no-type"]),
    "id": IDS,
    "created": TIMES,
    "modified": TIMES,
    "valid_from": TIMES,
    "valid_until": TIMES,
    "pattern": PATTERNS,
    "pattern_type": st.sampled_from(["", "stix", "sigma"]),
    "created_by_ref": IDS,
    "object_marking_refs": st.lists(IDS, max_size=2),
    "x_custom_ref": IDS,
    "x_custom_refs": st.lists(IDS, max_size=2),
    "x_opencti_main_observable_type": st.sampled_from(["", "Url"]),
    "x_opencti_create_observables": st.booleans(),
    "x_opencti_id": TEXTS,
    "x_opencti_score": st.integers(),
    "extensions": st.dictionaries(TEXTS, ANYTHING, max_size=1),
    "external_references": st.lists(st.dictionaries(st.sampled_from(["url", "x"]), TEXTS)),
    "kill_chain_phases": st.lists(ANYTHING, max_size=2),
    "confidence": st.integers(),
    "granular_markings": st.lists(st.dictionaries(TEXTS, TEXTS)),
    "x custom key, no identifier": ANYTHING,
    "x_c25_info": ANYTHING,
}
SPOILED = st.sampled_from(
    [
        b"1e400",
        b"-1e400",
        b"1" * 400,
        b'"\\ud800"',
        b'"\xff"',
        b"01",
        b"[" * 99 + b"]" * 99,
        b"[" * 5000,
        b"nul",
    ]
)
BLANKS = st.sampled_from([b"", b" ", b"\n\t\r "])


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """An indicator of the feed with a thing or two changed about it, from its values down to its bytes."""
    content: dict[str, Any] = FEED.indicator(draw(st.integers(0, 50)))
    for key in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=2)):
        content[key] = draw(VALUES[key] | ANYTHING)
    for key in draw(st.lists(st.sampled_from(sorted(content)), max_size=1)):
        del content[key]
    form: dict[str, Any] = {"ensure_ascii": draw(st.booleans()), "indent": draw(st.sampled_from([None, 2]))}
    raw = json.dumps(content, **form).encode()
    if draw(st.integers(0, 3)) == 0:
        key = draw(st.sampled_from(["confidence", "x_c25_info", "x_new", "labels", "name"]))
        raw = raw.rstrip()[:-1] + b',"%b":%b}' % (key.encode(), draw(SPOILED))
    return raw + draw(BLANKS)


def read(reader: Reader, raw: bytes) -> Item:
    item = reader.read(raw, lambda *_: True)
    assert item is not None
    return item


def is_usual(reader: Reader, raw: bytes) -> bool:
    with mock.patch.object(reading, "parse", wraps=parse) as exact:
        reader.read(raw, lambda *_: True)
    return not exact.called


def outcome(make: Any) -> Any:
    """What is made, with the references in no order; or why it cannot be."""
    try:
        made: Item = make()
    except UnsendableError as error:
        return str(error)
    return msgspec.structs.replace(made, refs=tuple(sorted(made.refs)))


@given(st.lists(objects(), min_size=1, max_size=6), st.booleans())
def test_a_reader_does_what_parse_and_complete_do(raws: list[bytes], create_observables: bool) -> None:
    reader = Reader(author_id=AUTHOR_ID, create_observables=create_observables)
    for raw in (*raws, *raws):  # the second time with whatever was learned the first time

        def read_usually(raw: bytes = raw) -> Item:
            return read(reader, raw)

        def read_exactly(raw: bytes = raw) -> Item:
            return complete(parse(raw), author_id=AUTHOR_ID, create_observables=create_observables)

        assert outcome(read_usually) == outcome(read_exactly)


def test_the_feed_is_read_the_fast_way() -> None:
    reader = Reader(author_id=AUTHOR_ID, create_observables=False)
    assert not is_usual(reader, orjson.dumps(FEED.indicator(0)))  # it has keys to be learned
    for number in range(1, 300):
        assert is_usual(reader, orjson.dumps(FEED.indicator(number)))


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_not_new_is_not_completed(number: int) -> None:
    reader, asked = Reader(author_id=AUTHOR_ID, create_observables=False), []
    read(reader, orjson.dumps(FEED.indicator(0)))
    content = FEED.indicator(number) | {"pattern": "no pattern", "x_new": number}
    parsed = parse(orjson.dumps(content))

    def is_new(*told: Any) -> bool:
        asked.append(told)
        return False

    assert reader.read(orjson.dumps(content), is_new) is None
    assert reader.read(orjson.dumps(content), is_new) is None
    assert asked == [(parsed.object_id, parsed.digest, parsed.modified)] * 2


@pytest.mark.parametrize("companion", COMPANIONS)
def test_companions_are_read_new_or_not(companion: dict[str, Any]) -> None:
    item = Reader(author_id=AUTHOR_ID, create_observables=False).read(
        orjson.dumps(companion), lambda *_: False
    )
    assert item is not None
    assert item.object_type == companion["type"]


def test_keys_without_end_are_not_all_learned() -> None:
    reader = Reader(author_id=AUTHOR_ID, create_observables=False)
    for number in range(200):
        raw = orjson.dumps({**FEED.indicator(number), f"x_{number}": number})
        assert not is_usual(reader, raw)
    assert is_usual(reader, orjson.dumps({**FEED.indicator(1), "x_1": 1}))


@pytest.mark.parametrize(
    "key", ['a"b', "a\\b", "a\nb", "\0", "", "é", "鍵", "🔑", "x" * 1000, "__init__", "1"]
)
def test_a_key_of_any_spelling_may_come_again_and_again(key: str) -> None:
    raw = orjson.dumps({**FEED.indicator(0), key: 1})
    reader = Reader(author_id=AUTHOR_ID, create_observables=False)
    expected = outcome(lambda: complete(parse(raw), author_id=AUTHOR_ID, create_observables=False))
    for _ in range(3):
        assert outcome(lambda: read(reader, raw)) == expected
