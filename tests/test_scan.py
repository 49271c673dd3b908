"""The scanner against a full JSON parser, on bundles of every spelling, cut at every place."""

import json
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cluster25.scan
from cluster25.errors import BudgetSpentError, ConnectorError, SourceRefusedError, SourceUnavailableError
from cluster25.scan import OVERSIZED_HEAD_BYTES, borders, scan_bundle

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"
WHOLE = 1 << 30

SPOILED = [
    b'{"type":"indicator","x":1e400}',
    b'{"type":"indicator","x":NaN}',
    b'{"type":"indicator","x":"\\ud800"}',
    b'{"type":"indicator","x":"\\q \xff\xfe \n \x00"}',
    b'{"type":"indicator" "x":1,,}',
    b'{"type":"indicator","x":[}]',
    b'{"type":"indicator","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    b"nonsense",
]
TOKENS = ["{", "[", "]", "}", ",", '"', "\\", ":", "1", '"x"', '{"type":', '},{"type":', '],"id":[{"type":']
BLANKS = st.text(alphabet=" \t\r\n", max_size=3)
TRICKY = st.sampled_from(
    ['},{"type":"', '},{"', "]}", '"', "\\", '\\"', "\\\\", "[{", ",", "\u2028", "😀", "é", ""]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | TRICKY
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TRICKY | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
# nested lists whose objects start as the bundle's objects do: false borders
TWINS = st.lists(VALUES.map(lambda value: {"type": value}), min_size=2, max_size=4)
OBJECTS = st.builds(lambda value: {"type": "indicator", "x": value}, VALUES | TWINS)


@st.composite
def spelled(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    text = json.dumps(
        draw(values),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, None, 1, "\t"])),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), ("\r\n,", " :\t")])),
    )
    return text.encode()


@st.composite
def bundles(draw: st.DrawFn, *others: st.SearchStrategy[bytes]) -> bytes:
    """A bundle with its members in any order; elements of one spelling, or each of another."""
    element = st.one_of(spelled(OBJECTS), *others)
    gap = draw(st.tuples(BLANKS, BLANKS).map(lambda blanks: f"{blanks[0]},{blanks[1]}".encode()))
    members = [b'"type" : "bundle"']
    if draw(st.booleans()):
        elements = draw(st.lists(element, max_size=8))
        members.append(b'"objects":[' + draw(BLANKS).encode() + gap.join(elements) + b"\n]")
    names = draw(st.sets(st.sampled_from(["id", "x", "n\\u0061me"]), max_size=3))
    members += [f'"{name}"\t:'.encode() + draw(spelled(VALUES)) for name in names]
    return b" {" + gap.join(draw(st.permutations(members))) + b"}\n"


def in_pieces(document: bytes, piece_bytes: int) -> Iterator[bytes]:
    for start in range(0, len(document), piece_bytes):
        yield document[start : start + piece_bytes]


@contextmanager
def windows_of(window_bytes: int) -> Iterator[None]:
    with mock.patch.object(cluster25.scan, "WINDOW_BYTES", window_bytes):
        yield


def scan(document: bytes, piece_bytes: int = WHOLE, max_object_bytes: int = 1 << 20) -> list[bytes]:
    """The raw objects of a bundle that must be read without an error, looked at piece by piece."""
    with windows_of(piece_bytes):
        batches = list(scan_bundle(in_pieces(document, piece_bytes), max_object_bytes=max_object_bytes))
    assert not [batch.oversized for batch in batches if batch.oversized]
    return [raw for batch in batches for raw in batch.objects]


def scan_until_error(document: bytes, piece_bytes: int = WHOLE) -> tuple[list[bytes], ConnectorError | None]:
    """The raw objects handed out, and the error after them."""
    objects: list[bytes] = []
    try:
        with windows_of(piece_bytes):
            for batch in scan_bundle(in_pieces(document, piece_bytes)):
                assert batch.objects
                objects += batch.objects
    except ConnectorError as error:
        return objects, error
    return objects, None


def bundle_of(*elements: bytes) -> bytes:
    return b'{"type":"bundle","objects":[' + b",".join(elements) + b"]}"


# What comes out


@settings(max_examples=250, deadline=None)
@given(document=bundles(spelled(VALUES)), piece_bytes=st.integers(1, 40) | st.just(WHOLE))
def test_objects_are_those_a_json_parser_finds(document: bytes, piece_bytes: int) -> None:
    assert [json.loads(raw) for raw in scan(document, piece_bytes)] == json.loads(document).get("objects", [])


