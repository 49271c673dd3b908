"""Answers without an end, and bombs: the run fails, the watermark stays, memory stays flat."""

import gzip
import itertools
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import pytest

from cluster25.clock import SystemClock
from local.cluster25 import Cluster25
from local.feed import Feed
from local.loopback import Fault
from local.opencti import OpenCTI
from tests.faults.function import EXPORT, TOKEN, Function, asking, at, at_sink, everything_once
from tests.security.bombs import answering_gzip, gzip_bomb, streaming

MEGABYTE = 1_000_000
BEGINNING, END = b'{"type":"bundle","objects":[', b"]}"
BLANKS = b" " * MEGABYTE
FLAT_BYTES = 24 * MEGABYTE
"""Less than a tenth of what 300 MB that arrive as 300 kB would take, were they ever held."""


@contextmanager
def flat_memory() -> Iterator[None]:
    """What is allocated in between never adds up to `FLAT_BYTES`."""
    tracemalloc.start()
    try:
        yield
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < FLAT_BYTES


BOMBS = {
    "blanks before": gzip_bomb(b"", BLANKS, 1000, BEGINNING + END),
    "blanks between": gzip_bomb(BEGINNING, BLANKS, 1000, END),
    "blanks behind": gzip_bomb(BEGINNING + END, BLANKS, 1000, b""),
    "one string": gzip_bomb(BEGINNING + b'{"name":"', b"x" * MEGABYTE, 1000, b'"}' + END),
    "one string beside the objects": gzip_bomb(b'{"x":"', b"x" * MEGABYTE, 1000, b'"}'),
    "gzip in gzip": gzip.compress(gzip_bomb(BEGINNING, BLANKS, 1000, END)),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_gigabyte_in_a_megabyte_of_gzip(
    function: Function, environment: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI, bomb: bytes
) -> None:
    assert len(bomb) < 1.1 * MEGABYTE
    environment.setenv("CLUSTER25_MAX_EXPORT_BYTES", str(100 * MEGABYTE))
    source.fault = at(EXPORT, answering_gzip(bomb))
    with flat_memory():
        function.fails(500, "source")
    everything_once(function, source, sink)


def test_below_the_ceiling_a_bomb_is_an_export_like_any_other(
    function: Function, source: Cluster25, sink: OpenCTI
) -> None:
    bomb = gzip_bomb(BEGINNING + b'{"name":"', b"x" * MEGABYTE, 300, b'"}' + END)
    source.fault = at(EXPORT, answering_gzip(bomb))
    with flat_memory():
        answer = function.call()
    assert (answer.status, answer.document["rejected"]) == (200, 1)
    (kept,) = function.store.read_rejected(function.clock.now(), 10)
    assert len(kept.content) < MEGABYTE


@pytest.mark.parametrize("clock", [SystemClock()], ids=["real time"])
def test_a_bomb_that_is_slow_to_read_ends_with_the_budget(
    function: Function, environment: pytest.MonkeyPatch, source: Cluster25
) -> None:
    """The socket has nothing to do with it any more: a megabyte and a half holds some minutes of work."""
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", "1")
    source.fault = at(EXPORT, answering_gzip(gzip_bomb(BEGINNING + b"[", b'[""],' * 200_000, 1500, END)))
    started = time.monotonic()
    function.fails(503, "source")
    assert time.monotonic() - started < 8


ENDLESS = {
    "blanks": itertools.repeat(BLANKS),
    "one object": itertools.chain([BEGINNING, b'{"name":"'], itertools.repeat(b"x" * MEGABYTE)),
    "members": itertools.chain([b'{"a":0'], itertools.repeat(b',"b":"%b"' % (b"x" * 10_000))),
}


@pytest.mark.parametrize("pieces", ENDLESS.values(), ids=ENDLESS)
def test_a_body_without_an_end(
    function: Function,
    environment: pytest.MonkeyPatch,
    source: Cluster25,
    sink: OpenCTI,
    pieces: Iterator[bytes],
) -> None:
    environment.setenv("CLUSTER25_MAX_EXPORT_BYTES", str(40 * MEGABYTE))
    source.fault = at(EXPORT, streaming(pieces))
    with flat_memory():
        answer = function.fails(500, "source")
    assert "CLUSTER25_MAX_EXPORT_BYTES" in answer.error["what"]
    everything_once(function, source, sink)


def test_objects_without_an_end(
    function: Function, environment: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI
) -> None:
    environment.setenv("CLUSTER25_MAX_EXPORT_OBJECTS", "2000")
    spoiled = b'{"name":"%b"}' % (b"x" * 1000)
    source.fault = at(
        EXPORT, streaming(itertools.chain([BEGINNING + spoiled], itertools.repeat(b"," + spoiled)))
    )
    answer = function.fails(500, "source")
    assert "CLUSTER25_MAX_EXPORT_OBJECTS" in answer.error["what"]
    assert 2_000 < answer.document["exported"] < 2_500
    everything_once(function, source, sink)


def test_an_export_as_large_as_the_ceilings_is_taken(
    function: Function, environment: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI
) -> None:
    objects = list(source.feed.objects())
    bundle = BEGINNING + b",".join(map(orjson.dumps, objects)) + END
    source.feed = Feed()
    source.fault = at(EXPORT, streaming([bundle]))
    environment.setenv("CLUSTER25_MAX_EXPORT_OBJECTS", str(len(objects)))
    environment.setenv("CLUSTER25_MAX_EXPORT_BYTES", str(len(bundle)))
    assert function.call().outcome == "ok"
    assert len(at_sink(sink)) == 4


BOMB_OF_BLANKS = answering_gzip(gzip_bomb(b"", BLANKS, 300, b"{}"))
SHORT_ANSWERS: dict[str, tuple[str, Fault]] = {
    "token": ("source", at(TOKEN, BOMB_OF_BLANKS)),
    "ping": ("sink", asking("pingConnector", BOMB_OF_BLANKS)),
    "push": ("sink", asking("stixBundlePush", BOMB_OF_BLANKS)),
}


@pytest.mark.parametrize(("side", "fault"), SHORT_ANSWERS.values(), ids=SHORT_ANSWERS)
def test_a_bomb_where_a_short_answer_is_expected(
    function: Function, source: Cluster25, sink: OpenCTI, side: str, fault: Fault
) -> None:
    (source if side == "source" else sink).fault = fault
    with flat_memory():
        function.fails(503, side)
    assert at_sink(sink) == set()
    everything_once(function, source, sink)
