"""The function as a caller sees it: HTTP in, JSON and log lines out; and faults for its peers."""

import gzip
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from cluster25.clock import Clock
from cluster25.state.document import State
from cluster25.state.lease import read_checkpoint
from cluster25.state.ledger import Ledger
from cluster25.state.store import Store
from local.cluster25 import Cluster25
from local.ingestion import is_companion
from local.loopback import Exchange, Fault
from local.opencti import OpenCTI
from tests.clock import SimulatedClock

ROOT = Path(__file__).parents[2]
CONNECTOR_ID = "5f3a2b1c-9d8e-4f70-8a6b-1c2d3e4f5a6b"
CLIENT_SECRET = "canary-client-secret-7Qx"
OPENCTI_TOKEN = "canary-opencti-token-9Zk"
CANARIES = (CLIENT_SECRET, OPENCTI_TOKEN, "canary-bearer", "eyJ")
"""The last is how each JSON Web Token begins."""

TOKEN = "/token"
EXPORT = "/export/indicators"


class NotedClock(SimulatedClock):
    """Remembers for how long it was asked to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        super().sleep(seconds)


@dataclass(frozen=True)
class Answer:
    """What a call of the function answered."""

    status: int
    document: dict[str, Any]

    @property
    def outcome(self) -> Any:
        return self.document["outcome"]

    @property
    def error(self) -> dict[str, str]:
        error: dict[str, str] = self.document.get("error", {})
        return error

    @property
    def watermark(self) -> Any:
        return self.document["watermark"]


@dataclass
class Function:
    """Calls the function; no answer and no log line of any call may show a secret."""

    client: FlaskClient
    clock: Clock
    capsys: pytest.CaptureFixture[str]
    log: str = ""
    main: Any = field(default_factory=lambda: sys.modules["main"])

    def call(self, path: str = "/", tick: str | None = None) -> Answer:
        headers = {"X-CloudScheduler": "true", "X-CloudScheduler-ScheduleTime": tick} if tick else {}
        response = self.client.post(path, headers=headers)
        written = self.capsys.readouterr()
        self.log = written.out + written.err
        for canary in CANARIES:
            assert canary not in response.text
            assert canary not in self.log
        assert "unexpected error" not in self.log
        return Answer(response.status_code, response.get_json())

    @property
    def store(self) -> Store:
        store: Store = self.main.connector().store
        return store

    def checkpoint(self) -> tuple[State, Ledger]:
        return read_checkpoint(self.store)

    def fails(self, status: int, side: str) -> Answer:
        """Call it: it must fail so, say what to do, and keep its watermark and what it pushed."""
        before, ledger_before = self.checkpoint()
        answer = self.call()
        assert (answer.status, answer.outcome, answer.error.get("side")) == (status, "failed", side), answer
        assert answer.error["what"]
        assert answer.error["remedy"]
        after, ledger_after = self.checkpoint()
        assert after.watermark == before.watermark
        assert after.lease is None
        assert after.last_run is not None
        assert (after.last_run.outcome, after.last_run.error) == ("failed", answer.error)
        assert len(ledger_after) - len(ledger_before) == answer.document["pushed"]
        return answer


def everything_once(function: Function, source: Cluster25, sink: OpenCTI) -> None:
    """With the faults gone, one call brings what is missing: nothing is lost and nothing came twice."""
    source.fault = source.transform = sink.fault = None
    before, _ = function.checkpoint()
    answer = function.call()
    assert (answer.status, answer.outcome) == (200, "ok"), answer
    after, _ = function.checkpoint()
    assert after.watermark is not None
    assert before.watermark is None or after.watermark > before.watermark
    assert after.failing_since is None
    assert at_sink(sink) == in_feed(source)
    assert sink.ingestion.sent_twice == 0


def at_sink(sink: OpenCTI) -> set[str]:
    return {object_id for object_id, _ in sink.ingestion.received if not is_companion(object_id)}


def in_feed(source: Cluster25) -> set[str]:
    ids = {entry["id"] for entry in source.feed.objects() if isinstance(entry, dict)}
    return {object_id for object_id in ids if not is_companion(object_id)}


def add_new(source: Cluster25, modified: datetime, count: int = 4) -> None:
    """Indicators that were not in the feed before."""
    first = len(in_feed(source))
    source.feed.add(*(source.feed.indicator(number, modified) for number in range(first, first + count)))


def at(path: str, fault: Fault) -> Fault:
    """The fault, for requests whose path ends so; all others are answered as usual."""

    def only_there(exchange: Exchange) -> bool:
        return exchange.path.split("?")[0].endswith(path) and fault(exchange)

    return only_there


def times(count: int, fault: Fault) -> Fault:
    """The fault, so many times."""
    left = [count]

    def at_first(exchange: Exchange) -> bool:
        left[0] -= 1
        return left[0] >= 0 and fault(exchange)

    return at_first


def after(count: int, fault: Fault) -> Fault:
    """The fault, once that many requests have been answered as usual."""
    left = [count]

    def later(exchange: Exchange) -> bool:
        left[0] -= 1
        return left[0] < 0 and fault(exchange)

    return later


def answering(status: int, body: bytes = b"", **headers: str) -> Fault:
    """That answer; names of headers with underscores for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(exchange: Exchange) -> bool:
        exchange.answer(status, body, named)
        return True

    return answer