@settings(max_examples=100, deadline=None)
@given(
    elements=st.lists(spelled(OBJECTS) | st.sampled_from(SPOILED), max_size=12), piece=st.integers(1, 3000)
)
def test_elements_come_out_as_they_came_in_however_spoiled(elements: list[bytes], piece: int) -> None:
    assert scan(bundle_of(*elements), piece) == elements
    assert scan(bundle_of(*elements)) == elements


@settings(max_examples=300, deadline=None)
@given(tokens=st.lists(st.sampled_from(TOKENS), max_size=30))
def test_any_sequence_of_tokens_is_read_alike_at_once_and_byte_by_byte(tokens: list[str]) -> None:
    """At once, msgspec sees it first; byte by byte it never does."""
    document = bundle_of(b'{"type":1}', b'{"type":2}', "".join(tokens).encode())
    at_once, error_at_once = scan_until_error(document)
    bytewise, error_bytewise = scan_until_error(document, piece_bytes=1)
    assert at_once == bytewise
    assert str(error_at_once) == str(error_bytewise)


def test_a_bundle_cut_at_every_byte_into_two_pieces() -> None:
    elements = [
        b'{"type":"a","s":"\\\\\\"},{\\"type\\":","l":[{"type":1},{"type":2}]}',
        b"-1.5e3",
        b'"]\\\\"',
        b"[[]]",
    ]
    document = b' {"id":"\\"{","objects" : [ ' + b" ,\n".join(elements) + b' ] , "n":null,"type":"bundle"}'
    for place in range(len(document)):
        with windows_of(1):
            batches = list(scan_bundle([document[:place], document[place:]]))
        assert [raw for batch in batches for raw in batch.objects] == elements


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.stix2")), ids=lambda path: path.name)
@pytest.mark.parametrize("piece_bytes", [7, 4096, WHOLE])
def test_published_bundles(path: Path, piece_bytes: int) -> None:
    document = path.read_bytes()
    assert [json.loads(raw) for raw in scan(document, piece_bytes)] == json.loads(document)["objects"]


@pytest.mark.parametrize(
    "document",
    [
        b'{"type":"bundle"}',
        b'{"type":"bundle","objects":[]}',
        b' {"objects" : [ ] , "type" : "bundle" , "id" : "bundle--1" } \n',
        b'\xef\xbb\xbf{"type":"bundle","objects":[]}',
        b'{"\\u0074ype":"bundle"}',
    ],
)
def test_a_bundle_may_hold_nothing(document: bytes) -> None:
    assert list(scan_bundle([document])) == []


# What is no bundle, and what was cut or damaged


@pytest.mark.parametrize(
    "document",
    [
        b'{"error":"no such thing"}',
        b"{}",
        b"null",
        b"[]",
        b'"bundle"',
        b'{"type":"bundle","objects":null}',
        b'{"type":"bundle","objects":{}}',
        b'{"type":"bundle","objects":"[]"}',
        b'{"type":"report","objects":[]}',
        b'{"type":["bundle"],"objects":[]}',
        b'{"objects":[]}',
        b'{"type":"bundle","objects":[],"objects":[{"type":"indicator"}]}',
    ],
)
def test_what_is_no_bundle_is_refused_and_shown(document: bytes) -> None:
    objects, error = scan_until_error(document)
    assert objects == []
    assert isinstance(error, SourceRefusedError)
    assert document.decode() in error.what
    assert error.remedy


def test_a_page_of_html_may_be_gone_next_time() -> None:
    objects, error = scan_until_error(b"<!DOCTYPE html><html><body>Welcome</body></html>")
    assert objects == []
    assert isinstance(error, SourceUnavailableError)
    assert "HTML" in error.what


def test_only_the_beginning_of_a_refused_answer_is_shown() -> None:
    _, error = scan_until_error("é".encode() * 100_000)
    assert str(error).count("é") == 500


def test_a_wrong_type_is_refused_before_any_object_where_it_comes_first() -> None:
    first, error = scan_until_error(b'{"type":"report","objects":[{"type":"indicator"}]}')
    assert (first, type(error)) == ([], SourceRefusedError)
    last, error = scan_until_error(b'{"objects":[{"type":"indicator"}],"type":"report"}')
    assert (last, type(error)) == ([b'{"type":"indicator"}'], SourceRefusedError)


