"""Runs and heartbeats in a process of its own: what the Scheduler does in the cloud, for plain machines."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from uuid import uuid4

from cluster25.connector import Connector
from cluster25.logs import run_context
from cluster25.run import RunRequest
from cluster25.sync import Sync

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 120.0
"""OpenCTI takes a connector for dead after five minutes of silence."""


class Loop:
    """A run at once and then at every interval, with heartbeats in between, until `stop`."""

    def __init__(self, connector: Connector, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._connector = connector
        self._heartbeat_seconds = heartbeat_seconds
        self._stopping = threading.Event()
        self._under_way: list[Sync] = []

    def run(self) -> None:
        """Return after `stop`, when the calls under way have ended."""
        # In a thread of its own, so that OpenCTI also hears from a connector that is working for long.
        heartbeats = threading.Thread(target=self._heartbeats, name="heartbeats")
        heartbeats.start()
        self._every(self._connector.settings.cluster25_interval_sec, self._run)
        heartbeats.join()

    def stop(self) -> None:
        """Begin nothing more; a run under way stops at its next chunk and gives the lease back."""
        self._stopping.set()
        for sync in list(self._under_way):
            sync.stop()

    def _heartbeats(self) -> None:
        if not self._stopping.wait(self._heartbeat_seconds):
            self._every(self._heartbeat_seconds, self._beat)

    def _every(self, seconds: float, call: Callable[[Sync, str], object]) -> None:
        clock = self._connector.clock
        due = clock.monotonic()
        while not self._stopping.wait(max(0.0, due - clock.monotonic())):
            self._attempt(call)
            # Counted from the start of a call; when that took longer, the next one comes at once.
            due = max(due + seconds, clock.monotonic())

    def _attempt(self, call: Callable[[Sync, str], object]) -> None:
        run_id = uuid4().hex
        with run_context(run_id):
            try:
                with self._stoppable() as sync:
                    call(sync, run_id)
            except Exception:
                log.exception("an unexpected error ended the call; the next one is made all the same")

    @contextmanager
    def _stoppable(self) -> Iterator[Sync]:
        sync = self._connector.sync()
        self._under_way.append(sync)
        if self._stopping.is_set():  # `stop` may have come before it could see this one
            sync.stop()
        try:
            yield sync
        finally:
            self._under_way.remove(sync)

    def _run(self, sync: Sync, run_id: str) -> None:
        sync.run(run_id, RunRequest("loop"))

    def _beat(self, sync: Sync, run_id: str) -> None:
        sync.heartbeat(run_id)


def run_until_terminated(loop: Loop) -> None:
    """Run the loop until SIGTERM or SIGINT, then let it end in good order; a second signal ends it hard.

    To be called in the main thread, where signal handlers run.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        loop.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # The loop has a thread of its own: a handler that interrupted it could wait for a lock it holds itself.
    thread = threading.Thread(target=loop.run, name="runs")
    thread.start()
    log.info("the loop has started")
    while thread.is_alive():
        thread.join(1.0)  # not for ever: a signal that comes just before the wait would not end it
    log.info("the loop has ended")
