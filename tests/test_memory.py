"""Memory has a bound that the size of an import does not move; seen on real processes, without a clock."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.feed_files import FOLDER
from bench.measuring import SQLITE, Peers, Sample, measure, running_peers
from local.loopback import Exchange
from tests.clock import SimulatedClock
from tests.faults.world import World

MEGABYTE = 1_000_000
CHUNK_OBJECTS = 2_000
"""The default of CLUSTER25_CHUNK_OBJECTS."""


@pytest.fixture(scope="module")
def peers() -> Iterator[Peers]:
    FOLDER.mkdir(exist_ok=True)
    with running_peers(emulator=None) as peers:
        yield peers
    for size in SIZES:
        (FOLDER / f"{size}.json").unlink(missing_ok=True)


SIZES = (10_001, 60_001)
"""Sizes of which the benchmark keeps no files."""


@pytest.fixture(scope="module")
def samples(peers: Peers) -> list[Sample]:
    return [measure(SQLITE, size, peers) for size in SIZES]


def test_six_times_the_import_takes_no_more_memory(samples: list[Sample]) -> None:
    small, large = samples
    assert large.peak_rss_bytes - small.peak_rss_bytes < 5 * MEGABYTE


def test_an_import_takes_little_beside_what_was_imported_at_the_start(samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.peak_rss_bytes - sample.imports_rss_bytes < 30 * MEGABYTE
        assert sample.peak_rss_bytes < 160 * MEGABYTE


def test_requests_are_the_pushes_and_a_few_and_none_is_large(samples: list[Sample]) -> None:
    for sample in samples:
        pushes = -(-sample.size // CHUNK_OBJECTS)
        assert pushes <= sample.requests <= pushes + 4
        assert sample.largest_body_bytes < 5 * MEGABYTE


def test_a_failed_push_stops_the_reading(tmp_path: Path, clock: SimulatedClock) -> None:
    read_bytes = 0

    def counting(pieces: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal read_bytes
        for piece in pieces:
            yield piece
            read_bytes += len(piece)

    def refuse_pushes(exchange: Exchange) -> bool:
        if b"stixBundlePush" not in exchange.body():
            return False
        exchange.answer_json(200, {"errors": [{"message": "no", "extensions": {"code": "FORBIDDEN"}}]})
        return True

    with World(tmp_path, clock) as world:
        world.feed.size = 60_000
        world.source.transform = counting
        world.sink.fault = refuse_pushes
        result = world.run()
    assert result.outcome == "failed"
    # Two chunks, and what the sockets' buffers hold, of 65 MB.
    assert read_bytes < 20 * MEGABYTE


def test_a_push_tells_its_length_although_it_is_sent_in_parts(tmp_path: Path, clock: SimulatedClock) -> None:
    """Proxies and platforms may refuse a body whose length they are not told."""
    lengths: list[str | None] = []

    def note_length(exchange: Exchange) -> bool:
        if b"stixBundlePush" in exchange.body():
            lengths.append(exchange.headers.get("Content-Length"))
        return False

    with World(tmp_path, clock) as world:
        world.feed.size = 500
        world.sink.fault = note_length
        assert world.run().outcome == "ok"
        assert lengths == [str(size) for size in world.sink.ingestion.body_sizes_bytes]