@pytest.mark.parametrize("piece_bytes", [1, 16, WHOLE])
def test_a_bundle_that_ends_anywhere_early_is_unavailable_after_what_came_whole(piece_bytes: int) -> None:
    elements = [
        b'{"type":"a","x":[{"type":"]}"},{"type":1}]}',
        b'{"type":"b"}',
        b'{"type":"c"}',
        b'"d"',
        b'{"type":"e"}',
    ]
    document = bundle_of(*elements)
    for length in range(len(document)):
        objects, error = scan_until_error(document[:length], piece_bytes)
        assert isinstance(error, SourceUnavailableError)
        whole = sum(document.index(element) + len(element) <= length for element in elements)
        assert objects == elements[:whole]


@settings(max_examples=100, deadline=None)
@given(document=bundles(spelled(VALUES)), data=st.data())
def test_any_bundle_that_ends_early_is_an_error_and_its_objects_a_beginning(
    document: bytes, data: st.DataObject
) -> None:
    length = data.draw(st.integers(0, document.rindex(b"}")))
    objects, error = scan_until_error(document[:length], data.draw(st.sampled_from([1, 10, WHOLE])))
    assert isinstance(error, SourceUnavailableError)
    assert objects == scan(document)[: len(objects)]


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"type":"bundle","objects":[{"type":"a"} {"type":"b"}]}',
        b'{"type":"bundle","objects":[{"type":"a"},,{"type":"b"}]}',
        b'{"type":"bundle","objects":[{"type":"a"},]}',
        b'{"type":"bundle","objects":[{"type":"a"}xyz,{"type":"b"}]}',
        b'{"type":"bundle","objects":[{"type":"a"}}',
        b'{"type":"bundle","objects":[{"type":"a"}]"id":1}',
        b'{"type":"bundle","objects":[{"type":"a"}],"id"}',
        b'{"type":"bundle","objects":[{"type":"a"}],"id":}',
        b'{"type":"bundle","objects":[{"type":"a"}],id:1}',
        b'{"type":"bundle","objects":[{"type":"a"}],}',
        b'{"type":"bundle","objects":[{"type":"a"}]}{"type":"bundle"}',
        b'{"type":"bundle","objects":[{"type":"a"}]}<html>',
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, WHOLE])
def test_a_damaged_bundle_is_unavailable_after_what_came_before_the_damage(
    damaged: bytes, piece_bytes: int
) -> None:
    objects, error = scan_until_error(damaged, piece_bytes)
    assert objects == [b'{"type":"a"}']
    assert isinstance(error, SourceUnavailableError)


def test_objects_that_came_before_the_budget_was_spent_are_handed_out_before_its_error() -> None:
    def dripping() -> Iterator[bytes]:
        yield b'{"type":"bundle","objects":[{"type":"a"},{"type":"b"'
        raise BudgetSpentError("The budget is spent.", "Wait for the next run.")

    batches = scan_bundle(dripping())
    assert next(batches).objects == [b'{"type":"a"}']
    with pytest.raises(BudgetSpentError):
        next(batches)


# Limits


@pytest.mark.parametrize("piece_bytes", [1000, WHOLE])
def test_an_object_over_the_limit_is_set_apart_by_its_beginning(piece_bytes: int) -> None:
    large = b'{"type":"' + b"x" * 200_000 + b'"}'
    document = bundle_of(b'{"type":"a"}', b'{"type":"b"}', large, b'{"type":"c"}')
    with windows_of(piece_bytes):
        batches = list(scan_bundle(in_pieces(document, piece_bytes), max_object_bytes=len(large) - 1))
    assert [raw for batch in batches for raw in batch.objects] == [
        b'{"type":"a"}',
        b'{"type":"b"}',
        b'{"type":"c"}',
    ]
    assert [raw for batch in batches for raw in batch.oversized] == [large[:OVERSIZED_HEAD_BYTES]]
    assert large in scan(document, piece_bytes, max_object_bytes=len(large))


@pytest.mark.parametrize("member", [b'"x":"%b"', b'"x":[%b]', b'"%b":1'])
def test_another_member_over_the_limit_is_refused(member: bytes) -> None:
    document = b'{"type":"bundle",' + member % (b"1" * 101) + b',"objects":[]}'
    with pytest.raises(SourceRefusedError):
        list(scan_bundle([document], max_object_bytes=100))
    assert list(scan_bundle([document], max_object_bytes=103)) == []


