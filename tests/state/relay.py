"""A TCP relay to the Firestore emulator that can lose one answer, as a network does."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Relay:
    """Relays everything until `lose_answer_to` was called and such a request comes by."""

    def __init__(self, upstream: str) -> None:
        host, port = upstream.split(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._marker: bytes | None = None
        self._happened: Callable[[], bool] = bool
        self._silent = threading.Event()
        self.answers_lost = 0

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def lose_answer_to(self, marker: bytes, happened: Callable[[], bool]) -> None:
        """Let a request that contains the marker through; once it has happened, cut all connections."""
        self._marker, self._happened = marker, happened

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._upstream)
            self._sockets += [client, server]
            threading.Thread(target=self._pump_requests, args=(client, server), daemon=True).start()
            threading.Thread(target=self._pump_answers, args=(server, client), daemon=True).start()

    def close(self) -> None:
        for one in self._sockets:
            _cut(one)

    def _pump_requests(self, client: socket.socket, server: socket.socket) -> None:
        for data in _received(client):
            marked = self._marker is not None and self._marker in data
            if marked:
                self._marker = None
                self._silent.set()
            server.sendall(data)
            if marked:
                give_up_at = time.monotonic() + 5
                while not self._happened() and time.monotonic() < give_up_at:
                    time.sleep(0.01)
                self.answers_lost += 1
                self._silent.clear()
                break
        _cut(client)
        _cut(server)

    def _pump_answers(self, server: socket.socket, client: socket.socket) -> None:
        for data in _received(server):
            if not self._silent.is_set():
                client.sendall(data)
        _cut(client)


@contextmanager
def relaying(upstream: str) -> Iterator[Relay]:
    """A running relay to that `host:port`."""
    relay = Relay(upstream)
    threading.Thread(target=relay.run, daemon=True).start()
    try:
        yield relay
    finally:
        relay.close()


def _received(source: socket.socket) -> Iterator[bytes]:
    try:
        while data := source.recv(65536):
            yield data
    except OSError:
        return


def _cut(one: socket.socket) -> None:
    with suppress(OSError):  # It may have been cut from the other side.
        one.shutdown(socket.SHUT_RDWR)
    one.close()
