"""Bodies of calls: what is clearly a question is understood, all else is refused with what is wrong."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster25.errors import BadRequestError
from cluster25.request import BODY_BYTES, RunBody, parse_body, parse_tick

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def parsed(body: dict[str, Any]) -> RunBody:
    return parse_body(json.dumps(body).encode(), NOW)


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}", b'{"since": null, "types": null}'])
def test_a_call_without_a_question_asks_for_a_regular_run(body: bytes) -> None:
    assert parse_body(body, NOW) == RunBody(dry_run=False, since=None, types=None)


@pytest.mark.parametrize(
    ("since", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T08:30:00", datetime(2026, 1, 31, 8, 30, tzinfo=UTC)),
        ("2026-01-31T08:30:00Z", datetime(2026, 1, 31, 8, 30, tzinfo=UTC)),
        ("2026-01-31T08:30:00+02:00", datetime(2026, 1, 31, 6, 30, tzinfo=UTC)),
        ("2026-03-01T12:00:00Z", NOW),
    ],
)
def test_since_is_a_date_or_a_time_in_utc_unless_it_says_otherwise(since: str, moment: datetime) -> None:
    assert parsed({"since": since}).since == moment


def test_dry_run_and_types_are_understood() -> None:
    body = parsed({"dry_run": True, "types": ["ipv4", "sha256"]})
    assert (body.dry_run, body.types) == (True, ("ipv4", "sha256"))


@pytest.mark.parametrize(
    ("body", "culprit"),
    [
        ({"sinse": "2026-01-31"}, "sinse"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"dry_run": 1}, "dry_run"),
        ({"dry_run": None}, "dry_run"),
        ({"since": 20260131}, "since"),
        ({"since": "P7D"}, "since"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-03-01T12:00:01Z"}, "since"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"types": []}, "types"),
        ({"types": "ipv4"}, "types"),
        ({"types": ["ipv4", "ipv5"]}, "types.1"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], culprit: str) -> None:
    with pytest.raises(BadRequestError, match=culprit) as refusal:
        parsed(body)
    assert "dry_run" in refusal.value.remedy


@pytest.mark.parametrize("body", [b"null", b"[]", b"since=2026", b"{", b"\xff", b'{"dry_run":true}x'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse_body(body, NOW)


def test_long_bodies_are_refused_and_long_complaints_cut() -> None:
    with pytest.raises(BadRequestError, match="longer"):
        parse_body(b'{"types":[' + b'"ipv4",' * BODY_BYTES + b'"ipv4"]}', NOW)
    with pytest.raises(BadRequestError) as refusal:
        parsed({"x" * 500 + str(number): 1 for number in range(100)})
    assert len(refusal.value.what) < 1_000


JSON_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)
BODIES = JSON_VALUES.map(lambda value: json.dumps({"since": value, "types": [value]}).encode())


@given(st.binary(max_size=50) | BODIES)
def test_any_body_is_a_question_or_refused(body: bytes) -> None:
    try:
        asked = parse_body(body, NOW)
    except BadRequestError:
        return
    assert asked.since is None or asked.since.tzinfo is not None


@given(st.integers(0, 2_000_000_000), st.integers(-14, 14))
def test_a_tick_is_the_same_in_whatever_offset_it_is_written(seconds: int, hours: int) -> None:
    tick = datetime.fromtimestamp(seconds, UTC)
    elsewhere = tick.astimezone(timezone(timedelta(hours=hours)))
    assert parse_tick(tick.isoformat()) == parse_tick(elsewhere.isoformat())


@pytest.mark.parametrize(
    "value", ["", "soon", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00Z" + " " * 40]
)
def test_what_is_no_tick_is_refused(value: str) -> None:
    with pytest.raises(BadRequestError, match="ScheduleTime"):
        parse_tick(value)
