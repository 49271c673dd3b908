"""OpenCTI, or what stands before it, fails in every way it can: nothing counts that it has not accepted."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest

from cluster25 import transport
from cluster25.clock import SystemClock
from local.cluster25 import Cluster25
from local.loopback import Exchange, Fault, Loopback
from local.opencti import OpenCTI
from tests.faults.function import (
    CONNECTOR_ID,
    HEAD,
    LASTING,
    OPENCTI_TOKEN,
    PAGE,
    PASSING,
    Function,
    NotedClock,
    add_new,
    after,
    answering,
    asking,
    at_sink,
    deaf,
    drip,
    everything_once,
    in_feed,
    raw,
    times,
)
from tests.objects import object_id

REGISTER, PING, PUSH = "registerConnector", "pingConnector", "stixBundlePush"
FIELDS = pytest.mark.parametrize("field", [REGISTER, PING, PUSH])
BEFORE_AND_DURING = pytest.mark.parametrize("field", [PING, PUSH])


def error(code: str | None, message: str = "Something is wrong.", status: int = 200) -> Fault:
    """GraphQL's way to refuse."""
    extensions = {"code": code} if code else {}
    answer = {"errors": [{"message": message, "extensions": extensions}], "data": None}
    return answering(status, orjson.dumps(answer), Content_Type="application/json")


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_503_and_the_next_call_completes(
    function: Function, source: Cluster25, sink: OpenCTI, fault: Fault
) -> None:
    sink.fault = asking(PUSH, fault)
    function.fails(503, "sink")
    assert at_sink(sink) == set()
    everything_once(function, source, sink)


@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING)
def test_what_needs_a_person_is_500(
    function: Function, source: Cluster25, sink: OpenCTI, fault: Fault
) -> None:
    sink.fault = asking(PUSH, fault)
    function.fails(500, "sink")
    assert at_sink(sink) == set()
    everything_once(function, source, sink)


@FIELDS
@pytest.mark.parametrize("answer", [{}, {"data": {}}, {"data": {REGISTER: 1, PING: 1, PUSH: "no"}}], ids=str)
def test_an_answer_of_another_shape_is_500(
    function: Function, source: Cluster25, sink: OpenCTI, field: str, answer: dict[str, Any]
) -> None:
    sink.fault = asking(field, answering(200, orjson.dumps(answer)))
    function.fails(500, "sink")
    everything_once(function, source, sink)


@pytest.mark.parametrize("accepted", [False, None])
def test_a_push_is_accepted_only_when_opencti_says_so(
    function: Function, source: Cluster25, sink: OpenCTI, accepted: bool | None
) -> None:
    sink.fault = asking(PUSH, answering(200, orjson.dumps({"data": {PUSH: accepted}})))
    function.fails(503, "sink")
    everything_once(function, source, sink)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AUTH_REQUIRED", 500),
        ("FORBIDDEN", 500),
        ("FORBIDDEN_ACCESS", 500),
        ("GRAPHQL_VALIDATION_FAILED", 500),
        ("GRAPHQL_PARSE_FAILED", 500),
        ("BAD_USER_INPUT", 500),
        ("BAD_REQUEST", 500),
        ("FUNCTIONAL_ERROR", 500),
        ("INTERNAL_SERVER_ERROR", 503),
        ("DATABASE_ERROR", 503),
        ("LOCK_ERROR", 503),
        ("UNSUPPORTED_ERROR", 503),
        ("NEVER_HEARD_OF", 503),
        (None, 503),
    ],
)
def test_graphql_errors(
    function: Function, source: Cluster25, sink: OpenCTI, code: str | None, status: int
) -> None:
    sink.fault = asking(PUSH, error(code))
    answer = function.fails(status, "sink")
    assert "Something is wrong." in answer.error["what"]
    everything_once(function, source, sink)


@BEFORE_AND_DURING
@pytest.mark.parametrize("code", ["GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT", "NEVER_HEARD_OF", None])
def test_400_with_a_graphql_answer_is_500_and_tells_its_message(
    function: Function, source: Cluster25, sink: OpenCTI, field: str, code: str | None
) -> None:
    sink.fault = asking(field, error(code, 'Cannot query field "x".', status=400))
    assert 'Cannot query field "x".' in function.fails(500, "sink").error["what"]
    everything_once(function, source, sink)


def test_a_token_that_is_refused_is_500_and_the_source_is_not_asked(
    function: Function, source: Cluster25, sink: OpenCTI
) -> None:
    sink.tokens = {}
    answer = function.fails(500, "sink")
    assert "OPENCTI_TOKEN" in answer.error["remedy"]
    assert not source.requests
    sink.tokens = {OPENCTI_TOKEN: frozenset({"KNOWLEDGE"})}
    answer = function.fails(500, "sink")
    assert "CONNECTORAPI" in answer.error["remedy"]
    sink.tokens = {OPENCTI_TOKEN: frozenset({"CONNECTORAPI"})}
    everything_once(function, source, sink)


