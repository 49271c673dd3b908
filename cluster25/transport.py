"""HTTP to a peer: bounded by the budget as a whole, retried with backoff, never redirected, failures typed.

A read timeout bounds one wait for bytes; a peer that drips a byte a second never trips it. So a timer
shuts the connection's sockets down when the budget ends, whatever the transfer is doing then.
"""

import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import requests
import tenacity
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, InvalidHeader

from cluster25.clock import Budget
from cluster25.errors import BODY_EXCERPT_CHARS, ConnectorError, UnavailableError

CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 60.0
TRIES = 4
READ_BYTES = 1 << 18
ANSWER_BYTES = 1 << 20
"""Answers that are read whole (tokens, GraphQL) are never longer than this."""

T = TypeVar("T")


class AbortableAdapter(HTTPAdapter):
    """A requests adapter that can end every transfer under way. It retries nothing: `Peer.retry` does."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make a pool manager whose connections are remembered."""
        super().init_poolmanager(*args, **kwargs)
        self._remember_sockets(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> urllib3.ProxyManager:
        """The same for a proxy that the environment asks for."""
        manager: urllib3.ProxyManager = super().proxy_manager_for(*args, **kwargs)
        self._remember_sockets(manager)
        return manager

    def abort(self) -> None:
        """Shut down every open socket: whoever reads from or writes to one gets an error at once."""
        for sock in list(self._sockets):
            try:
                # Not SSLSocket.shutdown, which would pull the TLS state away under the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                continue  # closed meanwhile

    def _remember_sockets(self, manager: urllib3.PoolManager) -> None:
        sockets = self._sockets

        class Connection(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                sockets.add(self.sock)

        class TLSConnection(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                sockets.add(self.sock)

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        class TLSPool(HTTPSConnectionPool):
            ConnectionCls = TLSConnection

        manager.pool_classes_by_scheme = {"http": Pool, "https": TLSPool}


class Peer:
    """One service spoken to over HTTP: its name in messages, its error classes, its session.

    `session` is used as it is given, with its adapters replaced. Not for use by two threads at once.
    """

    def __init__(
        self,
        name: str,
        url_setting: str,
        session: requests.Session,
        *,
        unavailable: type[UnavailableError],
        refused: type[ConnectorError],
    ) -> None:
        self.name = name
        self.url_setting = url_setting
        self.unavailable = unavailable
        self.refused = refused
        self._session = session
        self._adapter = AbortableAdapter()
        session.mount("https://", self._adapter)
        session.mount("http://", self._adapter)

    @contextmanager
    def bounded(self, budget: Budget) -> Iterator[None]:
        """Every transfer inside the `with` ends when the budget does, whatever it is doing then."""
        timer = threading.Timer(budget.remaining_seconds(), self._adapter.abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def send(self, method: str, url: str, budget: Budget, **options: Any) -> requests.Response:
        """One try of a request, inside `bounded`; the answer's body is still to be read, and closed.

        Raises the peer's unavailable error for everything another try may not meet (network, 408, 429, 5xx,
        HTML in place of JSON) and its refused error for a redirect. Other statuses are the caller's to judge.
        """
        remaining = max(0.001, budget.remaining_seconds())
        timeouts = (min(CONNECT_TIMEOUT_SECONDS, remaining), min(READ_TIMEOUT_SECONDS, remaining))
        with self._translated():
            response = self._session.request(
                method, url, timeout=timeouts, allow_redirects=False, stream=True, **options
            )
        try:
            self._check(response)
        except Exception:
            response.close()
            raise
        return response

    def stream(self, response: requests.Response) -> Iterator[bytes]:
        """The body, decompressed, in pieces of up to `READ_BYTES`; raises like `send` when it is cut."""
        with self._translated():
            yield from response.raw.stream(READ_BYTES, decode_content=True)

    def read(self, response: requests.Response) -> bytes:
        """The whole of a short body, then closed. Raises the unavailable error when it is cut or too long."""
        body = bytearray()
        with response:
            for piece in self.stream(response):
                body += piece
                if len(body) > ANSWER_BYTES:
                    raise self.unavailable(
                        f"{self.name} answered more than {ANSWER_BYTES} bytes where little was expected.",
                        f"Check {self.url_setting} and what stands between.",
                    )
        return bytes(body)

    def retry(self, budget: Budget, attempt: Callable[[], T]) -> T:
        """Call `attempt` up to `TRIES` times while it raises the unavailable error, with full-jitter backoff.

        A `Retry-After` is honoured; a wait that the budget does not allow ends the trying at once.
        """

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            if isinstance(error, UnavailableError) and error.retry_after_seconds is not None:
                return error.retry_after_seconds
            return backoff(state)

        def out_of_time(state: tenacity.RetryCallState) -> bool:
            return state.upcoming_sleep >= budget.remaining_seconds()

        backoff = tenacity.wait_random_exponential(multiplier=1, max=30)
        retrying = tenacity.Retrying(
            stop=lambda state: state.attempt_number >= TRIES or out_of_time(state),
            wait=wait,
            retry=tenacity.retry_if_exception_type(self.unavailable),
            sleep=budget.clock.sleep,
            reraise=True,
        )
        return retrying(attempt)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (requests.RequestException, HTTPError, OSError) as error:
            raise self.unavailable(
                f"{self.name} could not be reached or cut the connection ({_cause(error)}).",
                f"Nothing is lost; the next run goes on. If it lasts, check {self.url_setting}, DNS, proxies "
                "and egress.",
            ) from error

    def _check(self, response: requests.Response) -> None:
        status = response.status_code
        if status in (408, 429) or status >= 500:
            raise self.unavailable(
                f"{self.name} answered {status}.",
                "Nothing is lost; the next run goes on. If it lasts, ask whoever runs it.",
                _retry_after_seconds(response),
            )
        if 300 <= status < 400:
            raise self.refused(
                f"{self.name} answered {status}, a redirect; credentials do not follow redirects.",
                f"Set {self.url_setting} to the address it really has.",
            )
        if status == 200 and "html" in response.headers.get("Content-Type", ""):
            raise self.unavailable(
                f"{self.name} answered an HTML page: something in front of it speaks in its place.",
                f"Check {self.url_setting} and any proxy or login page before it.",
            )


def excerpt(body: bytes) -> str:
    """The start of a peer's answer for a message, at most `BODY_EXCERPT_CHARS`, on one line."""
    return " ".join(body[: 4 * BODY_EXCERPT_CHARS].decode(errors="replace").split())[:BODY_EXCERPT_CHARS]


def _retry_after_seconds(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return urllib3.Retry().parse_retry_after(value)
    except InvalidHeader:
        return None


def _cause(error: BaseException) -> str:
    """The innermost cause, by class and, for the system's own errors, text: never a URL or a header."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return f"{type(seen).__name__}: {seen.strerror}"
    return type(seen).__name__
