"""Cluster25 fails in every way it can: the call says so, the watermark stays, the next call completes."""

import gzip
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime

import orjson
import pytest
from pydantic import SecretStr

from cluster25 import transport
from cluster25.client import Cluster25Client
from cluster25.clock import Budget, SystemClock
from cluster25.errors import SourceUnavailableError
from cluster25.scan import scan_bundle
from local.cluster25 import Cluster25
from local.feed import Feed
from local.indicators import TYPES
from local.loopback import Exchange, Fault
from local.opencti import OpenCTI
from tests.faults.function import (
    CLIENT_SECRET,
    EXPORT,
    HEAD,
    LASTING,
    PASSING,
    TOKEN,
    Function,
    NotedClock,
    answering,
    at,
    at_sink,
    deaf,
    drip,
    everything_once,
    raw,
    reset,
    times,
)

TOKEN_URL, EXPORT_URL = f"POST /api/v1{TOKEN}", f"GET /api/v1{EXPORT}"

NO_TOKENS = {
    "no member": b'{"data": {}}',
    "no data": b'{"data": null, "token": "canary-bearer-1"}',
    "elsewhere": b'{"access_token": "canary-bearer-2"}',
    "null": b'{"data": {"token": null}}',
    "empty": b'{"data": {"token": ""}}',
    "a second header": b'{"data": {"token": "canary-bearer\\r\\nX-Other: 1"}}',
    "beyond Latin": b'{"data": {"token": "canary-bearer-\\u20ac"}}',
}
NO_BUNDLES = {
    "objects null": b'{"type": "bundle", "objects": null}',
    "objects an object": b'{"type": "bundle", "objects": {}}',
    "type missing": b'{"objects": []}',
    "type another": b'{"type": "indicator"}',
    "text": b'"bundle"',
    "number": b"7",
}


@pytest.mark.parametrize("path", [TOKEN, EXPORT])
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_503_and_the_next_call_completes(
    function: Function, source: Cluster25, sink: OpenCTI, path: str, fault: Fault
) -> None:
    source.fault = at(path, fault)
    function.fails(503, "source")
    assert at_sink(sink) == set()
    everything_once(function, source, sink)


@pytest.mark.parametrize("path", [TOKEN, EXPORT])
@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING)
def test_what_needs_a_person_is_500_and_asked_only_once(
    function: Function, source: Cluster25, sink: OpenCTI, path: str, fault: Fault
) -> None:
    source.fault = at(path, fault)
    function.fails(500, "source")
    assert (source.requests[TOKEN_URL], source.requests[EXPORT_URL]) == (1, int(path == EXPORT))
    assert at_sink(sink) == set()
    everything_once(function, source, sink)


@pytest.mark.parametrize("answer", NO_TOKENS.values(), ids=NO_TOKENS)
def test_an_answer_without_a_usable_token_is_500(
    function: Function, source: Cluster25, answer: bytes
) -> None:
    source.fault = at(TOKEN, answering(200, answer))
    function.fails(500, "source")
    assert source.requests[EXPORT_URL] == 0


@pytest.mark.parametrize("answer", NO_BUNDLES.values(), ids=NO_BUNDLES)
def test_an_export_that_is_no_bundle_is_500(function: Function, source: Cluster25, answer: bytes) -> None:
    source.fault = at(EXPORT, answering(200, answer))
    function.fails(500, "source")


def test_a_fault_in_a_later_run_keeps_watermark_and_ledger(
    imported: Function, source: Cluster25, sink: OpenCTI
) -> None:
    source.fault = at(EXPORT, answering(502))
    answer = imported.fails(503, "source")
    assert answer.watermark is not None
    everything_once(imported, source, sink)


def test_nobody_listens(function: Function, sink: OpenCTI, source: Cluster25, clock: NotedClock) -> None:
    source.__exit__(None, None, None)
    function.fails(503, "source")
    with Cluster25(source.feed, clock=clock, port=source.port) as again:
        again.client_secret = CLIENT_SECRET
        everything_once(function, again, sink)


def test_connecting_times_out(
    function: Function, environment: pytest.MonkeyPatch, sink: OpenCTI, source: Cluster25
) -> None:
    environment.setattr(transport, "CONNECT_TIMEOUT_SECONDS", 0.1)
    with deaf() as url:
        environment.setenv("CLUSTER25_BASE_URL", url)
        function.fails(503, "source")


@pytest.mark.parametrize(
    "beginning",
    [b"", HEAD, HEAD + b"Content-Length: 9999\r\n\r\n", HEAD + b'Content-Length: 9999\r\n\r\n{"type": "bu'],
    ids=["before the headers", "in the headers", "before the body", "in the body"],
)
@pytest.mark.parametrize("path", [TOKEN, EXPORT])
def test_silence_times_out(
    function: Function,
    environment: pytest.MonkeyPatch,
    source: Cluster25,
    sink: OpenCTI,
    path: str,
    beginning: bytes,
) -> None:
    environment.setattr(transport, "READ_TIMEOUT_SECONDS", 0.1)
    over = threading.Event()
    source.fault = at(path, raw(beginning, lambda _: over.wait(10)))
    try:
        function.fails(503, "source")
    finally:
        over.set()
    everything_once(function, source, sink)