@pytest.mark.parametrize("status", [401, 403])
def test_a_proxy_that_wants_credentials_is_500(
    function: Function, source: Cluster25, sink: OpenCTI, status: int
) -> None:
    sink.fault = answering(status, PAGE, Content_Type="text/html")
    function.fails(500, "sink")
    assert not source.requests
    assert function.clock.monotonic() == 0
    everything_once(function, source, sink)


def test_a_token_that_opencti_repeats_is_not_repeated_by_us(function: Function, sink: OpenCTI) -> None:
    for begin in (0, 485, 495):
        sink.fault = error("FUNCTIONAL_ERROR", "x" * begin + f" Bearer {OPENCTI_TOKEN}")
        assert "canary" not in str(function.fails(500, "sink").document)
        sink.fault = answering(404, b"x" * begin + OPENCTI_TOKEN.encode())
        assert "canary" not in str(function.fails(500, "sink").document)


class Elsewhere(Loopback):
    """Where a redirect points to; nobody should ever come here."""

    def respond(self, exchange: Exchange) -> None:
        exchange.answer(200, b"{}")


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as server:
        yield server


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("side", ["source", "sink"])
def test_redirects_are_not_followed(
    function: Function, source: Cluster25, sink: OpenCTI, elsewhere: Elsewhere, side: str, status: int
) -> None:
    peer: Loopback = source if side == "source" else sink
    peer.fault = answering(status, Location=f"{elsewhere.url}/graphql")
    function.fails(500, side)
    assert not elsewhere.requests
    everything_once(function, source, sink)


def test_the_body_of_a_redirect_is_not_read(function: Function, source: Cluster25, sink: OpenCTI) -> None:
    endless = raw(HEAD.replace(b"200 OK", b"302 Found") + b"Location: /x\r\nContent-Length: 99999\r\n\r\n")

    def stall(exchange: Exchange) -> bool:
        endless(exchange)
        time.sleep(20)
        return True

    sink.fault = stall
    started = time.monotonic()
    function.fails(500, "sink")
    assert time.monotonic() - started < 10
    everything_once(function, source, sink)


def test_a_fault_in_a_later_run_keeps_watermark_and_ledger(
    imported: Function, source: Cluster25, sink: OpenCTI
) -> None:
    sink.fault = asking(PUSH, answering(502))
    answer = imported.fails(503, "sink")
    assert answer.watermark is not None
    everything_once(imported, source, sink)


def test_chunks_accepted_before_the_fault_are_not_sent_again(
    function: Function, environment: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI
) -> None:
    environment.setenv("CLUSTER25_CHUNK_OBJECTS", "1")
    sink.fault = asking(PUSH, after(2, answering(500)))
    assert function.fails(503, "sink").document["pushed"] == 2
    assert len(at_sink(sink)) == 2
    everything_once(function, source, sink)


def test_an_answer_lost_on_its_way_repeats_that_chunk_and_nothing_else(
    function: Function, environment: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI
) -> None:
    environment.setenv("CLUSTER25_CHUNK_OBJECTS", "1")

    def accept_and_break(exchange: Exchange) -> bool:
        exchange.answer_json = lambda *_: None  # type: ignore[method-assign]
        sink.respond(exchange)
        exchange.break_off()
        return True

    sink.fault = asking(PUSH, times(1, accept_and_break))
    assert function.call().outcome == "ok"
    assert at_sink(sink) == in_feed(source)
    assert sink.ingestion.sent_twice == 1


def test_nobody_listens(function: Function, source: Cluster25, sink: OpenCTI, clock: NotedClock) -> None:
    sink.__exit__(None, None, None)
    function.fails(503, "sink")
    with OpenCTI(tokens=sink.tokens, clock=clock, port=sink.port) as again:
        everything_once(function, source, again)


def test_connecting_times_out(function: Function, environment: pytest.MonkeyPatch, source: Cluster25) -> None:
    environment.setattr(transport, "CONNECT_TIMEOUT_SECONDS", 0.1)
    with deaf() as url:
        environment.setenv("OPENCTI_URL", url)
        function.fails(503, "sink")


@FIELDS
@pytest.mark.parametrize(
    "beginning",
    [b"", HEAD, HEAD + b'Content-Length: 9999\r\n\r\n{"data"'],
    ids=["before the headers", "in the headers", "in the body"],
)
def test_silence_times_out(
    function: Function,
    environment: pytest.MonkeyPatch,
    source: Cluster25,
    sink: OpenCTI,
    field: str,
    beginning: bytes,
) -> None:
    environment.setattr(transport, "READ_TIMEOUT_SECONDS", 0.1)
    over = threading.Event()
    sink.fault = asking(field, raw(beginning, lambda _: over.wait(10)))
    try:
        function.fails(503, "sink")
    finally:
        over.set()
    everything_once(function, source, sink)


