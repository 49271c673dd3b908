"""A backfill: runs by hand, one after the other, until all that was asked for is in OpenCTI."""

import contextlib
import threading
from datetime import datetime, timedelta
from uuid import uuid4

from cluster25.connector import Connector
from cluster25.errors import StateUnavailableError
from cluster25.logs import run_context
from cluster25.operation.health import SUCCESSES
from cluster25.run import RunRequest, RunResult, Tally
from cluster25.state.document import State
from cluster25.state.lease import read_state
from cluster25.sync import Sync

WAIT_SECONDS = 15.0
"""Between two tries while another run holds the lease, OpenCTI's queue is full, or a peer is away."""

REGULAR_TRIGGERS = {"scheduler", "loop"}
"""Of the runs that keep the watermark going; nobody waits for one made by hand."""

FAILURES = 5
"""So many failed runs in a row end a backfill; the same command goes on where it ended."""


class BackfillRuns:
    """The runs, with what they did so far; `run` in one thread, the rest from any."""

    def __init__(self, connector: Connector, request: RunRequest, wait_seconds: float = WAIT_SECONDS) -> None:
        self._connector = connector
        self._request = request
        self._wait_seconds = wait_seconds
        self._stopping = threading.Event()
        self._sync: Sync | None = None
        self._is_alone = False
        self._regular_at: datetime | None = None
        self.finished = False
        """Whether everything that was asked for is in OpenCTI."""
        self._pushed_before = 0
        self._runs = 0
        self._waiting_for = ""

    def run(self) -> RunResult:
        """Make runs until one reaches the end or fails for good, or `stop`; returns how the last one went."""
        failures = 0
        while True:
            result = self._step()
            failures = failures + 1 if result.error else 0
            for_good = result.error and (not result.error.retryable or failures >= FAILURES)
            self.finished = result.outcome in SUCCESSES - {"partial"}
            if self.finished or for_good:
                return result
            if result.outcome == "partial":
                self._give_way(result.state)
            else:
                self._waiting_for = str(result.error or result.run.reason)
                self._stopping.wait(self._wait_seconds)
            self._waiting_for = ""
            if self._stopping.is_set():
                return result

    def stop(self) -> None:
        """Let the run under way stop at its next chunk, and make no other."""
        self._stopping.set()
        if self._sync is not None:
            self._sync.stop()

    @property
    def pushed(self) -> int:
        """How many objects all runs have pushed so far."""
        return self._pushed_before + self._tally.pushed

    def describe(self) -> str:
        """How far it is, in one line."""
        if self._waiting_for:
            return f"{self.pushed:,} pushed in {self._runs} runs; waiting: {self._waiting_for}"
        done = f"{self._tally.exported:,} exported, {self._tally.skipped:,} of them known"
        return f"{self.pushed:,} pushed; run {self._runs}: {done}"

    def _give_way(self, state: State) -> None:
        """When a regular run is overdue, leave the lease to it: it comes too seldom to find it free.

        If none comes for an interval, they have been stopped, and nobody is waited for again.
        """
        clock, interval = self._connector.clock, self._connector.settings.cluster25_interval_sec
        overdue_since = clock.now() - timedelta(seconds=2 * interval)
        regular = (run.started_at for run in state.runs if run.trigger in REGULAR_TRIGGERS)
        self._regular_at = next(regular, self._regular_at)
        if self._regular_at is None or self._regular_at > overdue_since or self._is_alone:
            return
        self._waiting_for = "a regular run, which is overdue"
        waits_until = clock.monotonic() + interval
        while not self._stopping.wait(self._wait_seconds):
            with contextlib.suppress(StateUnavailableError):
                now = read_state(self._connector.store)
                if now.lease or now.last_run != state.last_run:
                    return
            if clock.monotonic() >= waits_until:
                self._is_alone = True
                return

    @property
    def _tally(self) -> Tally:
        run = self._sync.under_way if self._sync else None
        return run.tally if run else Tally()

    def _step(self) -> RunResult:
        self._pushed_before = self.pushed
        self._sync = self._connector.sync()
        self._runs += 1
        if self._stopping.is_set():  # `stop` may have come before it could see this one
            self._sync.stop()
        run_id = uuid4().hex
        with run_context(run_id):
            return self._sync.run(run_id, self._request)
