"""The two ends of every measured import, each a process of its own and as cheap as can be.

The source sends a feed's file as it lies on the disk, in an HTTP body of chunks, which is what a server does
that does not know the length yet. The sink reads bodies and forgets them; it knows the few GraphQL
operations that an import makes, by their names, and counts.

    python -m bench.peers source FOLDER
    python -m bench.peers sink

Each prints the port it listens on, and ends with its standard input.
"""

import json
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

CHUNK_BYTES = 1 << 16
HEAD_BYTES = 8192
"""So much of a body is looked at to learn what is asked."""

ANSWERS = {
    b"stixBundlePush": {"stixBundlePush": True},
    b"pingConnector": {"pingConnector": {"connector_state": None, "connector_queue_details": None}},
    b"registerConnector": {"registerConnector": {"id": "bench"}},
    b"workAdd": {"workAdd": {"id": "bench"}},
}

Request = tuple[str, dict[str, str], BinaryIO]
"""The path, the headers with names in lower case, and where the body is read from."""


class _Peer(Protocol):
    def answer(self, request: Request, connection: socket.socket) -> None: ...


class Source:
    """Answers `POST /NAME/token`, and any `GET /NAME/...` with the file `NAME.json` of the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answer(self, request: Request, connection: socket.socket) -> None:
        """Answer one request."""
        path, headers, body = request
        body.read(int(headers.get("content-length", 0)))
        name, _, rest = path.removeprefix("/").partition("/")
        if rest == "token":
            _send_json(connection, {"data": {"token": "bench"}})
            return
        connection.sendall(_head("application/json", "Transfer-Encoding: chunked"))
        with (self._folder / f"{name}.json").open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left:
                size = min(left, CHUNK_BYTES)
                connection.sendall(b"%x\r\n" % size, socket.MSG_MORE)
                sent = 0
                while sent < size:
                    sent += os.sendfile(connection.fileno(), file.fileno(), None, size - sent)
                connection.sendall(b"\r\n", socket.MSG_MORE)
                left -= size
        connection.sendall(b"0\r\n\r\n")


class Sink:
    """Takes whatever is posted. `GET /counted` tells how much since the last time it was asked."""

    def __init__(self) -> None:
        self._counted = Counter[str]()

    def answer(self, request: Request, connection: socket.socket) -> None:
        """Answer one request."""
        path, headers, body = request
        if path == "/counted":
            _send_json(connection, {"requests": 0, "bytes": 0, "largest_bytes": 0} | self._counted)
            self._counted.clear()
            return
        pieces = _chunks(body) if "transfer-encoding" in headers else _pieces(body, headers)
        head, size_bytes = b"", 0
        for piece in pieces:
            if size_bytes < HEAD_BYTES:
                head += piece[:HEAD_BYTES]
            size_bytes += len(piece)
        self._counted.update(requests=1, bytes=size_bytes)
        self._counted["largest_bytes"] = max(self._counted["largest_bytes"], size_bytes)
        data = next((answer for name, answer in ANSWERS.items() if name in head), {})
        _send_json(connection, {"data": data})


def _pieces(body: BinaryIO, headers: dict[str, str]) -> Iterator[bytes]:
    left = int(headers.get("content-length", 0))
    while left:
        piece = body.read(min(left, 4 * CHUNK_BYTES))
        left -= len(piece)
        yield piece


def _chunks(body: BinaryIO) -> Iterator[bytes]:
    while size := int(body.readline(), 16):
        yield body.read(size)
        body.readline()
    body.readline()


def _send_json(connection: socket.socket, document: Any) -> None:
    body = json.dumps(document).encode()
    connection.sendall(_head("application/json", f"Content-Length: {len(body)}") + body)


def _head(content_type: str, length: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{length}\r\n\r\n".encode()


def _serve(peer: _Peer) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    threading.Thread(target=_accept, args=(listening, peer), daemon=True).start()
    sys.stdin.read()


def _accept(listening: socket.socket, peer: _Peer) -> None:
    while True:
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_converse, args=(connection, peer), daemon=True).start()


def _converse(connection: socket.socket, peer: _Peer) -> None:
    with connection, connection.makefile("rb", buffering=4 * CHUNK_BYTES) as stream:
        while line := stream.readline():
            headers = {}
            while field := stream.readline().strip():
                name, _, value = field.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            peer.answer((line.split()[1].decode(), headers, cast("BinaryIO", stream)), connection)


if __name__ == "__main__":
    _serve(Source(Path(sys.argv[2])) if sys.argv[1] == "source" else Sink())
