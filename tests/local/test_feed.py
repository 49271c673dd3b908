import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from stix2.parsing import parse

from local.feed import PIECE_BYTES, Feed, pattern_type
from local.indicators import COMPANIONS, IDENTITY_ID, OWN_MARKING_ID, PLATFORM_MARKING_IDS, TYPES

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SAMPLES = sorted((Path(__file__).parents[3] / "shared" / "samples").glob("*.stix2"))


def objects_of(feed: Feed, *asked: Any) -> list[dict[str, Any]]:
    bundle: dict[str, list[dict[str, Any]]] = json.loads(b"".join(feed.encoded(*asked)))
    return bundle["objects"]


def indicators_of(feed: Feed, *asked: Any) -> list[dict[str, Any]]:
    return [found for found in objects_of(feed, *asked) if found["type"] == "indicator"]


def test_the_same_seed_makes_the_same_feed_and_another_seed_another() -> None:
    first, again, other = (b"".join(Feed(size=50, now=NOW, seed=seed).encoded()) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_every_object_is_valid_stix() -> None:
    objects = objects_of(Feed(size=500, now=NOW))
    parsed = [parse(found, allow_custom=True) for found in objects]
    assert len(parsed) == 500 + len(COMPANIONS)


def test_indicators_are_as_large_and_varied_as_real_ones() -> None:
    indicators = indicators_of(Feed(size=2_000, now=NOW))
    types = Counter(pattern_type(found["pattern"]) for found in indicators)
    assert set(types) == set(TYPES)
    assert min(types.values()) > 150
    assert len({found["id"] for found in indicators}) == 2_000
    assert 1_000 < len(json.dumps(indicators)) / 2_000 < 1_200
    assert {bool(found.get("valid_until")) for found in indicators} == {True, False}
    assert {bool(found.get("kill_chain_phases")) for found in indicators} == {True, False}


def test_indicators_refer_to_what_the_feed_or_the_platform_has() -> None:
    indicators = indicators_of(Feed(size=300, now=NOW))
    assert {found["created_by_ref"] for found in indicators} == {IDENTITY_ID}
    markings = {marking for found in indicators for marking in found["object_marking_refs"]}
    assert markings == {OWN_MARKING_ID, *PLATFORM_MARKING_IDS}


def test_start_and_types_select() -> None:
    feed = Feed(size=1_000, now=NOW)
    start = NOW - timedelta(days=2)
    everything = indicators_of(feed)
    asked = indicators_of(feed, ("ipv4", "url"), start)
    assert asked == [
        found
        for found in everything
        if pattern_type(found["pattern"]) in {"ipv4", "url"}
        and datetime.fromisoformat(found["modified"]) >= start
    ]
    assert 0 < len(asked) < len(everything)


def test_modified_is_in_no_order_and_within_the_days_before_now() -> None:
    times = [
        datetime.fromisoformat(found["modified"]) for found in indicators_of(Feed(size=200, now=NOW, days=3))
    ]
    assert times != sorted(times)
    assert NOW - timedelta(days=3) <= min(times) < NOW - timedelta(days=2.5)
    assert NOW - timedelta(days=0.5) < max(times) <= NOW


def test_a_delta_with_nothing_in_it_has_no_companions_either() -> None:
    assert objects_of(Feed(size=10, now=NOW), TYPES, NOW + timedelta(seconds=1)) == []


@pytest.mark.parametrize(("where", "positions"), [("first", {0, 1}), ("last", {5, 6}), ("absent", set())])
def test_companions_stand_where_they_should(where: Any, positions: set[int]) -> None:
    objects = objects_of(Feed(size=5, now=NOW, companions=where))
    assert {number for number, found in enumerate(objects) if found["type"] != "indicator"} == positions


def test_a_late_indicator_is_served_from_the_moment_it_is_added() -> None:
    feed = Feed(size=10, now=NOW)
    late = feed.indicator(10, NOW - timedelta(minutes=5))
    assert late["id"] not in {found["id"] for found in indicators_of(feed)}
    feed.add(late)
    assert indicators_of(feed, TYPES, NOW - timedelta(minutes=5)) == [late]


def test_a_changed_indicator_takes_the_place_of_its_elder() -> None:
    feed = Feed(size=10, now=NOW)
    changed = feed.indicator(3, NOW + timedelta(minutes=1)) | {"confidence": 1}
    feed.add(changed)
    indicators = indicators_of(feed)
    assert len(indicators) == 10
    assert [found for found in indicators if found["id"] == changed["id"]] == [changed]


def test_bytes_are_served_as_they_are() -> None:
    feed = Feed(size=1, now=NOW)
    feed.add(b'{"type": "indicator", "confidence": 1e400')
    assert b'{"type": "indicator", "confidence": 1e400]}' in b"".join(feed.encoded())


def test_a_feed_of_any_size_is_encoded_piece_by_piece() -> None:
    pieces = Feed(size=1_000_000, now=NOW).encoded()
    first = next(pieces)
    assert PIECE_BYTES <= len(first) < PIECE_BYTES + 2_000


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_file_is_served_whole(path: Path) -> None:
    expected = json.loads(path.read_text())["objects"]
    served = objects_of(Feed.from_file(path))
    assert sorted(map(json.dumps, served)) == sorted(map(json.dumps, expected))


def test_of_a_file_start_selects_indicators_and_the_rest_always_comes(tmp_path: Path) -> None:
    old = {
        "type": "indicator",
        "id": "indicator--1",
        "modified": "2020-01-01T00:00:00Z",
        "pattern": "[url:value='x']",
    }
    new = old | {"id": "indicator--2", "modified": "2022-01-01T00:00:00Z"}
    foreign = new | {"id": "indicator--3", "pattern": "[configuration-profile:id = 'x']"}
    malware = {"type": "malware", "id": "malware--4", "modified": "2020-01-01T00:00:00Z"}
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"type": "bundle", "objects": [old, malware, new, foreign]}))
    feed = Feed.from_file(path)
    start = datetime(2021, 1, 1, tzinfo=UTC)
    assert feed.oldest() == datetime(2020, 1, 1, tzinfo=UTC)
    assert objects_of(feed, TYPES, start) == [new, foreign, malware]
    assert objects_of(feed, ("ipv4",), start) == [foreign, malware]


def test_a_file_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"type": "report"}')
    with pytest.raises(ValueError, match="no STIX bundle"):
        Feed.from_file(path)