@pytest.mark.parametrize("clock", [SystemClock()], ids=["real time"])
@BEFORE_AND_DURING
@pytest.mark.parametrize(
    "beginning", [HEAD + b"X-Slow: ", HEAD + b"Content-Length: 9999\r\n\r\n"], ids=["headers", "body"]
)
def test_dripping_bytes_end_with_the_budget(
    function: Function,
    environment: pytest.MonkeyPatch,
    source: Cluster25,
    sink: OpenCTI,
    field: str,
    beginning: bytes,
) -> None:
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", "1")
    sink.fault = asking(field, drip(beginning))
    started = time.monotonic()
    answer = function.call()
    assert (answer.status, answer.outcome) == (503, "failed")
    assert time.monotonic() - started < 3
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", "60")
    function.main.connector.cache_clear()
    everything_once(function, source, sink)


@pytest.mark.parametrize("clock", [SystemClock()], ids=["real time"])
def test_a_push_that_nobody_reads_ends_with_the_budget(
    function: Function, environment: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI
) -> None:
    """More than fits into the sockets' buffers, taken a byte at a time: no write ever times out."""
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", "1")
    environment.setenv("CLUSTER25_CHUNK_BYTES", "50000000")
    large = source.feed.indicator(100)
    source.feed.add(
        *({**large, "id": f"{large['id'][:-2]}{n:02}", "description": "x" * 900_000} for n in range(9))
    )

    def sip(exchange: Exchange) -> bool:
        if int(exchange.headers["Content-Length"]) < 1_000_000:
            return False
        exchange.close_connection = True
        give_up_at = time.monotonic() + 20
        while time.monotonic() < give_up_at and exchange.rfile.read1(1):
            time.sleep(0.02)
        return True

    sink.fault = sip
    started = time.monotonic()
    answer = function.call()
    assert (answer.status, answer.outcome) == (503, "failed")
    assert time.monotonic() - started < 4
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", "60")
    function.main.connector.cache_clear()
    everything_once(function, source, sink)


@pytest.mark.parametrize("path", ["/", "/heartbeat"])
def test_a_reset_is_not_lost_with_the_answer_that_told_of_it(
    imported: Function, sink: OpenCTI, path: str
) -> None:
    def lose_the_answer(exchange: Exchange) -> bool:
        exchange.answer_json = lambda *_: exchange.break_off()  # type: ignore[method-assign]
        return False

    sink.press_reset()
    sink.fault = asking("pingConnector", times(1, lose_the_answer))
    answer = imported.call(path)
    assert answer.document["pushed"] == len(at_sink(sink))
    assert imported.call().outcome == "empty"


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("path", ["/", "/heartbeat"])
def test_a_reset_is_carried_out_once_whichever_ping_has_to_be_tried_again(
    imported: Function, sink: OpenCTI, path: str, which: int
) -> None:
    sink.press_reset()
    sink.fault = asking("pingConnector", after(which, times(1, answering(503))))
    assert imported.call(path).document["pushed"] == len(at_sink(sink))
    assert imported.call().outcome == "empty"
    assert imported.call().outcome == "empty"


@pytest.mark.parametrize("slow", [("workAdd",), ("workAdd", "workEdit")])
def test_telling_of_a_failure_never_outlives_the_lease(
    environment: pytest.MonkeyPatch,
    function: Function,
    source: Cluster25,
    sink: OpenCTI,
    clock: NotedClock,
    slow: tuple[str, ...],
) -> None:
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", "4")
    environment.setenv("CLUSTER25_LEASE_SEC", "5")

    def dawdle(exchange: Exchange) -> bool:
        clock.advance(2.8)
        return False

    source.fault = answering(403)
    faults = [asking(field, dawdle) for field in slow]
    sink.fault = lambda exchange: any([fault(exchange) for fault in faults])  # noqa: C419 - each is asked
    function.fails(500, "source")


def test_what_has_no_time_of_its_own_is_not_sent_again_however_slow_the_ping_is(
    environment: pytest.MonkeyPatch, function: Function, source: Cluster25, sink: OpenCTI, clock: NotedClock
) -> None:
    environment.setenv("CLUSTER25_OVERLAP_SEC", "1")
    environment.setenv("CLUSTER25_RUN_BUDGET_SEC", "480")
    environment.setenv("CLUSTER25_LEASE_SEC", "570")
    source.feed.add({"type": "ipv4-addr", "id": object_id("ipv4-addr", 1), "value": "192.0.2.1"})

    def dawdle(exchange: Exchange) -> bool:
        clock.advance(300)
        return False

    sink.fault = asking("pingConnector", dawdle)
    assert function.call().outcome == "ok"
    assert function.call().outcome == "empty"
    assert sink.ingestion.sent_twice == 0


