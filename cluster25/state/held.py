"""What a run may do to the checkpoint while it holds the lease; every write checks the fence.

A write is made from the revision this run knows, without reading first: if anybody else has written, it
conflicts. Under one fence only the holder writes, with one exception, `request_reset`, which sets
`reset_pending`. So when a write conflicts and the fence is still ours, then an earlier write of ours was
applied although its answer was lost, or a reset is pending, or the store was busy with others who failed.
"""

import logging
import math
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from cluster25.clock import Clock, to_rfc3339
from cluster25.errors import LeaseLostError, StateUnavailableError
from cluster25.state.document import INLINE_LEDGER_BYTES, Backfill, Lease, Question, RunSummary, State
from cluster25.state.ledger import Entry, Ledger
from cluster25.state.store import ConflictError, Page, Store, Stored, attempts

log = logging.getLogger(__name__)


class ResetPendingError(Exception):
    """A reset was asked for while this run works: it must stop and end by `release`, which carries it out."""


class HeldLease:
    """The right to change the checkpoint, while it lasts; made by `acquire`.

    Every writing method raises LeaseLostError, having written nothing, once this run has lost the right, and
    StateUnavailableError when the store failed: it may have written then, and calling it again is safe.
    """

    def __init__(
        self, store: Store, clock: Clock, run_id: str, lease_seconds: float, stored: Stored, ledger: Ledger
    ) -> None:
        """`stored` is the document in which this run holds the lease, `ledger` what it counts, unpacked."""
        self._store = store
        self._clock = clock
        self._run_id = run_id
        self._lease_seconds = lease_seconds
        self._stored = stored
        self._lock = threading.Lock()  # a chunk is recorded in one thread while another renews the lease
        self.state = State.of(stored, store.location)
        """As last written, or read after a conflict, by this run."""
        self.ledger = ledger
        """What OpenCTI has accepted. Its times may be changed in memory; `commit` stores them."""
        self.registration = self.state.registration
        """Digest of what is registered at OpenCTI. May be set; it is stored by the next write."""
        self.failure_told = self.state.failure_told
        """Whether OpenCTI shows a failure that is not over. May be set; it is stored by the next write."""

    def record(self, entries: list[Entry]) -> None:
        """Remember that OpenCTI has accepted a chunk, and renew the lease. Raises ResetPendingError."""
        packed = b"".join(entries)
        self._write(lambda state: self._renewed(state).changed(pages=state.pages + 1), page_entries=packed)

    def renew(self) -> None:
        """Renew the lease when more than a third of it is used. Raises ResetPendingError."""
        if self.remaining_seconds() < self._lease_seconds * 2 / 3:
            self._write(self._renewed)

    def remaining_seconds(self) -> float:
        """How long the lease lasts unless it is renewed; not above zero once it is over."""
        return (self._lease_end(self.state) - self._clock.now()).total_seconds()

    def reset(self) -> None:
        """Forget the checkpoint, because OpenCTI ordered it; the run goes on as a first run would."""
        self._write(lambda state: self._renewed(state.without_checkpoint()))
        self.ledger = Ledger()

    def rewind(
        self, *, watermark: datetime | None, start: datetime | None, question: Question | None
    ) -> None:
        """Ask from another time than the last run, and keep the ledger. Raises ResetPendingError.

        For a first run and a changed question, which ask from `start` until an export has ended cleanly, and
        for a watermark adopted from OpenCTI. What is not in the ledger is wanted, however old: no floor.
        """
        self._write(
            lambda state: self._renewed(state).changed(
                watermark=watermark, start=start, floor=None, question=question
            )
        )

    def begin_backfill(self, since: datetime, types: list[str]) -> None:
        """From now on no run prunes the ledger beyond `since`, until `release` says that it is done.

        Another backfill under way that goes back as far stays the one that is protected.
        """
        now = self._clock.now()
        other = self.state.backfill_at(now)
        if other and other.since <= since and (other.since, other.types) != (since, types):
            return
        backfill = Backfill(since=since, types=types, worked_at=now)
        self._write(lambda state: self._renewed(state).changed(backfill=backfill))

    def commit(
        self,
        *,
        watermark: datetime,
        floor: datetime,
        question: Question,
        companions: list[str],
        summary: RunSummary,
        tick: str | None,
    ) -> State:
        """End a clean run: move the watermark, prune the ledger to `floor`, give the lease back.

        When a reset is pending, the checkpoint is forgotten instead. Returns the state as stored.
        Raises ValueError when the watermark would move back.
        """
        if self.state.watermark is not None and watermark < self.state.watermark:
            raise ValueError(f"the watermark is {self.state.watermark} and cannot move back to {watermark}")
        fence, old_pages = self.state.fence, self.state.pages
        backfill = self.state.backfill_at(self._clock.now())
        kept_from = min(floor, backfill.since) if backfill else floor
        self.ledger.prune(math.floor(kept_from.timestamp()))
        parts = self.ledger.pack(INLINE_LEDGER_BYTES)
        inline, pages = next(parts, b""), 0
        for part in parts:
            # Nobody else writes pages under this fence, so a run that lost its lease here does no harm.
            self._store.write_page(Page(fence, pages, part))
            pages += 1
        checkpoint = {
            "watermark": watermark,
            "start": None,
            "floor": floor,
            "question": question,
            "backfill": backfill,
            "companions": companions,
            "generation": fence,
            "pages": pages,
            "ledger": inline,
        }
        self._write(lambda state: _ended(state, summary, tick, checkpoint))
        if old_pages:
            self._sweep()
        return self.state

    def release(
        self,
        summary: RunSummary,
        *,
        companions: list[str] | None = None,
        tick: str | None = None,
        backfill_done: tuple[datetime, list[str]] | None = None,
    ) -> State:
        """End any other run: watermark and recorded chunks stay, the lease is given back.

        `backfill_done` has `since` and `types` of a backfill that has come to its end. When a reset is
        pending, the checkpoint is forgotten. Returns the state as stored.
        """
        kept: dict[str, Any] = {} if companions is None else {"companions": companions}
        backfill = self.state.backfill
        if backfill and (backfill.since, backfill.types) == backfill_done:
            kept["backfill"] = None
        self._write(lambda state: _ended(state, summary, tick, kept))
        return self.state

    def _write(self, change: Callable[[State], State], page_entries: bytes | None = None) -> None:
        with self._lock:
            self._write_alone(change, page_entries)

    def _write_alone(self, change: Callable[[State], State], page_entries: bytes | None) -> None:
        for _ in attempts(self._clock):
            if self._clock.now() >= self._lease_end(self.state):
                raise self._lost()
            state = change(self.state).changed(registration=self.registration, failure_told=self.failure_told)
            page = None
            if page_entries is not None:
                page = Page(self.state.generation, self.state.pages, page_entries)
            try:
                self._stored = self._store.write(state.to_document(), self._stored, page)
            except ConflictError:
                if self._was_applied(state):
                    return
            else:
                self.state = state
                return
        raise StateUnavailableError("Others kept writing to the state.", "The next run goes on from here.")

    def _was_applied(self, intended: State) -> bool:
        """Read what conflicted, and go on from it; true when it is our own write, its answer lost."""
        stored = self._store.read()
        state = State.of(stored, self._store.location)
        given_back = intended.lease is None and state.lease is None
        holder = None if state.lease is None else state.lease.holder
        if stored is None or state.fence != self.state.fence or not (given_back or holder == self._run_id):
            raise self._lost()
        self._stored, self.state = stored, state
        return given_back or state == intended.changed(reset_pending=state.reset_pending)

    def _renewed(self, state: State) -> State:
        if state.reset_pending:
            raise ResetPendingError
        until = self._clock.now() + timedelta(seconds=self._lease_seconds)
        return state.changed(lease=Lease(holder=self._run_id, until=until))

    def _lease_end(self, state: State) -> datetime:
        if state.lease is None:
            raise self._lost()
        return state.lease.until

    def _lost(self) -> LeaseLostError:
        until = "" if self.state.lease is None else f", which ended at {to_rfc3339(self.state.lease.until)}"
        return LeaseLostError(
            f"Run {self._run_id} no longer holds its lease{until}.",
            "Nothing is lost, the next run goes on; if this repeats, raise CLUSTER25_LEASE_SEC.",
        )

    def _sweep(self) -> None:
        try:
            self._store.sweep_pages(self.state.generation)
        except StateUnavailableError as error:
            # They count for nothing, and the next run that has pages to sweep deletes them too.
            log.warning("Old ledger pages stay for now: %s", error)


def _ended(state: State, summary: RunSummary, tick: str | None, checkpoint: Mapping[str, Any]) -> State:
    if state.reset_pending:
        return state.without_checkpoint().changed(reset_pending=True, lease=None).with_run(summary)
    return state.changed(**checkpoint, lease=None, last_tick=tick or state.last_tick).with_run(summary)
