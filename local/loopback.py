"""An HTTP server on 127.0.0.1 that counts, can be disturbed on purpose, and closes for good."""

import contextlib
import socket
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

IDLE_SECONDS = 60
"""A connection on which nothing arrives for that long is closed, so that no thread outlives a test run."""


class Exchange(BaseHTTPRequestHandler):
    """One connection of a client; `answer`, `stream` and `break_off` are also for fault hooks."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    server: "_Server"

    _body: bytes | None = None

    def do_GET(self) -> None:
        """Count the request, let the fault hook have it, else answer it."""
        self._body = None
        # A client that goes away is its own affair: the stand-in says nothing about it.
        with contextlib.suppress(ConnectionError):
            if self.server.owner.receive(self):
                self.body()  # else what the hook left unread would be taken for the next request

    do_POST = do_GET  # noqa: N815 - http.server calls it by this name

    def body(self) -> bytes:
        """The request's body, whether it came with a length or in chunks; may be asked for repeatedly."""
        if self._body is None:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                self._body = b"".join(iter(self._read_chunk, b""))
            else:
                self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return self._body

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0] or b"0", 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Send a whole answer. The request's body is read first, or the client could miss the answer."""
        self.body()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def answer_json(self, status: int, document: Any) -> None:
        """Send a whole answer in JSON."""
        self.answer(status, orjson.dumps(document), {"Content-Type": "application/json"})

    def stream(self, pieces: Iterable[bytes], headers: dict[str, str]) -> None:
        """Send 200 with a chunked body; a `ConnectionError` raised by `pieces` cuts the connection there."""
        self.send_response(200)
        for name, value in {"Transfer-Encoding": "chunked", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for piece in pieces:
                if piece:  # an empty chunk would end the body
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        except ConnectionError:
            self.break_off()

    def break_off(self) -> None:
        """Reset the connection, as a crashing peer does."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name http.server uses)
        """Stay silent: a test's output belongs to what is tested."""


class _Server(ThreadingHTTPServer):
    """Remembers its open connections, because a stopped peer does not go on answering on kept ones."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, owner: "Loopback") -> None:
        super().__init__(("127.0.0.1", port), Exchange)
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._lock = Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


Fault = Callable[[Exchange], bool]
"""Called first for each request; true means that it answered, or broke the connection, itself."""


class Loopback(ABC):
    """A stand-in peer: serves from `__enter__` to `__exit__`, at `url`. Port 0 takes any free port.

    `requests` counts what arrived, faults included, as `"POST /path"`.
    """

    def __init__(self, port: int = 0) -> None:
        self.fault: Fault | None = None
        self.requests: Counter[str] = Counter()
        self._counting = Lock()
        self._server = _Server(port, self)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start to serve."""
        # A short poll: half a second for every stand-in that stops would be most of a test's time.
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Refuse new connections and cut the open ones."""
        self._server.shutdown()
        self._server.server_close()

    def receive(self, exchange: Exchange) -> bool:
        """Count a request and deal with it; returns whether the connection is still usable."""
        with self._counting:
            self.requests[f"{exchange.command} {urlsplit(exchange.path).path}"] += 1
        fault = self.fault
        if fault is None or not fault(exchange):
            self.respond(exchange)
        return not exchange.close_connection

    @abstractmethod
    def respond(self, exchange: Exchange) -> None:
        """Answer one request as the real peer would."""
