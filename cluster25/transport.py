"""HTTP to a peer: bounded by the budget as a whole, retried with backoff, never redirected, failures typed.

A read timeout bounds one wait for bytes; a peer that drips a byte a second never trips it. So a timer
aborts the transfer when the budget ends, whatever it is doing then.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import requests
import tenacity
from urllib3.exceptions import HTTPError

from cluster25.abortable import AbortableAdapter
from cluster25.clock import Budget
from cluster25.errors import ConnectorError, UnavailableError

CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 60.0
TRIES = 4
READ_BYTES = 1 << 18
ANSWER_BYTES = 1 << 20
"""Answers that are read whole (tokens, GraphQL) are never longer than this."""

T = TypeVar("T")

PARTS_PER_SEND = 128


class Body:
    """A request's body in parts, sent with its length and never copied as a whole: copies are dear."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts
        self._size_bytes = sum(map(len, parts))  # requests asks four times

    def __len__(self) -> int:
        """The number of bytes."""
        return self._size_bytes

    def __iter__(self) -> Iterator[bytes]:
        """The bytes, in pieces that are each worth a system call."""
        for start in range(0, len(self._parts), PARTS_PER_SEND):
            yield b"".join(self._parts[start : start + PARTS_PER_SEND])


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
        session.auth = lambda request: request  # else requests prefers what a .netrc says of the host
        # Told not to follow redirects, requests still reads their bodies whole and takes their targets apart.
        session.get_redirect_target = lambda _response: None  # type: ignore[assignment,method-assign]

    @contextmanager
    def bounded(self, budget: Budget) -> Iterator[None]:
        """Every transfer inside the `with` ends when the budget does, whatever it is doing then."""
        self._adapter.allow()
        with budget.bounding(self._adapter.abort):
            yield

    def send(self, method: str, url: str, budget: Budget, **options: Any) -> requests.Response:
        """One try of a request, inside `bounded`; the answer's body is still to be read, and closed.

        Raises the peer's unavailable error for everything another try may not meet (network, 408, 429, 5xx,
        HTML in place of JSON) and its refused error for a redirect and for a certificate that is not trusted.
        Other statuses are the caller's to judge.
        """
        remaining = budget.remaining_seconds()
        if remaining <= 0:  # else a push might be accepted, and its answer not waited for
            raise self.unavailable(
                f"The budget was used up before {self.name} was asked.",
                "Nothing is lost; the next run goes on. If it lasts, raise CLUSTER25_RUN_BUDGET_SEC.",
            )
        timeouts = (min(CONNECT_TIMEOUT_SECONDS, remaining), min(READ_TIMEOUT_SECONDS, remaining))
        with self._translated():
            response = self._session.request(method, url, timeout=timeouts, stream=True, **options)
        try:
            self._check(response, budget.clock.now())
        except Exception:
            response.close()
            raise
        return response

    def stream(self, response: requests.Response) -> Iterator[bytes]:
        """The body, decompressed, in pieces of up to `READ_BYTES`; raises like `send` when it is cut."""
        with self._translated():
            for piece in response.raw.stream(READ_BYTES, decode_content=True):
                yield piece
                self._adapter.check()  # what a bomb has left to decompress needs no socket

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
            sleep=budget.sleep,
            reraise=True,
        )
        return retrying(attempt)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except requests.exceptions.SSLError as error:
            raise self._tls_failed(error) from error
        # ValueError: a chunk length that is no number.
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise self.unavailable(
                f"{self.name} could not be reached or cut the connection ({_cause(error)}).",
                f"Nothing is lost; the next run goes on. If it lasts, check {self.url_setting}, DNS, proxies "
                "and egress.",
            ) from error

    def _tls_failed(self, error: requests.exceptions.SSLError) -> ConnectorError:
        cause = _cause(error)
        if "CERTIFICATE_VERIFY_FAILED" not in cause:
            return self.unavailable(
                f"{self.name} could not be reached over TLS ({cause}).",
                f"Nothing is lost; the next run goes on. If it lasts, check {self.url_setting} and proxies.",
            )
        return self.refused(
            f"The certificate that {self.name} showed is not trusted ({cause}).",
            f"Check {self.url_setting}. The certificate of a private authority goes into a file that "
            "OPENCTI_SSL_VERIFY (for OpenCTI) or REQUESTS_CA_BUNDLE (for any) names.",
        )

    def _check(self, response: requests.Response, now: datetime) -> None:
        status = response.status_code
        if status in (408, 429) or status >= 500:
            raise self.unavailable(
                f"{self.name} answered {status}.",
                "Nothing is lost; the next run goes on. If it lasts, ask whoever runs it.",
                _retry_after_seconds(response, now),
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


def _retry_after_seconds(response: requests.Response, now: datetime) -> float | None:
    """What `Retry-After` asks for (RFC 9110, 10.2.3: seconds or a date); None where it says neither."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def _cause(error: BaseException) -> str:
    """The innermost cause, by class and, for the system's own errors, text: never a URL or a header."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return f"{type(seen).__name__}: {seen.strerror}"
    return type(seen).__name__
