"""From raw objects to accepted chunks: what is skipped, rejected, pushed and remembered, in which order."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster25.chunks import Chunk
from cluster25.clock import Budget
from cluster25.errors import BundleTooLargeError, SinkUnavailableError
from cluster25.reading import IsNew, Reader
from cluster25.run import Run, RunRequest
from cluster25.scan import Batch
from cluster25.settings import Settings
from cluster25.state.document import COMPANIONS_BYTES
from cluster25.state.ledger import DIGEST_BYTES, Entry, Ledger
from cluster25.state.store import Rejected
from cluster25.stix import Item, cluster25_author, unescape
from cluster25.transfer import Outlet, Transfer
from local.indicators import COMPANIONS, TYPES, Draw, make_indicator
from local.judgement import Judgement, judge_bundles
from tests.clock import SimulatedClock
from tests.objects import PLATFORM_MARKING, content_of, object_id

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"
ENDS = ("source_ref", "target_ref")
MODIFIED = datetime(2026, 2, 1, tzinfo=UTC)
NOW_SECONDS = int(SimulatedClock().now().timestamp())


def indicator(number: int, modified: datetime = MODIFIED) -> dict[str, Any]:
    return make_indicator(Draw(3, number), TYPES[number % len(TYPES)], modified)


@dataclass
class Platform:
    """An OpenCTI that takes bodies of `limit_bytes`, and a state store; `happened` is what they saw."""

    limit_bytes: int = 1 << 30
    failing_from: int = 1_000
    """The push that fails, and all after it."""
    happened: list[tuple[str, list[bytes]]] = field(default_factory=list)
    bundles: list[dict[str, Any]] = field(default_factory=list)
    kept: list[Rejected] = field(default_factory=list)

    def push(self, chunk: Chunk) -> None:
        body = b"".join(chunk.escaped_bundle())
        if len(body) > self.limit_bytes:
            raise BundleTooLargeError("OpenCTI answered 413.", "Smaller chunks.")
        if len(self.bundles) + 1 >= self.failing_from:
            raise SinkUnavailableError("OpenCTI is gone.", "Wait.")
        self.bundles.append(json.loads(unescape(body)))
        self.happened.append(("pushed", [item.digest for item in chunk.items]))

    def record(self, entries: list[Entry]) -> None:
        self.happened.append(("recorded", [entry[:DIGEST_BYTES] for entry in entries]))

    @property
    def ids(self) -> list[str]:
        return [found["id"] for bundle in self.bundles for found in bundle["objects"]]

    def judge(self) -> Judgement:
        return judge_bundles(self.bundles)


@dataclass
class Import:
    """Runs of transfers from one ledger, each of one export."""

    ledger: Ledger = field(default_factory=Ledger)
    chunk_objects: int = 100
    floor: datetime | None = None
    remembered: list[str] = field(default_factory=list)
    clock: SimulatedClock = field(default_factory=SimulatedClock)

    def run(
        self,
        objects: Iterable[Any],
        platform: Platform,
        *,
        oversized: Sequence[bytes] = (),
        to_the_end: bool = True,
    ) -> Run:
        settings = Settings(
            opencti_url="http://127.0.0.1:1",
            opencti_token="opencti-token-of-this-test",
            connector_id="3f1f6f0e-5a8b-4a57-8f39-4f6b3c1e2a10",
            cluster25_client_id="id",
            cluster25_client_secret="client-secret-of-this-test",
            cluster25_chunk_objects=self.chunk_objects,
        )
        run = Run("run-1", RunRequest("call"), self.clock.now(), Budget.of(self.clock, 480))
        outlet = Outlet(platform.push, platform.record, platform.kept.extend)
        raws = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in objects]
        with Transfer(
            settings, self.clock, run, self.ledger, self.floor, self.remembered, outlet
        ) as transfer:
            try:
                transfer.take(Batch(objects=raws, oversized=list(oversized)))
                if to_the_end:
                    transfer.finish()
            finally:
                self.remembered = transfer.companions.to_remember(COMPANIONS_BYTES)
        return run


def test_a_feed_is_pushed_once_completely_and_counted_by_its_types() -> None:
    objects = [*map(indicator, range(450)), *COMPANIONS]
    platform, imported = Platform(), Import()
    tally = imported.run(objects, platform).tally
    assert sorted(set(platform.ids)) == sorted(found["id"] for found in objects)
    assert platform.judge().sound
    assert tally.by_type == dict.fromkeys(TYPES, 50)
    assert (tally.exported, tally.pushed, tally.skipped, tally.rejected) == (452, 450, 0, 0)
    again = Platform()
    tally = imported.run(objects, again).tally
    assert (again.bundles, tally.exported, tally.pushed, tally.skipped) == ([], 452, 0, 450)


def test_a_chunk_is_recorded_after_it_was_accepted_and_never_before() -> None:
    platform = Platform()
    Import(chunk_objects=10).run(map(indicator, range(45)), platform)
    assert len(platform.happened) > 8
    for pushed, recorded in zip(platform.happened[::2], platform.happened[1::2], strict=True):
        assert (pushed[0], recorded[0]) == ("pushed", "recorded")
        assert pushed[1] == recorded[1]


def test_what_was_not_accepted_is_in_no_ledger_and_comes_again() -> None:
    objects = [*COMPANIONS, *map(indicator, range(45))]
    imported, failing = Import(chunk_objects=10), Platform(failing_from=3)
    with pytest.raises(SinkUnavailableError):
        imported.run(objects, failing)
    accepted = [found for found in failing.ids if found.startswith("indicator")]
    assert 0 < len(accepted) == len(imported.ledger) < 45
    platform = Platform()
    assert imported.run(objects, platform).tally.skipped == len(accepted)
    rest = [found for found in platform.ids if found.startswith("indicator")]
    assert sorted(accepted + rest) == sorted(found["id"] for found in objects[2:])


@pytest.mark.parametrize(("failing_from", "accepted"), [(2, 10), (3, 20)])
def test_the_chunk_in_flight_when_a_run_is_cut_off_counts_if_it_was_accepted(
    failing_from: int, accepted: int
) -> None:
    imported, platform = Import(chunk_objects=10), Platform(failing_from=failing_from)
    objects = [
        content_of("malware", number, []) | {"created_by_ref": PLATFORM_MARKING} for number in range(25)
    ]
    run = imported.run(objects, platform, to_the_end=False)
    assert len(imported.ledger) == run.tally.pushed == accepted


def test_a_new_version_is_pushed_and_an_object_that_comes_twice_is_pushed_once() -> None:
    platform, imported = Platform(), Import()
    tally = imported.run([indicator(1), indicator(2), indicator(1)], platform).tally
    assert (tally.pushed, tally.skipped) == (2, 1)
    newer = Platform()
    imported.run([indicator(1, MODIFIED + timedelta(seconds=1)), indicator(2)], newer)
    assert [found for found in newer.ids if found.startswith("indicator")] == [indicator(1)["id"]]


def test_what_has_no_modified_is_pushed_once_per_content_and_stays_in_the_ledger_while_it_comes() -> None:
    observable = {"type": "domain-name", "id": object_id("domain-name", 1), "value": "a.example"}
    platform, imported = Platform(), Import()
    imported.run([observable], platform)
    imported.clock.advance(7 * 86_400)
    assert imported.run([observable], platform).tally.skipped == 1
    imported.ledger.prune(NOW_SECONDS + 6 * 86_400)
    assert imported.run([observable], platform).tally.skipped == 1
    assert imported.run([{**observable, "value": "b.example"}], platform).tally.pushed == 1
    assert len(platform.bundles) == 2


def test_what_is_older_than_asked_is_skipped_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    platform = Platform()
    old = [indicator(number, MODIFIED - timedelta(days=1)) for number in range(3)]
    with caplog.at_level(logging.WARNING):
        tally = Import(floor=MODIFIED).run([*COMPANIONS, *old, indicator(4)], platform).tally
    assert (tally.pushed, tally.skipped) == (1, 3)
    (warning,) = caplog.messages
    assert "3 objects" in warning


def test_a_relationship_to_something_older_than_asked_goes_wherever_that_stands() -> None:
    old = {"created": "2020-01-01T00:00:00Z", "modified": "2020-01-01T00:00:00Z"}
    ends = [content_of("malware", number, []) | old for number in (1, 2)]
    relationship = content_of("relationship", 3, [end["id"] for end in ends])
    relationship["modified"] = "2026-03-01T00:00:00Z"
    for order in ([*ends, relationship], [relationship, *ends]):
        platform = Platform()
        assert Import(floor=MODIFIED).run(order, platform).tally.rejected == 0
        assert platform.ids[-1] == relationship["id"]


def test_companions_are_neither_pushed_nor_skipped_and_are_remembered_for_later_runs() -> None:
    imported = Import()
    assert imported.run([*COMPANIONS, indicator(1)], Platform()).tally.pushed == 1
    platform = Platform()
    imported.run([indicator(number) for number in range(2, 20)], platform)
    assert {found["id"] for found in COMPANIONS} <= set(platform.ids)
    assert platform.judge().sound
    assert imported.run(COMPANIONS, Platform()).tally.skipped == 0


def test_references_to_what_never_came_are_dropped_and_counted() -> None:
    absent = object_id("identity", 98), object_id("marking-definition", 99)
    platform = Platform()
    run = Import().run([content_of("indicator", 1, absent), content_of("indicator", 2, absent[:1])], platform)
    assert (run.tally.pushed, run.tally.dropped_references) == (2, 3)
    assert [found.get("created_by_ref") for found in platform.bundles[0]["objects"]] == [
        None,
        cluster25_author().object_id,
        cluster25_author().object_id,
    ]
    assert platform.judge().sound


def test_what_waits_for_something_held_back_is_not_released_by_its_coming_twice() -> None:
    malware = content_of("malware", 2, [object_id("malware", 3)])
    last = content_of("malware", 3, [])
    relationship = content_of("relationship", 1, [malware["id"], malware["id"]])
    platform = Platform()
    Import(chunk_objects=1).run([relationship, malware, malware, last], platform)
    assert [found for found in platform.ids if "identity" not in found] == [
        last["id"],
        malware["id"],
        relationship["id"],
    ]


def test_a_chunk_refused_as_too_large_goes_in_parts_and_keeps_its_order() -> None:
    objects = [*COMPANIONS, *map(indicator, range(200))]
    platform = Platform(limit_bytes=50_000)
    imported = Import(chunk_objects=150)
    tally = imported.run(objects, platform).tally
    assert (tally.pushed, tally.rejected, len(imported.ledger)) == (200, 0, 200)
    pushed = [found for found in platform.ids if found.startswith("indicator")]
    assert pushed == [found["id"] for found in objects[2:]]
    assert platform.judge().sound


def test_an_object_refused_alone_is_rejected_with_what_means_nothing_without_it() -> None:
    large = content_of("malware", 1, []) | {"description": "x" * 60_000}
    small = content_of("malware", 2, [large["id"]])
    relationships = [content_of("relationship", number, [large["id"], small["id"]]) for number in (3, 4)]
    for chunk_objects in (2, 100):
        platform = Platform(limit_bytes=50_000)
        tally = (
            Import(chunk_objects=chunk_objects)
            .run([*relationships, small, large, indicator(1)], platform)
            .tally
        )
        assert (tally.pushed, tally.rejected) == (2, 3)
        assert {kept.object_id for kept in platform.kept} == {
            large["id"],
            *(one["id"] for one in relationships),
        }
        assert platform.judge().dangling == []


def test_a_platform_that_takes_not_even_the_companions_fails_the_run() -> None:
    with pytest.raises(BundleTooLargeError):
        Import().run(COMPANIONS, Platform(limit_bytes=100))


def test_companions_that_nothing_refers_to_survive_a_chunk_that_is_too_large() -> None:
    unused = content_of("identity", 1, [])
    for number_of_objects in (1, 20):
        imported, platform = Import(), Platform(limit_bytes=20_000)
        large = [
            content_of("malware", number, []) | {"description": "x" * (30_000 // number_of_objects)}
            for number in range(2, 2 + number_of_objects)
        ]
        imported.run([unused, *large], platform)
        assert unused["id"] in platform.ids
        assert unused["id"] in {json.loads(text)["id"] for text in imported.remembered}


def test_an_object_too_large_only_for_the_company_it_was_in_goes_without_it() -> None:
    unused = content_of("identity", 1, []) | {"description": "x" * 15_000}
    large = content_of("malware", 2, []) | {"description": "x" * 30_000}
    platform = Platform(limit_bytes=40_000)
    tally = Import().run([unused, large], platform).tally
    assert (tally.pushed, tally.rejected) == (1, 0)
    assert {unused["id"], large["id"]} <= set(platform.ids)
    assert [len(bundle["objects"]) for bundle in platform.bundles] == [2, 1]


def test_more_companions_than_can_be_remembered_are_sent_once() -> None:
    identities = [content_of("identity", number, []) | {"description": "x" * 500} for number in range(400)]
    imported, platform = Import(chunk_objects=1_000), Platform()
    imported.run(identities, platform)
    assert sum(map(len, imported.remembered)) < COMPANIONS_BYTES < len(json.dumps(identities))
    assert set(platform.ids) == {found["id"] for found in identities}
    again = Platform()
    imported.run(identities, again)
    assert again.bundles == []


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample bundles are not here")
@pytest.mark.parametrize("name", ["cytrox.stix2", "wintego_helios.stix2"])
def test_real_bundles_go_through_in_either_order_but_for_relationships_to_nothing(name: str) -> None:
    objects = json.loads((SAMPLES / name).read_bytes())["objects"]
    ids = {found["id"] for found in objects}
    loose = [found["id"] for found in objects if not {found.get(key, found["id"]) for key in ENDS} <= ids]
    for order in (objects, objects[::-1]):
        platform = Platform()
        tally = Import().run(order, platform).tally
        assert (tally.pushed, tally.dropped_references) == (len(objects) - len(loose), 0)
        assert [kept.object_id for kept in platform.kept] == loose
        assert platform.judge().sound


def test_bad_objects_are_kept_with_their_reason_and_the_others_pass() -> None:
    bad = {
        b'{"type":"indicator","id":"%b","x":1e400}' % object_id("indicator", 7).encode(): "JSON",
        b'{"type":"indicator","x":"' + b"\xff" * 1_000_001 + b'"}': "JSON",
        b"null": "JSON object",
        json.dumps({**indicator(2), "pattern": "[" * 5_000}).encode(): "pattern",
        json.dumps(
            content_of("relationship", 3, [object_id("malware", 98), object_id("malware", 99)])
        ).encode(): ("malware--"),
    }
    platform = Platform()
    tally = Import().run([*COMPANIONS, *bad, indicator(1)], platform).tally
    assert (tally.pushed, tally.rejected) == (1, 5)
    for kept, (raw, reason) in zip(platform.kept, bad.items(), strict=True):
        assert reason in kept.reason
        assert len(kept.reason) <= 500
        assert kept.content[:20] == raw[:1_000_000][:20]
        assert len(kept.content) <= 1_000_000
        assert (kept.run_id, kept.rejected_at) == ("run-1", SimulatedClock().now())
        assert kept.expires_at - kept.rejected_at == timedelta(days=30)
    assert platform.kept[0].object_id == object_id("indicator", 7)


def test_what_the_scanner_found_too_large_is_kept_by_its_head() -> None:
    head = b'{"type":"report","id":"%b","x":"' % object_id("report", 1).encode()
    imported, platform = Import(), Platform()
    imported.run([indicator(1)], platform, oversized=[head])
    (kept,) = platform.kept
    assert (kept.object_id, kept.content) == (object_id("report", 1), head)
    assert "larger" in kept.reason


def test_an_object_that_we_cannot_read_for_a_reason_of_our_own_is_rejected_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = Reader.read

    def stumble(reader: Reader, raw: bytes, is_new: IsNew) -> Item | None:
        if json.loads(raw)["id"] == indicator(3)["id"]:
            raise KeyError("an error that nobody foresaw")
        return read(reader, raw, is_new)

    monkeypatch.setattr(Reader, "read", stumble)
    platform = Platform()
    run = Import().run([indicator(number) for number in range(10)], platform)
    assert (run.tally.pushed, run.tally.rejected) == (9, 1)
    [kept] = platform.kept
    assert kept.object_id == indicator(3)["id"]
    assert "KeyError" in kept.reason