@pytest.mark.parametrize("clock", [SystemClock()], ids=["real time"])
@pytest.mark.parametrize(
    ("path", "beginning"),
    [
        (TOKEN, HEAD + b"X-Slow: "),
        (TOKEN, HEAD + b"Content-Length: 9999\r\n\r\n"),
        (EXPORT, HEAD + b"X-Slow: "),
        (EXPORT, HEAD + b'Content-Length: 9999\r\n\r\n{"type": "bundle", "objects": ['),
    ],
    ids=["token headers", "token body", "export headers", "export body"],
)
def test_dripping_bytes_end_with_the_budget(
    function: Function,
    environment: pytest.MonkeyPatch,
    source: Cluster25,
    sink: OpenCTI,
    path: str,
    beginning: bytes,
) -> None:
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", "1")
    source.fault = at(path, drip(beginning))
    started = time.monotonic()
    function.fails(503, "source")
    assert time.monotonic() - started < 3
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", "60")
    function.main.connector.cache_clear()
    everything_once(function, source, sink)


def test_wrong_credentials_are_500(function: Function, source: Cluster25, sink: OpenCTI) -> None:
    source.client_secret = "another"
    answer = function.fails(500, "source")
    assert "CLUSTER25_CLIENT_SECRET" in answer.error["remedy"]
    assert source.requests == {TOKEN_URL: 1}
    source.client_secret = CLIENT_SECRET
    everything_once(function, source, sink)


def test_a_token_no_longer_taken_is_renewed_once(
    imported: Function, source: Cluster25, sink: OpenCTI
) -> None:
    source.revoke_tokens()
    everything_once(imported, source, sink)
    assert (source.requests[TOKEN_URL], source.requests[EXPORT_URL]) == (2, 3)


def test_401_with_a_fresh_token_is_500(imported: Function, source: Cluster25, sink: OpenCTI) -> None:
    source.requests.clear()
    source.fault = at(EXPORT, answering(401, b"{}"))
    imported.fails(500, "source")
    assert source.requests == {TOKEN_URL: 1, EXPORT_URL: 2}
    everything_once(imported, source, sink)


def test_a_secret_that_cluster25_repeats_is_not_repeated_by_us(function: Function, source: Cluster25) -> None:
    def repeat(exchange: Exchange) -> bool:
        # Blanks so that the end of what a message may quote falls into the middle of the secret.
        said = b"no: " + b"x" * 485 + b" " + exchange.body() + str(exchange.headers).encode()
        exchange.answer(400, said + CLIENT_SECRET.encode())
        return True

    for path in (TOKEN, EXPORT):
        source.fault = at(path, repeat)
        answer = function.fails(500, "source")
        assert "canary" not in str(answer.document)
    for status in (200, 400):
        source.fault = at(EXPORT, answering(status, b"y" * 490 + CLIENT_SECRET.encode()))
        assert "canary" not in str(function.fails(500, "source").document)


@pytest.mark.parametrize("path", [TOKEN, EXPORT])
def test_four_tries_with_full_jitter(
    function: Function, source: Cluster25, clock: NotedClock, path: str
) -> None:
    source.fault = at(path, answering(503))
    function.fails(503, "source")
    assert source.requests[TOKEN_URL if path == TOKEN else EXPORT_URL] == 4
    assert len(clock.slept) == 3
    assert all(0 <= slept <= longest for slept, longest in zip(clock.slept, (1, 2, 4), strict=True))


@pytest.mark.parametrize("path", [TOKEN, EXPORT])
@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(
    function: Function,
    source: Cluster25,
    sink: OpenCTI,
    clock: NotedClock,
    path: str,
    form: str,
    status: int,
) -> None:
    wait_until = clock.now() + timedelta(seconds=17)
    retry_after = "17" if form == "seconds" else format_datetime(wait_until, usegmt=True)
    source.fault = at(path, times(1, answering(status, Retry_After=retry_after)))
    assert function.call().outcome == "ok"
    assert sum(clock.slept) == 17.0


@pytest.mark.parametrize("retry_after", ["61", "9" * 5000, "Mon, 02 Mar 2026 12:00:00 GMT"])
def test_a_wait_that_the_budget_does_not_allow_ends_at_once(
    function: Function, source: Cluster25, sink: OpenCTI, clock: NotedClock, retry_after: str
) -> None:
    source.fault = at(EXPORT, answering(429, Retry_After=retry_after))
    function.fails(503, "source")
    assert clock.slept == []
    assert source.requests[EXPORT_URL] == 1
    everything_once(function, source, sink)