def raw(answer: bytes, end: Callable[[Exchange], object] | None = None) -> Fault:
    """These bytes in place of an HTTP answer; then the connection is closed, after `end` if there is one."""

    def write(exchange: Exchange) -> bool:
        exchange.body()
        exchange.wfile.write(answer)
        exchange.close_connection = True
        if end is not None:
            end(exchange)
        return True

    return write


def drip(beginning: bytes) -> Fault:
    """Sends blanks, one at a time, for as long as somebody listens: no read ever times out."""

    def answer(exchange: Exchange) -> bool:
        exchange.body()
        exchange.wfile.write(beginning)
        exchange.close_connection = True
        give_up_at = time.monotonic() + 20
        while time.monotonic() < give_up_at:
            exchange.wfile.write(b" ")
            time.sleep(0.02)
        return True

    return answer


@contextmanager
def deaf() -> Iterator[str]:
    """The URL of somebody who does not even refuse connections: the backlog is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def reset(exchange: Exchange) -> None:
    exchange.break_off()


PAGE = b"<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

PASSING: dict[str, Fault] = {
    **{f"status {status}": answering(status, PAGE) for status in (408, 429, 500, 502, 503, 504)},
    "HTML": answering(200, PAGE, Content_Type="text/html; charset=utf-8"),
    "HTML without a content type": answering(200, PAGE),
    "HTML said to be JSON": answering(200, b"\xef\xbb\xbf\r\n" + PAGE, Content_Type="application/json"),
    "reset at once": raw(b"", reset),
    "closed at once": raw(b""),
    "reset in the headers": raw(HEAD[:40], reset),
    "closed in the headers": raw(HEAD[:40]),
    "reset in the body": raw(HEAD + b'Content-Length: 99\r\n\r\n{"data": ', reset),
    "body shorter than its Content-Length": raw(HEAD + b'Content-Length: 99\r\n\r\n{"data": {'),
    "body longer than its Content-Length": raw(HEAD + b'Content-Length: 9\r\n\r\n{"data": {"token": "x"}}'),
    "closed in a body without length": raw(HEAD + b'\r\n{"data": {"tok'),
    "empty body": answering(200, b""),
    "chunks that are none": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
    "chunk of negative length": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"),
    "chunk cut": raw(HEAD + b'Transfer-Encoding: chunked\r\n\r\n63\r\n{"data": '),
    "last chunk missing": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
    "gzip that is none": answering(200, b'{"data": 1}', Content_Encoding="gzip"),
    "gzip cut": answering(200, gzip.compress(b'{"data": "' + bytes(99))[:-20], Content_Encoding="gzip"),
    "gzip corrupt": answering(200, b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\xff" * 50, Content_Encoding="gzip"),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
}
"""What the next try, or the next run, may not meet again."""

LASTING: dict[str, Fault] = {
    **{f"status {status}": answering(status, PAGE) for status in (403, 404, 410)},
    **{f"redirect {status}": answering(status, Location="http://127.0.0.1:9/") for status in (301, 302, 307)},
    "redirect to nowhere": answering(302, Location="http://[::1"),
    "error in place of data": answering(200, b'{"error": "no such thing"}'),
    "null": answering(200, b"null"),
    "list": answering(200, b"[]"),
}
"""What needs a person, whichever request is answered so."""


def asking(field: str, fault: Fault) -> Fault:
    """The fault, for GraphQL requests that ask for that field."""

    def only_then(exchange: Exchange) -> bool:
        return field.encode() in exchange.body() and fault(exchange)

    return only_then
