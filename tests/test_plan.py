"""What a run asks for, and since when, after every history of runs, orders and changed settings."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster25.plan import Plan, make_plan
from cluster25.run import RunRequest
from cluster25.settings import Settings
from cluster25.state.document import Question, State
from local.indicators import TYPES

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WATERMARK, FLOOR = NOW - timedelta(seconds=600), NOW - timedelta(seconds=1_500)
URL = "https://feed.example/api/v1"
WEEK = timedelta(days=7)
ALL = Question(base_url=URL, types=sorted(TYPES))
RUN = RunRequest("call")


def plan(state: State, request: RunRequest = RUN, **settings: Any) -> Plan:
    values = {"cluster25_base_url": URL, "cluster25_import_start_date": "P7D"} | settings
    made = Settings(
        opencti_url="http://127.0.0.1:1",
        opencti_token="token",
        connector_id="3f1f6f0e-5a8b-4a57-8f39-4f6b3c1e2a10",
        cluster25_client_id="id",
        cluster25_client_secret="secret",
        **values,
    )
    return make_plan(made, state, NOW, request)


def after_a_clean_run(**changes: Any) -> State:
    return State(watermark=WATERMARK, floor=FLOOR, question=ALL).changed(**changes)


@pytest.mark.parametrize("state", [State(), after_a_clean_run().without_checkpoint()], ids=["first", "reset"])
def test_a_first_run_looks_back_and_wants_everything_that_comes(state: State) -> None:
    assert plan(state) == Plan(ALL, NOW - WEEK, None, pins_start=True)
    assert plan(state, cluster25_import_start_date="2026-01-31").start == datetime(2026, 1, 31, tzinfo=UTC)


def test_an_import_that_is_not_finished_goes_on_from_where_it_began() -> None:
    began = NOW - timedelta(days=9)
    assert plan(State(start=began, question=ALL)) == Plan(ALL, began, None)
    assert plan(after_a_clean_run(start=began)) == Plan(ALL, began, None)


def test_a_regular_run_asks_since_the_overlap_before_the_watermark_however_long_ago_that_was() -> None:
    assert plan(after_a_clean_run()) == Plan(ALL, WATERMARK - timedelta(seconds=900), FLOOR)
    long_ago = NOW - timedelta(days=90)
    assert plan(after_a_clean_run(watermark=long_ago)).start == long_ago - timedelta(seconds=900)
    assert plan(after_a_clean_run(), cluster25_overlap_sec=1).start == WATERMARK - timedelta(seconds=1)


def test_a_new_base_url_or_type_starts_over_from_the_earlier_of_watermark_and_lookback() -> None:
    earlier = Question(base_url=URL, types=["ipv4"])
    assert plan(after_a_clean_run(question=earlier)) == Plan(ALL, NOW - WEEK, None, pins_start=True)
    elsewhere = plan(after_a_clean_run(), cluster25_base_url="https://other.example/api/v1")
    assert (elsewhere.start, elsewhere.floor, elsewhere.pins_start) == (NOW - WEEK, None, True)
    long_ago = NOW - timedelta(days=30)
    assert plan(after_a_clean_run(question=earlier, watermark=long_ago)).start == long_ago
    assert plan(after_a_clean_run(question=earlier, start=long_ago)).start == long_ago


def test_fewer_types_in_any_order_change_nothing_but_the_types() -> None:
    fewer = plan(after_a_clean_run(), cluster25_indicator_types="url,ipv4")
    assert fewer == Plan(
        Question(base_url=URL, types=["ipv4", "url"]), WATERMARK - timedelta(seconds=900), FLOOR
    )


def test_a_run_by_hand_asks_its_own_question_and_pins_nothing() -> None:
    since = NOW - timedelta(days=60)
    for state in (State(), after_a_clean_run()):
        assert plan(state, RunRequest("call", since=since)) == Plan(ALL, since, since)
    by_type = plan(after_a_clean_run(), RunRequest("call", types=("url", "ipv4", "url")))
    assert by_type.question.types == ["ipv4", "url"]
    assert (by_type.start, by_type.floor, by_type.pins_start) == (
        WATERMARK - timedelta(seconds=900),
        FLOOR,
        False,
    )
    assert not plan(State(), RunRequest("call", types=("url",))).pins_start


def test_what_is_sent_again_is_wanted_whatever_its_age() -> None:
    assert plan(after_a_clean_run(), RunRequest("call", resends=True)).floor is None


def test_a_watermark_in_the_future_is_none_and_everything_is_asked_for_again() -> None:
    ahead = after_a_clean_run(watermark=NOW + timedelta(seconds=901), floor=NOW)
    assert plan(ahead) == Plan(ALL, NOW - WEEK, None, pins_start=True)
    began = NOW - timedelta(days=9)
    assert plan(ahead.changed(start=began)) == Plan(ALL, began, None, pins_start=True)


@pytest.mark.parametrize("seconds", [0, 1, 900])
def test_clocks_may_differ_by_the_overlap_and_nothing_is_asked_for_again(seconds: int) -> None:
    ahead = after_a_clean_run(watermark=NOW + timedelta(seconds=seconds))
    assert plan(ahead) == Plan(ALL, NOW + timedelta(seconds=seconds - 900), FLOOR)


def test_an_ordered_watermark_counts_also_where_nothing_was_asked_yet() -> None:
    long_ago = NOW - timedelta(days=30)
    assert plan(State(watermark=long_ago)) == Plan(ALL, long_ago, None, pins_start=True)
    assert plan(State(watermark=WATERMARK)).start == NOW - WEEK


def test_after_the_overlap_was_raised_what_it_covers_is_wanted() -> None:
    assert plan(after_a_clean_run(), cluster25_overlap_sec=901).floor is None
    assert plan(after_a_clean_run(), cluster25_overlap_sec=900).floor == FLOOR
    assert plan(after_a_clean_run(), cluster25_overlap_sec=899).floor == FLOOR
