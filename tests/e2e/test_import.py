"""The import as a whole: what an operator of Cluster25 and OpenCTI would see, on every platform release."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import pytest
from stix2.parsing import parse

from cluster25.clock import to_rfc3339
from local.cluster25 import Cluster25
from local.feed import Feed
from local.indicators import stix_time
from local.loopback import Exchange
from local.opencti import OpenCTI
from tests.clock import SimulatedClock
from tests.e2e.conftest import Function
from tests.faults.world import offered_by, received_by

SAMPLES = sorted((Path(__file__).parents[3] / "shared" / "samples").glob("*.stix2"))


def test_a_first_import_brings_everything_once_and_a_second_nothing(
    function: Function, feed: Feed, sink: OpenCTI, clock: SimulatedClock
) -> None:
    before = clock.now()
    first = function.run()
    assert (first["outcome"], first["pushed"], first["rejected"]) == ("ok", feed.size, 0)
    assert sum(first["by_type"].values()) == feed.size
    assert set(first["by_type"]) <= {
        "ipv4", "domain", "md5", "sha1", "sha256", "url", "email", "ipv6", "filename"
    }  # fmt: skip
    assert received_by(sink) == offered_by(feed)
    assert datetime.fromisoformat(first["watermark"]) == before

    clock.advance(600)
    pushes = len(sink.ingestion.pushed)
    second = function.run()
    assert (second["outcome"], second["pushed"]) == ("empty", 0)
    assert len(sink.ingestion.pushed) == pushes
    assert datetime.fromisoformat(second["watermark"]) == before + timedelta(seconds=600)


def test_a_late_indicator_is_brought_by_the_overlap_alone(
    function: Function, feed: Feed, source: Cluster25, sink: OpenCTI, clock: SimulatedClock
) -> None:
    function.run()
    late = feed.indicator(feed.size, clock.now() - timedelta(seconds=300))
    feed.add(late)
    clock.advance(600)
    answer = function.run()
    assert (answer["outcome"], answer["pushed"]) == ("ok", 1)
    assert (late["id"], late["modified"]) in received_by(sink)
    assert source.exports[-1].start == clock.now() - timedelta(seconds=600 + 900)


def test_a_changed_indicator_is_a_new_one(
    function: Function, feed: Feed, sink: OpenCTI, clock: SimulatedClock
) -> None:
    function.run()
    clock.advance(600)
    feed.add(feed.indicator(3, clock.now()))
    assert function.run()["pushed"] == 1
    assert received_by(sink) >= offered_by(feed)


def test_everything_pushed_is_sound_in_the_eyes_of_the_platform_and_of_stix(
    function: Function, sink: OpenCTI, feed: Feed
) -> None:
    function.run()
    judgement = sink.judge()
    assert judgement.sound, judgement
    for found in sink.ingestion.latest.values():
        parse(found, allow_custom=True)
        if found["type"] == "indicator":
            assert found["x_opencti_main_observable_type"] in {
                "IPv4-Addr", "IPv6-Addr", "Domain-Name", "Url", "StixFile", "Email-Addr"
            }  # fmt: skip
    sink.run_workers()
    works = sink.works.by_id.values()
    assert (
        sum(work.expected for work in works)
        == sum(work.processed for work in works)
        == judgement.expectations
    )
    assert {work.status for work in works} == {"complete"}


@pytest.mark.parametrize("size", [1, 2])
def test_the_platforms_own_work_counts_right_for_small_bundles_too(
    function: Function, sink: OpenCTI, feed: Feed, size: int, clock: SimulatedClock
) -> None:
    function.run()
    sink.run_workers()
    sink.works.by_id.clear()
    clock.advance(600)
    plain = {key: value for key, value in feed.indicator(0).items() if key != "object_marking_refs"}
    for number in range(size):
        # no companions but a marking every platform has: the bundle has as many objects as indicators
        added = {**plain, "id": feed.indicator(1000 + number)["id"], "modified": stix_time(clock.now())}
        added["created_by_ref"] = plain["created_by_ref"]
        feed.add(added)
    function.run()
    sink.run_workers()
    (work,) = sink.works.by_id.values()
    assert (work.status, work.expected) == ("complete", work.processed)
    assert work.expected == size + 1  # and their author


def test_observables_are_created_only_when_asked_for(
    function: Function, sink: OpenCTI, clock: SimulatedClock, feed: Feed
) -> None:
    function.run()
    assert not any("x_opencti_create_observables" in found for found in sink.ingestion.latest.values())
    function.configure(cluster25_create_observables="true")
    function.reset()
    function.run()
    indicators = [found for found in sink.ingestion.latest.values() if found["type"] == "indicator"]
    assert all(found["x_opencti_create_observables"] is True for found in indicators)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_real_bundles_arrive_as_they_are_apart_from_what_is_completed(
    function: Function, source: Cluster25, sink: OpenCTI, sample: Path
) -> None:
    source.feed = Feed.from_file(sample)
    function.configure(cluster25_import_start_date="2015-01-01")
    answer = function.run()
    objects = orjson.loads(sample.read_bytes())["objects"]
    ids = {found["id"] for found in objects}
    # one of the bundles has a relationship to an indicator that is not in it
    sound = [found for found in objects if {found.get("source_ref"), found.get("target_ref")} <= ids | {None}]
    assert (answer["pushed"], answer["rejected"]) == (len(sound), len(objects) - len(sound))
    assert sink.judge().sound
    for sent in sound:
        found = sink.ingestion.latest[sent["id"]]
        completed = {"created_by_ref", "x_opencti_main_observable_type"}
        assert {key: value for key, value in found.items() if key in sent or key not in completed} == sent


def test_real_bundles_are_there() -> None:
    if not SAMPLES:
        pytest.skip("the sample bundles are not beside this checkout")
    assert len(SAMPLES) == 2


def test_a_run_by_hand_leaves_the_watermark(
    function: Function, source: Cluster25, sink: OpenCTI, clock: SimulatedClock
) -> None:
    watermark = function.run()["watermark"]
    clock.advance(600)
    since = clock.now() - timedelta(days=30)
    answer = function.run(since=to_rfc3339(since), types=["ipv4", "md5"])
    assert answer["watermark"] == watermark
    assert (source.exports[-1].start, set(source.exports[-1].types)) == (since, {"ipv4", "md5"})


def test_what_a_run_by_hand_pushed_is_in_the_ledger(
    function: Function, source: Cluster25, clock: SimulatedClock, sink: OpenCTI, feed: Feed
) -> None:
    feed.size = 0
    function.run()
    clock.advance(600)
    feed.add(feed.indicator(1, clock.now() - timedelta(seconds=10)))
    assert function.run(since=to_rfc3339(clock.now() - timedelta(seconds=60)))["pushed"] == 1
    assert function.run()["outcome"] == "empty"
    assert max(sink.ingestion.received.values()) == 1


def test_a_dry_run_changes_nothing_at_all(
    function: Function, source: Cluster25, sink: OpenCTI, clock: SimulatedClock, feed: Feed, tmp_path: Path
) -> None:
    dry = function.run(dry_run=True)
    assert (dry["outcome"], dry["pushed"], dry["watermark"]) == ("ok", feed.size, None)
    assert not sink.requests
    function.run()
    state, asked = function.status(), sink.requests.total()
    clock.advance(600)
    assert function.run(dry_run=True)["outcome"] == "empty"
    assert sink.requests.total() == asked
    unchanged = function.status()
    assert unchanged["runs"] == state["runs"]
    assert unchanged["watermark"] == state["watermark"]


def test_a_backfill_goes_on_over_many_budgets_and_undisturbed_by_regular_runs(
    function: Function, feed: Feed, sink: OpenCTI, clock: SimulatedClock
) -> None:
    feed.size = 0
    watermark = function.run()["watermark"]
    since = clock.now() - timedelta(days=60)
    for number in range(100):
        feed.add(feed.indicator(number, since + timedelta(days=number / 2)))
    function.configure(cluster25_chunk_objects=10, cluster25_run_budget_sec=60)

    def dawdle(exchange: Exchange) -> bool:
        if b"stixBundlePush" in exchange.body():
            clock.advance(25)
        return False

    sink.fault = dawdle
    answers = [function.run(since=to_rfc3339(since))]
    while answers[-1]["outcome"] == "partial":
        assert answers[-1]["pushed"] > 0
        clock.advance(600)
        regular = function.run()
        assert regular["outcome"] == "empty"
        assert regular["watermark"] > watermark
        answers.append(function.run(since=to_rfc3339(since)))
    assert len(answers) > 3
    assert answers[-1]["outcome"] in {"ok", "empty"}
    assert received_by(sink) == offered_by(feed)
    assert sink.ingestion.sent_twice == 0
    function.run()
    assert function.run(since=to_rfc3339(since), dry_run=True)["pushed"] == 100  # the ledger is pruned again


def test_what_came_of_an_export_too_slow_for_one_run_is_pushed_in_time(
    function: Function, feed: Feed, source: Cluster25, sink: OpenCTI, clock: SimulatedClock
) -> None:
    feed.size = 60

    def crawl(pieces: Iterator[bytes]) -> Iterator[bytes]:
        document, asked_at = b"".join(pieces), clock.now()
        for begin in range(0, len(document), 2048):
            # The time for reading passes in the middle of the export, the whole budget does not.
            if begin > len(document) / 2 and clock.now() - asked_at < timedelta(seconds=440):
                clock.advance(440)
            yield document[begin : begin + 2048]
            time.sleep(0.005)  # each piece is to arrive by itself

    source.transform = crawl
    first = function.run()
    assert first["outcome"] == "partial"
    assert 0 < first["pushed"] < feed.size
    source.transform = None
    clock.advance(120)
    second = function.run()
    assert (second["outcome"], second["skipped"]) == ("ok", first["pushed"])
    assert received_by(sink) == offered_by(feed)
    assert sink.ingestion.sent_twice == 0


def test_what_came_before_a_cut_is_not_sent_again(
    function: Function, feed: Feed, source: Cluster25, sink: OpenCTI
) -> None:
    source.transform = lambda pieces: iter([b"".join(pieces)[:100_000]])
    status, answer = function.call()
    assert (status, answer["outcome"], answer["watermark"]) == (503, "failed", None)
    assert answer["pushed"] > 50
    source.transform = None
    assert function.run()["skipped"] == answer["pushed"]
    assert received_by(sink) == offered_by(feed)
    assert sink.ingestion.sent_twice == 0
