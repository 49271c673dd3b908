"""What every request to a peer keeps to, over real connections."""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import requests
from urllib3.connection import HTTPConnection

from cluster25.clock import Budget, Clock, SystemClock
from cluster25.errors import ConnectorError, SourceRefusedError, SourceUnavailableError
from cluster25.transport import ANSWER_BYTES, Peer
from local.loopback import Exchange, Loopback
from tests.clock import SimulatedClock
from tests.faults.function import NotedClock, drip


class Echo(Loopback):
    """Answers each request with its body."""

    def respond(self, exchange: Exchange) -> None:
        exchange.answer(200, exchange.body())


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server


def open_peer() -> Peer:
    return Peer(
        "The peer",
        "PEER_URL",
        requests.Session(),
        unavailable=SourceUnavailableError,
        refused=SourceRefusedError,
    )


def ask(peer: Peer, url: str, clock: Clock, seconds: float = 10.0, body: bytes = b"hello") -> bytes:
    budget = Budget.of(clock, seconds)
    with peer.bounded(budget):
        return peer.read(peer.send("POST", url, budget, data=body))


@contextmanager
def saying(answer: bytes) -> Iterator[str]:
    """A server that reads a request, says that, and hangs up; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)


def test_a_peer_is_asked_and_its_answer_read(echo: Echo) -> None:
    assert ask(open_peer(), echo.url, SystemClock()) == b"hello"


def test_a_short_answer_that_goes_on_and_on_is_not_read_to_its_end(echo: Echo) -> None:
    with pytest.raises(SourceUnavailableError, match="where little was expected"):
        ask(open_peer(), echo.url, SystemClock(), body=bytes(ANSWER_BYTES + 1))


def test_an_aborted_peer_can_be_asked_again(echo: Echo) -> None:
    peer = open_peer()
    with pytest.raises(SourceUnavailableError):
        ask(peer, echo.url, SystemClock(), seconds=0.0)
    assert ask(peer, echo.url, SystemClock()) == b"hello"


def test_a_connection_made_while_the_budget_ends_is_aborted_too(
    echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several addresses are tried one after the other: connecting may take longer than its own timeout."""
    connect = HTTPConnection.connect

    def slowly(connection: HTTPConnection) -> None:
        time.sleep(0.4)
        connect(connection)

    monkeypatch.setattr(HTTPConnection, "connect", slowly)
    echo.fault = drip(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    started = time.monotonic()
    with pytest.raises(SourceUnavailableError):
        ask(open_peer(), echo.url, SystemClock(), seconds=0.2)
    assert time.monotonic() - started < 5


def failing(times: int, error: Callable[[], ConnectorError]) -> Callable[[], int]:
    """Something to try that raises so many times, and then returns how often it was tried."""
    tried = [0]

    def attempt() -> int:
        tried[0] += 1
        if tried[0] <= times:
            raise error()
        return tried[0]

    return attempt


def unavailable(retry_after_seconds: float | None = None) -> SourceUnavailableError:
    return SourceUnavailableError("It failed.", "Wait.", retry_after_seconds)


def test_the_fourth_try_is_the_last(clock: SimulatedClock) -> None:
    budget = Budget.of(clock, 1000)
    assert open_peer().retry(budget, failing(3, unavailable)) == 4
    attempt = failing(4, unavailable)
    with pytest.raises(SourceUnavailableError):
        open_peer().retry(budget, attempt)
    assert attempt() == 5


def test_a_refusal_is_not_tried_again(clock: SimulatedClock) -> None:
    attempt = failing(1, lambda: SourceRefusedError("No.", "Ask."))
    with pytest.raises(SourceRefusedError):
        open_peer().retry(Budget.of(clock, 1000), attempt)
    assert attempt() == 2


def test_waits_are_drawn_from_zero_to_a_bound_that_doubles() -> None:
    """Full jitter: otherwise everybody who failed together comes back together."""
    waits: list[list[float]] = [[], [], []]
    for _ in range(200):
        clock = NotedClock()
        open_peer().retry(Budget.of(clock, 1000), failing(3, unavailable))
        slept = clock.slept
        for drawn, wait in zip(waits, slept, strict=True):
            drawn.append(wait)
    for drawn, bound in zip(waits, (1, 2, 4), strict=True):
        assert 0 <= min(drawn) < 0.1 * bound
        assert 0.9 * bound < max(drawn) <= bound


def test_a_long_wait_ends_soon_after_the_budget_is_ended_early() -> None:
    class Hurried(SimulatedClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.monotonic() >= 20:
                budget.end_early()

    clock = Hurried()
    budget = Budget.of(clock, 1000)
    assert open_peer().retry(budget, failing(1, lambda: unavailable(300.0))) == 2
    assert 20 <= clock.monotonic() <= 25


@pytest.mark.parametrize("asked_seconds", [10.0, 10.5, float("inf")])
def test_no_wait_reaches_the_end_of_the_budget(clock: SimulatedClock, asked_seconds: float) -> None:
    with pytest.raises(SourceUnavailableError):
        open_peer().retry(Budget.of(clock, 10), failing(1, lambda: unavailable(asked_seconds)))
    assert clock.monotonic() == 0


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("7", 7.0),
        ("Wed, 04 Mar 2026 00:00:30 GMT", 30.0),
        ("Wednesday, 04-Mar-26 00:00:30 GMT", 30.0),
        ("Wed, 04 Mar 2026 01:00:30 +0100", 30.0),
        ("Wed, 04 Mar 2026 00:00:30 -0000", 30.0),
        ("Tue, 03 Mar 2026 00:00:00 GMT", 0.0),
        ("1.5", None),
        ("\u0663", None),
        ("Wed, 99 Mar 2026 00:00:30 GMT", None),
        ("Wed, 04 Mar 99999 00:00:30 GMT", None),
        ("", None),
    ],
)
def test_both_forms_of_retry_after(echo: Echo, retry_after: str, seconds: float | None) -> None:
    headers = {"Retry-After": retry_after.encode().decode("latin-1"), "Content-Length": "0"}
    echo.fault = lambda exchange: not exchange.answer(503, headers=headers)  # type: ignore[func-returns-value]
    with pytest.raises(SourceUnavailableError) as raised:
        ask(open_peer(), echo.url, SimulatedClock(datetime(2026, 3, 4, tzinfo=UTC)))
    assert raised.value.retry_after_seconds == seconds


ANSWERS = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"data": 1}',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"dat\r\n6\r\na": 1}\r\n0\r\n\r\n',
    b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03\xcbH\xcd\xc9\xc9\x07\0",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/x\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 429 Slow\r\nRetry-After: Wed, 04 Mar 2026 00:00:30 GMT\r\nContent-Length: 2\r\n\r\nno",
)


@pytest.mark.parametrize("seed", range(len(ANSWERS)))
def test_whatever_bytes_a_peer_answers_the_error_is_one_of_ours(seed: int) -> None:
    """Real answers with bytes replaced, removed, doubled: nothing but a `ConnectorError` ever comes out."""
    draw = random.Random(seed)
    asked_in_vain = 0
    for _ in range(60):
        answer = bytearray(ANSWERS[seed])
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(answer))
            answer[place : place + draw.randint(0, 3)] = draw.choice(
                [b"", b"\0", b"\r\n", b":", b"-1", b"\xff\xfe", b"[", b"9" * 30, draw.randbytes(2)]
            )
        with saying(bytes(answer)) as url:
            try:
                ask(open_peer(), url, SystemClock(), seconds=2.0)
            except ConnectorError:
                asked_in_vain += 1
    assert asked_in_vain
