"""Bundles, the works they belong to, and the judge of what the workers would make of them."""

import json
from typing import Any

import pytest

from local.feed import Feed
from local.indicators import IDENTITY_ID, PLATFORM_MARKING_IDS
from local.opencti import OpenCTI
from tests.local.asking import ADD_WORK, CONNECTOR_ID, PUSH, WORK, ask, push, refusal

URL = "[url:value = 'http://x']"


def bundle_of(*objects: dict[str, Any]) -> str:
    return json.dumps(
        {"type": "bundle", "id": "bundle--5d8f0c1e-7a42-4b6d-9e35-c0a1b2d3e4f5", "objects": objects}
    )


def indicator(number: int, **members: Any) -> dict[str, Any]:
    own_id = f"indicator--00000000-0000-4000-8000-{number:012}"
    return {"type": "indicator", "id": own_id, "modified": "2026-01-01T00:00:00Z", "pattern": URL, **members}


def edit(sink: OpenCTI, work_id: str, change: str) -> None:
    ask(sink, f'mutation {{ workEdit(id: "{work_id}") {{ {change} }} }}')


def progress(sink: OpenCTI, work_id: str) -> tuple[str, int, int]:
    work = ask(sink, WORK, {"id": work_id})
    return (
        work["status"],
        work["tracking"]["import_expected_number"],
        work["tracking"]["import_processed_number"],
    )


def only_work(sink: OpenCTI) -> str:
    (work_id,) = sink.works.by_id
    return work_id


@pytest.mark.parametrize(
    "bundle",
    [
        "",
        "{",
        "null",
        "[]",
        '{"type": "report", "objects": [1]}',
        '{"type": "bundle"}',
        '{"type": "bundle", "objects": []}',
        '{"type": "bundle", "objects": [NaN]}',
    ],
)
def test_what_is_no_bundle_with_objects_is_refused(sink: OpenCTI, bundle: str) -> None:
    code, message = refusal(sink, PUSH, {"id": CONNECTOR_ID, "bundle": bundle})
    assert (code, message) == ("UNSUPPORTED_ERROR", "Invalid bundle")
    assert not sink.ingestion.received
    assert not sink.works.by_id


def test_a_bundle_of_nobodys_is_refused(sink: OpenCTI) -> None:
    assert refusal(sink, PUSH, {"id": "someone", "bundle": bundle_of(indicator(1))})[0] == "UNSUPPORTED_ERROR"


def test_json_that_javascript_reads_is_accepted(sink: OpenCTI) -> None:
    assert (
        push(sink, '{"type": "bundle", "objects": [{"id": "indicator--1", "name": "\\ud800", "n": 1e400}]}')
        is True
    )


def test_what_was_received_is_counted_by_version(sink: OpenCTI) -> None:
    push(sink, bundle_of(indicator(1), indicator(2)))
    push(sink, bundle_of(indicator(1), indicator(2, modified="2026-01-02T00:00:00Z")))
    assert sink.ingestion.received[indicator(1)["id"], "2026-01-01T00:00:00Z"] == 2
    assert sink.ingestion.received[indicator(2)["id"], "2026-01-01T00:00:00Z"] == 1
    assert (sink.ingestion.distinct(), sink.ingestion.sent_twice) == (2, 1)


def test_companions_may_come_again_and_again(sink: OpenCTI) -> None:
    author = {"type": "identity", "id": IDENTITY_ID, "modified": "2026-01-01T00:00:00Z"}
    for number in range(3):
        push(sink, bundle_of(author, indicator(number)))
    assert (sink.ingestion.distinct(), sink.ingestion.sent_twice) == (3, 0)


def test_the_latest_version_of_an_object_is_kept(sink: OpenCTI) -> None:
    newer = indicator(1, modified="2026-01-01T00:00:00.5Z")
    push(sink, bundle_of(newer))
    push(sink, bundle_of(indicator(1)))
    assert sink.ingestion.latest == {newer["id"]: newer}


def test_without_bundles_only_counts_are_kept() -> None:
    with OpenCTI(keep_bundles=False) as sink:
        sink.connectors.register({"id": CONNECTOR_ID, "name": "Cluster25", "type": "EXTERNAL_IMPORT"})
        push(sink, bundle_of(indicator(1)))
        assert sink.ingestion.distinct() == 1
        assert not sink.ingestion.pushed
        assert not sink.ingestion.latest


def test_each_push_is_known_by_the_size_of_its_body(sink: OpenCTI) -> None:
    bundle = bundle_of(indicator(1))
    push(sink, bundle)
    (size,) = sink.ingestion.body_sizes_bytes
    assert size > len(json.dumps(bundle))


def test_without_a_work_the_platform_makes_one_and_counts_right(sink: OpenCTI) -> None:
    push(sink, bundle_of(*map(indicator, range(4))))
    work_id = only_work(sink)
    assert ask(sink, WORK, {"id": work_id})["name"].startswith("Cluster25 run @ 20")
    assert progress(sink, work_id) == ("progress", 0, 0)
    sink.run_workers()
    assert progress(sink, work_id) == ("complete", 4, 4)