def test_waits_together_stay_within_the_budget(
    function: Function, source: Cluster25, clock: NotedClock
) -> None:
    source.fault = at(EXPORT, answering(429, Retry_After="25"))
    function.fails(503, "source")
    assert sum(clock.slept) == 50.0
    assert source.requests[EXPORT_URL] == 3


@pytest.mark.parametrize("retry_after", ["0", "-3", "soon", "Sun, 01 Mar 2026 11:00:00 GMT"])
def test_a_retry_after_that_names_no_wait(
    function: Function, source: Cluster25, clock: NotedClock, retry_after: str
) -> None:
    source.fault = at(EXPORT, times(1, answering(429, Retry_After=retry_after)))
    assert function.call().outcome == "ok"
    assert sum(clock.slept) <= 1


def test_gzip_is_read(function: Function, source: Cluster25, sink: OpenCTI) -> None:
    source.compress = True
    everything_once(function, source, sink)


def minimal(number: int) -> dict[str, str]:
    """As small as an indicator can be: a cut at every byte of an export should not take long."""
    return {
        "type": "indicator",
        "id": f"indicator--00000000-0000-4000-8000-{number:012}",
        "modified": "2026-03-01T11:00:00Z",
        "pattern": f"[url:value='a://{number}']",
    }


BUNDLE = orjson.dumps({"type": "bundle", "objects": [minimal(number) for number in range(2)]})
STORED = gzip.compress(BUNDLE, compresslevel=0)
WITH_LENGTH = HEAD + b"Content-Length: %d\r\n\r\n" % len(BUNDLE)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CUT: dict[str, Callable[[int], Fault]] = {
    "by an end of its own": lambda kept: raw(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (kept, BUNDLE[:kept])),
    "in a chunk": lambda kept: raw(CHUNKED + b"%x\r\n%b" % (len(BUNDLE), BUNDLE[:kept])),
    "before its Content-Length": lambda kept: raw(WITH_LENGTH + BUNDLE[:kept]),
    "by a reset": lambda kept: raw(WITH_LENGTH + BUNDLE[:kept], reset),
    "by closing": lambda kept: raw(HEAD + b"\r\n" + BUNDLE[:kept]),
    "in gzip": lambda kept: raw(
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + STORED[: STORED.index(BUNDLE) + kept]
    ),
}


def borders() -> set[int]:
    """Around each brace and at both ends: where a cut can be mistaken."""
    near = {match.end() + shift for match in re.finditer(rb"[{}]", BUNDLE) for shift in (-1, 0, 1)}
    return near & set(range(len(BUNDLE)))


@pytest.mark.parametrize("way", range(len(CUT)), ids=CUT)
def test_an_export_cut_at_any_byte_is_an_error_after_the_objects_before_the_cut(
    source: Cluster25, way: int
) -> None:
    """The first way, which HTTP does not notice, at every byte; the others take turns between the borders."""
    cut = list(CUT.values())[way]
    client = Cluster25Client(source.base_url, source.client_id, SecretStr(CLIENT_SECRET))
    budget = Budget.of(SystemClock(), 60)
    objects = orjson.loads(BUNDLE)["objects"]
    for kept in sorted({*borders(), *range(way, len(BUNDLE), len(CUT) if way else 1)}):
        source.fault = at(EXPORT, cut(kept))
        read: list[bytes] = []
        error = None
        try:
            with client.export_indicators(TYPES, budget.clock.now(), budget) as body:
                for batch in scan_bundle(body):
                    read += batch.objects
        except SourceUnavailableError as unavailable:
            error = unavailable
        assert error, f"taken for whole with {kept} of {len(BUNDLE)} bytes"
        assert [orjson.loads(one) for one in read] == objects[: len(read)]


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + b"%x\r\n%b\r\n" % (len(BUNDLE), BUNDLE),
        CHUNKED + b"%x\r\n%b" % (len(BUNDLE) + 1, BUNDLE),
        HEAD + b"Content-Length: %d\r\n\r\n" % (len(BUNDLE) + 1) + BUNDLE,
    ],
    ids=["last chunk missing", "chunk cut", "Content-Length not reached"],
)
def test_a_cut_after_the_last_brace_is_a_cut_too(
    function: Function, source: Cluster25, sink: OpenCTI, answer: bytes
) -> None:
    source.fault = at(EXPORT, raw(answer))
    function.fails(503, "source")


@pytest.mark.parametrize("kept", sorted(borders()))
def test_after_a_cut_the_next_run_completes_and_sends_nothing_twice(
    function: Function, environment: pytest.MonkeyPatch, sink: OpenCTI, source: Cluster25, kept: int
) -> None:
    environment.setenv("CLUSTER25_CHUNK_OBJECTS", "1")
    source.feed = Feed()
    source.feed.add(*(minimal(number) for number in range(2)))
    source.fault = at(EXPORT, list(CUT.values())[kept % len(CUT)](kept))
    pushed = function.fails(503, "source").document["pushed"]
    assert len(at_sink(sink)) == pushed
    everything_once(function, source, sink)
