"""HTTP transfers that another thread can end, by shutting down the sockets below them."""

import errno
import socket
import weakref
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class AbortableAdapter(HTTPAdapter):
    """A requests adapter that can end every transfer under way. It retries nothing: `Peer.retry` does."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._aborted = False
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

    def allow(self) -> None:
        """Let transfers begin, after an abort too."""
        self._aborted = False

    def abort(self) -> None:
        """Shut down every socket, open or opened until `allow`: who reads or writes gets an error at once."""
        self._aborted = True
        for sock in list(self._sockets):
            try:
                # Not SSLSocket.shutdown, which would pull the TLS state away under the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                continue  # closed meanwhile

    def check(self) -> None:
        """Raises `ConnectionAbortedError` from `abort` to `allow`."""
        if self._aborted:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the budget ended")

    def _remember(self, sock: socket.socket) -> None:
        self._sockets.add(sock)
        if self._aborted:  # while it was being connected
            self.abort()

    def _remember_sockets(self, manager: urllib3.PoolManager) -> None:
        remember = self._remember

        class Connection(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                remember(self.sock)

        class TLSConnection(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                remember(self.sock)

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        class TLSPool(HTTPSConnectionPool):
            ConnectionCls = TLSConnection

        manager.pool_classes_by_scheme = {"http": Pool, "https": TLSPool}
