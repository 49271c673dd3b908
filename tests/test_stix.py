"""Objects: what is added is all that changes, and what comes out is what OpenCTI's workers can import."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycti.utils.opencti_stix2_splitter import OPENCTI_EXTENSION
from stix2.parsing import parse as parse_stix

from cluster25.element import NESTED_LEVELS, UnsendableError, parse
from cluster25.stix import Item, cluster25_author, complete, unescape, without_references
from local.indicators import COMPANIONS, TYPES, Draw, make_indicator
from local.judgement import split_bundle

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"
AUTHOR_ID = cluster25_author().object_id
UUID = "0b6bf1d4-7b8c-4c86-9b7b-6f5b5f0b1c01"
TIME, LATER = "2026-02-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z"
INDICATOR: dict[str, Any] = {
    "type": "indicator",
    "spec_version": "2.1",
    "id": f"indicator--{UUID}",
    "created": TIME,
    "modified": TIME,
    "created_by_ref": f"identity--{UUID}",
    "pattern": "[url:value = 'http://a.example']",
    "pattern_type": "stix",
    "valid_from": TIME,
}
RELATIONSHIP = {
    "type": "relationship",
    "id": f"relationship--{UUID}",
    "created": TIME,
    "modified": TIME,
    "relationship_type": "indicates",
    "source_ref": f"indicator--{UUID}",
    "target_ref": f"malware--{UUID}",
}
ADDED = {"x_opencti_main_observable_type", "created_by_ref", "pattern_type", "valid_from"}


def item_of(content: Any, *, create_observables: bool = False) -> Item:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return complete(parse(raw), author_id=AUTHOR_ID, create_observables=create_observables)


def sent(content: Any, *, create_observables: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        unescape(item_of(content, create_observables=create_observables).escaped)
    )
    return found


def reason(content: Any) -> str:
    with pytest.raises(UnsendableError) as rejected:
        item_of(content)
    return str(rejected.value)


def check_with_stix2(content: dict[str, Any]) -> None:
    """Raises what the library has against it."""
    parse_stix(content, allow_custom=True)


def without(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**18, 10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ODD_MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        key: VALUES | values
        for key, values in {
            "created_by_ref": st.just(AUTHOR_ID),
            "object_marking_refs": st.lists(st.just(f"marking-definition--{UUID}")),
            "object_refs": st.just([f"malware--{UUID}"]),
            "source_ref": st.just(f"malware--{UUID}"),
            "target_ref": st.just(f"tool--{UUID}"),
            "where_sighted_refs": st.just([f"identity--{UUID}"]),
            "sighting_of_ref": st.just(f"malware--{UUID}"),
            "x_c25_ref": st.just(f"tool--{UUID}"),
            "x_c25_refs": st.just([f"tool--{UUID}", f"tool--{UUID}"]),
            "created": st.just(TIME),
            "modified": st.sampled_from([TIME, "2026-02-01", "0001-01-01T00:00:00+14:00"]),
            "valid_from": st.sampled_from([TIME, LATER, "9999-12-31T23:59:59.5Z"]),
            "valid_until": st.sampled_from([TIME, LATER, "9999-12-31T23:59:59.4Z"]),
            "pattern": st.just("[url:value = 'x']"),
            "pattern_type": st.sampled_from(["stix", "yara", "", "STIX"]),
            "external_references": st.lists(
                VALUES | st.just({"source_name": "x", "url": "https://a.example"})
            ),
            "kill_chain_phases": st.lists(VALUES | st.just({"kill_chain_name": "x", "phase_name": "y"})),
            "extensions": st.dictionaries(
                st.just(OPENCTI_EXTENSION),
                VALUES | st.fixed_dictionaries({"id": VALUES}),
            ),
            "x_opencti_id": st.just(UUID),
            "objects": VALUES,
        }.items()
    },
)
KINDS = st.sampled_from(
    ["indicator", "malware", "relationship", "sighting", "report", "note", "observed-data", "identity",
     "marking-definition", "domain-name", "file", "x-unknown", "bundle"]
)  # fmt: skip


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(KINDS)
    return {
        "type": kind,
        "id": f"{kind}--{UUID}",
        **draw(ODD_MEMBERS),
        **draw(st.dictionaries(st.text(), VALUES)),
    }


@st.composite
def spelled_indicators(draw: st.DrawFn) -> bytes:
    """An indicator with members of any kind, some of its own missing, in any order, spelled in any way."""
    own = without(
        INDICATOR, *draw(st.sets(st.sampled_from(["created_by_ref", "pattern_type", "valid_from"])))
    )
    others = draw(st.dictionaries(st.text().map(lambda text: f"x_{text}!"), VALUES, max_size=4))
    members = draw(st.permutations([*own.items(), *others.items()]))
    text = json.dumps(
        dict(members), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, None, 1, "\t"]))
    )
    return (draw(st.sampled_from(["", " ", "\r\n"])) + text + draw(st.sampled_from(["", "\n \t"]))).encode()


@given(spelled_indicators())
def test_all_that_was_sent_is_kept_and_only_what_is_missing_is_added(raw: bytes) -> None:
    original, result = json.loads(raw), json.loads(unescape(item_of(raw).escaped))
    additions = result.keys() - original.keys()
    assert additions == ADDED - original.keys()
    assert {key: value for key, value in result.items() if key not in additions} == original


@given(spelled_indicators())
def test_spliced_objects_keep_the_very_bytes_that_came(raw: bytes) -> None:
    assert unescape(item_of(raw).escaped).startswith(raw.decode().rstrip()[:-1])


def test_numbers_and_repeated_keys_are_sent_as_they_were_written() -> None:
    members = b'"x_big":123456789012345678901234567890,"x_small":1.10,"x_e":1E5,"x_twice":1,"x_twice":2}'
    raw = json.dumps(INDICATOR).encode()[:-1] + b"," + members
    assert members[:-1] in unescape(item_of(raw).escaped).encode()


def test_what_is_null_counts_as_missing_and_big_integers_survive_being_written_anew() -> None:
    nothing = dict.fromkeys(
        ("created_by_ref", "pattern_type", "valid_from", "valid_until", "object_marking_refs")
    )
    result = sent({**INDICATOR, **nothing, "x_big": 2**100 + 1, "x_float": 0.1, "modified": None})
    assert result["created_by_ref"] == AUTHOR_ID
    assert (result["pattern_type"], result["valid_from"]) == ("stix", TIME)
    assert (result["x_big"], result["x_float"]) == (2**100 + 1, 0.1)


@pytest.mark.parametrize("type_", TYPES)
def test_indicators_of_the_feed_get_their_observable_type_and_are_counted_by_theirs(type_: str) -> None:
    for number in range(20):
        indicator = make_indicator(Draw(7, number), type_, datetime(2026, 1, 1, tzinfo=UTC))
        item = item_of(indicator)
        result = json.loads(unescape(item.escaped))
        assert item.counted_as == type_
        assert result.pop("x_opencti_main_observable_type") in {
            "IPv4-Addr", "IPv6-Addr", "Domain-Name", "Url", "Email-Addr", "StixFile"
        }  # fmt: skip
        assert result == indicator
        check_with_stix2(sent(indicator))


def test_observables_are_asked_for_unless_the_indicator_says_otherwise() -> None:
    assert sent(INDICATOR, create_observables=True)["x_opencti_create_observables"] is True
    assert "x_opencti_create_observables" not in sent(INDICATOR)
    refusing = {**INDICATOR, "x_opencti_create_observables": False}
    assert sent(refusing, create_observables=True)["x_opencti_create_observables"] is False


def test_what_says_its_own_observable_type_keeps_it() -> None:
    assert (
        sent({**INDICATOR, "x_opencti_main_observable_type": "Text"})["x_opencti_main_observable_type"]
        == "Text"
    )


@pytest.mark.parametrize("language", ["yara", "sigma", "snort", "pcre"])
def test_patterns_of_other_languages_are_left_to_the_platform(language: str) -> None:
    other = {**INDICATOR, "pattern": "rule x { condition: true }", "pattern_type": language}
    assert sent(other) == other
    assert item_of(other).counted_as == "indicator"


def test_observed_data_of_stix_2_0_carries_its_objects_itself() -> None:
    observed = {"type": "observed-data", "id": f"observed-data--{UUID}", "objects": {"0": {"type": "file"}}}
    assert sent(observed) == observed


def test_only_what_has_an_author_in_stix_gets_one() -> None:
    assert sent(without(INDICATOR, "created_by_ref"))["created_by_ref"] == AUTHOR_ID
    assert sent(RELATIONSHIP)["created_by_ref"] == AUTHOR_ID
    assert AUTHOR_ID in item_of(RELATIONSHIP).refs
    for authorless in (
        *COMPANIONS,
        {"type": "domain-name", "id": f"domain-name--{UUID}", "value": "a.example"},
    ):
        assert sent(authorless) == authorless


def test_the_author_is_the_organisation_the_platform_would_make_itself() -> None:
    author = json.loads(unescape(cluster25_author().escaped))
    assert (author["name"], author["identity_class"]) == ("Cluster25", "organization")
    assert author["id"] == AUTHOR_ID
    check_with_stix2(author)


@pytest.mark.parametrize("end", [TIME, "2026-01-31T23:59:59Z", "2026-02-01T01:00:00+01:00", "2026-02-01"])
def test_an_end_that_is_not_after_the_beginning_is_moved_behind_it(end: str) -> None:
    result = sent({**INDICATOR, "valid_until": end})
    assert result["valid_until"] == "2026-02-01T00:00:01.000000Z"
    assert without(result, "valid_until", "x_opencti_main_observable_type") == INDICATOR
    check_with_stix2(result)


def test_a_proper_end_stays() -> None:
    assert sent({**INDICATOR, "valid_until": LATER})["valid_until"] == LATER


def test_valid_from_is_taken_from_created_or_else_from_modified() -> None:
    bare = without(INDICATOR, "valid_from")
    assert sent({**bare, "modified": LATER})["valid_from"] == TIME
    assert sent({**without(bare, "created"), "modified": LATER})["valid_from"] == LATER


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (without(INDICATOR, "valid_from", "created", "modified"), "valid_from"),
        ({**INDICATOR, "valid_from": "yesterday"}, "valid_from"),
        ({**INDICATOR, "valid_until": "never"}, "valid_until"),
        ({**INDICATOR, "valid_until": 1}, "valid_until"),
        ({**INDICATOR, "valid_from": "9999-12-31T23:59:59.5Z", "valid_until": TIME}, "valid_until"),
        ({**INDICATOR, "modified": "2026-13-01"}, "modified"),
        ({**INDICATOR, "modified": "0001-01-01T00:00:00+14:00"}, "modified"),
        (without(INDICATOR, "pattern"), "no pattern"),
        ({**INDICATOR, "pattern": "  "}, "pattern"),
        ({**INDICATOR, "pattern": "[url:value = 'x"}, "pattern"),
        ({**INDICATOR, "pattern_type": 1}, "pattern_type"),
        (without(INDICATOR, "id"), "id"),
        ({**INDICATOR, "id": f"malware--{UUID}"}, "id"),
        ({**INDICATOR, "id": "indicator--1"}, "id"),
        ({"type": "x" * 9_999, "id": f"{'x' * 9_999}--{UUID}"}, "does not import"),
        ({**INDICATOR, "created_by_ref": 1}, "created_by_ref"),
        ({**INDICATOR, "object_marking_refs": f"marking-definition--{UUID}"}, "object_marking_refs"),
        ({**INDICATOR, "object_marking_refs": [None]}, "object_marking_refs"),
        (without(RELATIONSHIP, "source_ref"), "source_ref"),
        ({**RELATIONSHIP, "target_ref": None}, "target_ref"),
        ({**RELATIONSHIP, "target_ref": RELATIONSHIP["id"]}, "target_ref"),
        ({"type": "sighting", "id": f"sighting--{UUID}", "sighting_of_ref": AUTHOR_ID}, "where_sighted_refs"),
        ({"type": "report", "id": f"report--{UUID}", "object_refs": []}, "object_refs"),
        ({**INDICATOR, "external_references": ["https://a.example"]}, "external_references"),
        ({**INDICATOR, "kill_chain_phases": {"phase_name": "x"}}, "kill_chain_phases"),
        ({**INDICATOR, "extensions": ["x"]}, "extensions"),
        ({**INDICATOR, "extensions": {OPENCTI_EXTENSION: "x"}}, "extension"),
        ({**INDICATOR, "extensions": {OPENCTI_EXTENSION: {"id": ["x"]}}}, "extension"),
        ({**INDICATOR, "x_opencti_id": ["x"]}, "x_opencti_id"),
        ({"type": "observed-data", "id": f"observed-data--{UUID}"}, "object_refs"),
        ([], "no JSON object"),
        (None, "no JSON object"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_rejected_with_a_short_reason(content: Any, expected: str) -> None:
    assert expected in reason(content)
    assert len(reason(content)) < 500


SPOILED = {
    "lone surrogate": b'"\\ud800"',
    "lone surrogate as a key": b'{"\\udfff":1}',
    "infinite": b"1e400",
    "not a number": b"NaN",
    "no UTF-8": b'"\xff\xfe"',
    "UTF-8 of a surrogate": b'"\xed\xa0\x80"',
    "raw control character": b'"\n"',
    "integer of 5,000 digits": b"9" * 5_000,
    "trailing comma": b"[1,]",
    **{
        f"{levels} levels of {kind}": start * levels + b"1" + end * levels
        for levels in (NESTED_LEVELS, 900, 1_024, 10_000, 100_000)
        for kind, start, end in (("lists", b"[", b"]"), ("objects", b'{"x":', b"}"))
    },
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_no_parser_likes_is_rejected(name: str) -> None:
    raw = json.dumps(INDICATOR).encode()[:-1] + b',"x":' + SPOILED[name] + b"}"
    assert "JSON" in reason(raw) or "levels" in reason(raw)


def test_objects_nested_as_deeply_as_allowed_are_sent_even_when_written_anew() -> None:
    levels = NESTED_LEVELS - 1
    deep = b"[" * levels + b"]" * levels
    raw = json.dumps({**INDICATOR, "valid_until": TIME}).encode()[:-1] + b',"x":' + deep + b"}"
    assert deep in item_of(raw).escaped


def test_many_brackets_side_by_side_are_no_nesting() -> None:
    wide = {**INDICATOR, "x": [{"y": []}] * 1_000}
    assert sent(wide)["x"] == wide["x"]


@given(st.binary() | st.recursive(SCALARS, st.lists, max_leaves=3).map(json.dumps).map(str.encode))
def test_any_bytes_are_an_object_or_rejected_and_nothing_else(raw: bytes) -> None:
    with suppress(UnsendableError):
        parse(raw)


@given(objects())
def test_any_object_that_is_sent_is_one_that_the_splitter_takes(content: dict[str, Any]) -> None:
    with suppress(UnsendableError):
        item = item_of(content)
        bundle = {"type": "bundle", "id": f"bundle--{UUID}", "objects": [json.loads(unescape(item.escaped))]}
        assert split_bundle(bundle) == (1, [])


@given(
    objects(),
    st.sets(st.sampled_from([f"malware--{UUID}", f"tool--{UUID}", f"identity--{UUID}"]), min_size=1),
)
def test_without_some_references_the_rest_stays_as_it_was(content: dict[str, Any], missing: set[str]) -> None:
    with suppress(UnsendableError):
        item = item_of(content)
        before = json.loads(unescape(item.escaped))
        less = without_references(item, missing, AUTHOR_ID)
        after = json.loads(unescape(less.escaped))
        assert missing.isdisjoint(less.refs)
        assert set(less.refs) - {AUTHOR_ID} == set(item.refs) - missing - {AUTHOR_ID}
        for key in before.keys() | after.keys():
            if not key.endswith(("_ref", "_refs")):
                assert after[key] == before[key]


def test_a_lost_author_is_replaced_and_an_emptied_list_goes() -> None:
    marking_id = f"marking-definition--{UUID}"
    item = item_of({**INDICATOR, "object_marking_refs": [marking_id], "labels": [], "x_refs": []})
    less = without_references(item, {marking_id, f"identity--{UUID}"}, AUTHOR_ID)
    result = json.loads(unescape(less.escaped))
    assert result["created_by_ref"] == AUTHOR_ID
    assert less.refs == (AUTHOR_ID,)
    assert "object_marking_refs" not in result
    assert (result["labels"], result["x_refs"]) == ([], [])


def test_a_relationship_without_one_of_its_ends_is_rejected_with_the_end_named() -> None:
    with pytest.raises(UnsendableError, match=f"malware--{UUID}.*target_ref"):
        without_references(item_of(RELATIONSHIP), {f"malware--{UUID}"}, AUTHOR_ID)


def test_the_version_of_an_object_is_its_modified_or_else_its_content() -> None:
    def digest(content: dict[str, Any]) -> bytes:
        return parse(json.dumps(content).encode()).digest

    timeless = without(INDICATOR, "modified")
    assert digest(INDICATOR) == digest({**INDICATOR, "name": "other"})
    assert digest(INDICATOR) != digest({**INDICATOR, "modified": LATER})
    assert digest(timeless) == digest({**timeless})
    assert digest(timeless) != digest({**timeless, "name": "other"})
    assert parse(json.dumps(timeless).encode()).modified is None


@pytest.mark.parametrize(
    "written",
    ["2026-02-01T02:00:00+02:00", "2026-02-01T00:00:00", "2026-02-01", "2026-02-01T00:00:00.000000000Z"],
)
def test_times_are_read_in_every_form(written: str) -> None:
    assert parse(json.dumps({**INDICATOR, "modified": written}).encode()).modified == datetime(
        2026, 2, 1, tzinfo=UTC
    )


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample bundles are not here")
@pytest.mark.parametrize("name", ["cytrox.stix2", "wintego_helios.stix2"])
def test_real_bundles_keep_their_content_and_are_valid(name: str) -> None:
    for original in json.loads((SAMPLES / name).read_bytes())["objects"]:
        result = sent(original)
        assert {key: result[key] for key in original} == original
        assert result.keys() - original.keys() <= ADDED
        check_with_stix2(result)