def test_without_a_work_a_bundle_of_one_object_counts_right_too(sink: OpenCTI) -> None:
    push(sink, bundle_of(indicator(1)))
    assert progress(sink, only_work(sink)) == ("progress", 1, 0)
    sink.run_workers()
    assert progress(sink, only_work(sink)) == ("complete", 1, 1)


def test_with_a_work_nobody_expects_a_bundle_of_one_object(sink: OpenCTI) -> None:
    work_id = ask(sink, ADD_WORK, {"id": CONNECTOR_ID, "name": "mine"})["id"]
    push(sink, bundle_of(indicator(1)), work_id)
    sink.run_workers()
    assert progress(sink, work_id) == ("complete", 0, 1)


def test_processed_before_the_workers_have_split_closes_the_work_with_a_wrong_count(sink: OpenCTI) -> None:
    work_id = ask(sink, ADD_WORK, {"id": CONNECTOR_ID})["id"]
    push(sink, bundle_of(indicator(1), indicator(2)), work_id)
    edit(sink, work_id, 'toProcessed(message: "done")')
    assert progress(sink, work_id) == ("complete", 0, 0)


def test_processed_after_the_workers_have_split_leaves_the_work_open(sink: OpenCTI) -> None:
    work_id = ask(sink, ADD_WORK, {"id": CONNECTOR_ID})["id"]
    edit(sink, work_id, 'toReceived(message: "begun")')
    edit(sink, work_id, "addExpectations(expectations: 2)")
    edit(sink, work_id, 'toProcessed(message: "done")')
    assert progress(sink, work_id) == ("progress", 2, 0)
    edit(sink, work_id, "reportExpectation")
    edit(sink, work_id, 'reportExpectation(error: {error: "Element(s) not found", source: "x"})')
    assert progress(sink, work_id) == ("complete", 2, 2)
    assert ask(sink, WORK, {"id": work_id})["errors"] == [{"message": "Element(s) not found"}]


def test_a_work_can_report_a_failure_and_nothing_else(sink: OpenCTI) -> None:
    work_id = ask(sink, ADD_WORK, {"id": CONNECTOR_ID, "name": "failed run"})["id"]
    assert progress(sink, work_id) == ("wait", 0, 0)
    edit(sink, work_id, 'toProcessed(message: "Cluster25 is down", inError: true)')
    assert ask(sink, WORK, {"id": work_id})["errors"] == [{"message": "Cluster25 is down"}]


def test_a_work_that_is_gone_can_expect_nothing(sink: OpenCTI) -> None:
    work_id = ask(sink, ADD_WORK, {"id": CONNECTOR_ID})["id"]
    edit(sink, work_id, "delete")
    assert ask(sink, WORK, {"id": work_id}) is None
    document = f'mutation {{ workEdit(id: "{work_id}") {{ addExpectations(expectations: 1) }} }}'
    assert refusal(sink, document)[0] == "WORK_NOT_ALIVE"


def test_the_judge_finds_a_real_feed_sound(sink: OpenCTI) -> None:
    push(sink, b"".join(Feed(size=200).encoded()).decode())
    judgement = sink.judge()
    assert judgement.sound
    assert judgement.objects == judgement.expectations == 202


def test_the_judge_finds_what_refers_to_nothing(sink: OpenCTI) -> None:
    lost = "marking-definition--00000000-0000-4000-8000-0000000000ff"
    push(sink, bundle_of(indicator(1, object_marking_refs=[lost, PLATFORM_MARKING_IDS[0]])))
    judgement = sink.judge()
    assert judgement.dangling == judgement.unaccompanied == [(indicator(1)["id"], lost)]
    assert not judgement.sound


def test_the_judge_finds_an_author_left_behind_in_an_earlier_bundle(sink: OpenCTI) -> None:
    push(sink, bundle_of({"type": "identity", "id": IDENTITY_ID}, indicator(1, created_by_ref=IDENTITY_ID)))
    assert sink.judge().sound
    push(sink, bundle_of(indicator(2, created_by_ref=IDENTITY_ID)))
    judgement = sink.judge()
    assert judgement.unaccompanied == [(indicator(2)["id"], IDENTITY_ID)]
    assert not judgement.dangling
    assert not judgement.sound


def test_the_judge_finds_what_the_workers_drop(sink: OpenCTI) -> None:
    push(sink, bundle_of(indicator(1), {"type": "x-weather", "id": "x-weather--1"}))
    judgement = sink.judge()
    assert judgement.incompatible == ["x-weather--1"]
    assert (judgement.objects, judgement.expectations) == (2, 1)
    assert not judgement.sound


def test_the_judge_finds_an_object_that_stands_twice_in_a_bundle(sink: OpenCTI) -> None:
    push(sink, bundle_of(indicator(1), indicator(1)))
    assert not sink.judge().sound
