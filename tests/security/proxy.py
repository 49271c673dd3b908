"""An HTTP proxy on 127.0.0.1 that writes down what it could read."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

WAIT_SECONDS = 20


@dataclass
class Proxy:
    """`requests` are the request lines it got, `read` is every byte of them and of what it relayed."""

    url: str
    refuses: bytes | None = None
    """What it answers instead of relaying."""
    requests: list[str] = field(default_factory=list)
    read: bytearray = field(default_factory=bytearray)

    def serve(self, client: socket.socket) -> None:
        """One connection: a tunnel for CONNECT, else one request with the whole URL in its first line."""
        head = b""
        while b"\r\n\r\n" not in head and (piece := client.recv(65536)):
            head += piece
        self.read += head
        line = head.partition(b"\r\n")[0].decode()
        self.requests.append(line)
        method, url, _ = line.split(" ")
        if self.refuses is not None:
            client.sendall(self.refuses)
            return
        found = re.fullmatch(r"((?:http://)?([^/:]+):(\d+))(/.*)?", url)
        assert found
        whole = f" {found[1]}/".encode()
        with socket.create_connection((found[2], int(found[3])), timeout=WAIT_SECONDS) as server:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(head.replace(whole, b" /", 1))
            back = threading.Thread(target=self._relay, args=(server, client), daemon=True)
            back.start()
            self._relay(client, server, b"" if method == "CONNECT" else whole)
            back.join(WAIT_SECONDS)

    def _relay(self, giver: socket.socket, taker: socket.socket, whole: bytes = b"") -> None:
        with contextlib.suppress(OSError):
            while piece := giver.recv(65536):
                self.read += piece
                taker.sendall(piece.replace(whole, b" /", 1) if whole else piece)
        with contextlib.suppress(OSError):
            taker.shutdown(socket.SHUT_WR)


@contextmanager
def running_proxy(credentials: str = "") -> Iterator[Proxy]:
    """A proxy; `credentials` (`user:password@`) are part of its URL, nobody checks them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(f"http://{credentials}127.0.0.1:{listener.getsockname()[1]}")

        def serve(client: socket.socket) -> None:
            client.settimeout(WAIT_SECONDS)
            with client, contextlib.suppress(OSError):
                proxy.serve(client)

        def accept() -> None:
            with contextlib.suppress(OSError):  # closed: the test is over
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)