def stream_of(element: bytes, times: int) -> Iterator[bytes]:
    """A bundle with an element as often as wanted, in pieces of about 64 KiB."""
    per_piece = max(1, 65_536 // len(element))
    yield bundle_of(element)[:-2]
    for _ in range(times // per_piece):
        yield (b"," + element) * per_piece
    yield b"]}"


INDICATOR = b'{"type":"indicator","name":"' + b"x" * 1000 + b'","labels":["a","b"]}'


@pytest.mark.parametrize(
    ("pieces", "objects"),
    [
        (stream_of(INDICATOR, 50_000), 49_000),
        (stream_of(INDICATOR.replace(b"[", b"[NaN,"), 5_000), 4_900),
        ([b'{"type":"bundle","objects":["', *(b'},{\\"type\\":' * 5000 for _ in range(800)), b'"]}'], 0),
        ([b'{"type":"bundle","objects":[', *(b" " * 60_000 for _ in range(800)), b"]}"], 0),
    ],
    ids=["50 MB of objects", "spoiled objects", "one object of 48 MB", "48 MB of blanks"],
)
def test_memory_is_flat(pieces: Any, objects: int) -> None:
    tracemalloc.start()
    try:
        found = sum(len(batch.objects) for batch in scan_bundle(pieces))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found >= objects
    assert peak_bytes < 4_000_000


@dataclass
class Work:
    """What it took to read a whole bundle: counted, so that no clock decides."""

    calls: int = 0
    searches: int = 0
    decoded_bytes: int = 0

    def count(self, _frame: object, event: str, function: object) -> None:
        """Called for each call of a Python or C function."""
        self.calls += event in ("call", "c_call")
        self.searches += event == "c_call" and getattr(function, "__name__", "") == "rfind"


def work_of(document: bytes, piece_bytes: int, window_bytes: int) -> Work:
    work = Work()
    decode = borders._decode

    def counting_decode(elements: memoryview) -> list[bytes]:
        work.decoded_bytes += len(elements)
        return decode(elements)

    with mock.patch.object(borders, "_decode", counting_decode), windows_of(window_bytes):
        before = sys.getprofile()
        sys.setprofile(work.count)
        try:
            for _ in scan_bundle(in_pieces(document, piece_bytes), max_object_bytes=1 << 22):
                pass
        finally:
            sys.setprofile(before)
    return work


def test_good_objects_are_taken_many_at_a_time_also_around_a_spoiled_one() -> None:
    good = bundle_of(*[INDICATOR] * 2000)
    spoiled = bundle_of(*[INDICATOR] * 1000, SPOILED[1], *[INDICATOR] * 1000)
    for document in (good, spoiled):
        work = work_of(document, piece_bytes=10_000, window_bytes=1 << 18)
        assert work.calls < 2 * 2000
        assert work.decoded_bytes < 2 * len(document)


@pytest.mark.parametrize(
    "repeated",
    [
        bundle_of(b'{"type":1}', b'{"type":2}', b"%b"),
        bundle_of(b'{"type":1}', b'{"type":2}', b'{"type":[%b{"type":3}]}'),
        bundle_of(b'{"type":1}', b'{"type":2}', b'{"type":"%b"}'),
    ],
    ids=["as objects", "in one object", "in one string"],
)
@pytest.mark.parametrize(
    "unit",
    [
        b'{"type":"a"},',
        b'{"type":NaN},',
        b'{"type":"a","x":[{"type":1},{"type":2}]},',
        b"1,",
        b"[],",
        b'"\\\\",',
    ],
)
@pytest.mark.parametrize("piece_bytes", [500, 1 << 20])
def test_work_grows_with_the_bytes_and_no_faster(repeated: bytes, unit: bytes, piece_bytes: int) -> None:
    def document(times: int) -> bytes:
        inside = unit.replace(b'"', b'\\"') if repeated.count(b'"%b"') else unit
        return (repeated % (inside * times)).replace(b",]}", b"]}")

    small, large = document(10_000 // len(unit)), document(40_000 // len(unit))
    less = work_of(small, piece_bytes, window_bytes=8192)
    more = work_of(large, piece_bytes, window_bytes=8192)
    assert more.calls < 8 * less.calls  # 16 times if it were quadratic
    assert more.searches < len(large) / 400  # each looks over thousands of bytes
    assert more.decoded_bytes < 5 * len(large)