def test_a_message_with_what_looks_like_half_a_secret_still_makes_an_answer_in_json(
    function: Function, sink: OpenCTI
) -> None:
    sink.fault = asking(PUSH, error("FUNCTIONAL_ERROR", """bad token: 'abc"} and more"""))
    assert function.fails(500, "sink").error["what"].count("***") == 1


@FIELDS
def test_four_tries_with_full_jitter(
    function: Function, sink: OpenCTI, clock: NotedClock, field: str
) -> None:
    tried: list[str] = []

    def refuse(exchange: Exchange) -> bool:
        tried.append(exchange.path)
        return answering(503)(exchange)

    sink.fault = asking(field, refuse)
    function.fails(503, "sink")
    assert tried == ["/graphql"] * 4
    assert len(clock.slept) == 3
    assert all(0 <= slept <= longest for slept, longest in zip(clock.slept, (1, 2, 4), strict=True))


@FIELDS
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(
    function: Function, source: Cluster25, sink: OpenCTI, clock: NotedClock, field: str, form: str
) -> None:
    wait_until = clock.now() + timedelta(seconds=17)
    retry_after = "17" if form == "seconds" else format_datetime(wait_until, usegmt=True)
    sink.fault = asking(field, times(1, answering(429, Retry_After=retry_after)))
    assert function.call().outcome == "ok"
    assert sum(clock.slept) == 17.0
    assert at_sink(sink) == in_feed(source)


@FIELDS
def test_a_wait_that_the_budget_does_not_allow_ends_at_once(
    function: Function, source: Cluster25, sink: OpenCTI, clock: NotedClock, field: str
) -> None:
    sink.fault = asking(field, answering(429, Retry_After="61"))
    function.fails(503, "sink")
    assert clock.slept == []
    everything_once(function, source, sink)


def test_the_state_not_shown_after_the_run_is_no_failure(
    imported: Function, source: Cluster25, sink: OpenCTI
) -> None:
    sink.fault = asking(PING, after(1, answering(500)))
    assert imported.call().outcome == "ok"
    assert at_sink(sink) == in_feed(source)


def test_a_connector_deleted_in_opencti_is_registered_again(
    imported: Function, source: Cluster25, sink: OpenCTI
) -> None:
    sink.delete_connector(CONNECTOR_ID)
    everything_once(imported, source, sink)
    assert CONNECTOR_ID in sink.connectors.by_id


def test_a_chunk_too_large_is_halved_until_it_is_taken(
    function: Function, source: Cluster25, sink: OpenCTI, clock: NotedClock
) -> None:
    add_new(source, clock.now() - timedelta(seconds=60), count=60)
    sink.body_limit_bytes = 20_000
    everything_once(function, source, sink)
    assert max(sink.ingestion.body_sizes_bytes) <= 20_000


def test_an_object_too_large_alone_is_rejected_and_the_others_are_sent(
    function: Function, source: Cluster25, sink: OpenCTI
) -> None:
    giant = {**source.feed.indicator(50), "description": "x" * 30_000}
    source.feed.add(giant)
    sink.body_limit_bytes = 20_000
    answer = function.call()
    assert (answer.status, answer.outcome, answer.document["rejected"]) == (200, "ok", 1)
    assert at_sink(sink) == in_feed(source) - {giant["id"]}
    (rejected,) = function.store.read_rejected(function.clock.now(), 10)
    assert rejected.object_id == giant["id"]
    assert "413" in rejected.reason
    assert answer.watermark is not None


def test_413_before_the_body_was_read(
    function: Function, environment: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI
) -> None:
    """As proxies do: the answer comes while the client still sends."""
    environment.setenv("CLUSTER25_CHUNK_BYTES", "50000000")
    large = source.feed.indicator(100)
    source.feed.add(
        *({**large, "id": f"{large['id'][:-2]}{n:02}", "description": "x" * 900_000} for n in range(9))
    )

    def refuse(exchange: Exchange) -> bool:
        if int(exchange.headers["Content-Length"]) < 3_000_000:
            return False
        exchange.close_connection = True
        exchange.wfile.write(
            b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        exchange.connection.shutdown(socket.SHUT_WR)
        while exchange.rfile.read(100_000):
            pass
        return True

    sink.fault = refuse
    answer = function.call()
    assert (answer.outcome, answer.document["rejected"]) == ("ok", 0)
    assert at_sink(sink) == in_feed(source)
    assert sink.ingestion.sent_twice == 0
