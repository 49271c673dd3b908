"""The middle of a run: from batches of raw objects to chunks that OpenCTI has accepted."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cluster25.chunks import Chunk, Companions
from cluster25.clock import Clock
from cluster25.element import UnsendableError, parse
from cluster25.errors import BundleTooLargeError, LeaseLostError
from cluster25.pusher import Pusher
from cluster25.reading import Reader
from cluster25.references import Assembler
from cluster25.rejections import Rejections
from cluster25.run import Run
from cluster25.scan import MAX_OBJECT_BYTES, Batch
from cluster25.settings import Settings
from cluster25.state.ledger import Entry, Ledger, entry_of
from cluster25.state.store import Rejected
from cluster25.stix import COMPANION_TYPES, Item, cluster25_author, complete, unescape

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outlet:
    """Where things go.

    `push` returns only when OpenCTI has accepted the chunk, `record` only when its entries are stored with
    the ledger; both are called in a thread of their own. `keep` returns when rejected objects are stored.
    """

    push: Callable[[Chunk], None]
    record: Callable[[list[Entry]], None]
    keep: Callable[[list[Rejected]], None]


class Transfer:
    """Skips what the ledger holds, checks and completes the rest, and hands it on in chunks.

    `floor` is the time before which nothing is wanted: objects modified earlier are skipped; None when
    everything is wanted. `remembered` are companions of earlier runs, as JSON. It counts in the run's tally.
    To be used in a `with`, the end of which waits for the chunk in flight.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        run: Run,
        ledger: Ledger,
        floor: datetime | None,
        remembered: list[str],
        outlet: Outlet,
    ) -> None:
        self._rejections = Rejections(run, clock, outlet.keep)
        self._pusher = Pusher(self._deliver)
        self._pending: set[bytes] = set()
        self._older_than_floor = Ledger()  # for a compact set of digests: nothing in it was accepted now
        # Not before the time that becomes the watermark: no pruning forgets what has no time of its own.
        self._now_seconds = int(clock.now().timestamp())
        self._ledger = ledger
        self._floor = floor
        self._tally = run.tally
        self._outlet = outlet
        author = cluster25_author()
        self._reader = Reader(
            author_id=author.object_id, create_observables=settings.cluster25_create_observables
        )
        earlier = (
            complete(parse(text.encode()), author_id=author.object_id, create_observables=False)
            for text in remembered
        )
        self.companions = Companions([author, *earlier])
        self._assembler = Assembler(
            self.companions,
            lambda object_id: ledger.knows(object_id) or self._older_than_floor.knows(object_id),
            author_id=author.object_id,
            max_objects=settings.cluster25_chunk_objects,
            max_bytes=settings.cluster25_chunk_bytes,
        )

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """What OpenCTI accepted counts, whatever ended the run; without its lease nothing else does."""
        try:
            if not self._pusher.is_idle:
                chunk, landed = self._pusher.landed()
                if isinstance(landed, LeaseLostError):
                    raise landed
                if not isinstance(landed, Exception):
                    self._account_for(chunk, landed)
        finally:
            self._pusher.close()

    def take(self, batch: Batch) -> None:
        """Take a batch of the stream; every chunk that it fills is pushed. Raises what pushing raised."""
        if self._pusher.has_landed:
            self._settle()
        self._tally.exported += len(batch.objects) + len(batch.oversized)
        for head in batch.oversized:
            self._rejections.add(head, f"it is larger than {MAX_OBJECT_BYTES} bytes")
        for raw in batch.objects:
            try:
                self._take_object(raw)
            except UnsendableError as error:
                self._rejections.add(raw, str(error))
            except Exception as error:
                # A fault of ours: it must not let one object hold up all others, run after run.
                log.exception("an object could not be read")
                self._rejections.add(raw, f"it could not be read ({type(error).__name__})")
        self._hand_on()
        self._account_for_held_back()
        self._rejections.store()

    def finish(self) -> None:
        """The stream has ended cleanly: push the rest, and wait until it is accepted."""
        self._assembler.finish()
        self._hand_on()
        self._drain()
        if self._tally.dropped_references:
            log.warning("dropped %d references to objects that never came", self._tally.dropped_references)
        if self._older_than_floor:
            log.warning(
                "Cluster25 sent %d objects modified before the time asked for; they were skipped",
                len(self._older_than_floor),
            )

    def flush(self) -> None:
        """The stream broke off: push what is complete, and wait until it is accepted.

        What is held back for want of something else is left to the next run.
        """
        self._assembler.flush()
        self._hand_on()
        self._drain()

    def _drain(self) -> None:
        while not self._pusher.is_idle:
            self._settle()
        self._account_for_held_back()
        self._rejections.store()

    def _take_object(self, raw: bytes) -> None:
        item = self._reader.read(raw, self._is_new)
        if item is None:
            return
        if item.object_type in COMPANION_TYPES:
            if self.companions.fits(item):
                self._assembler.add(item)
                return
            if not self._is_new(item.object_id, item.digest, item.modified):
                return
        self._pending.add(item.digest)
        self._assembler.add(item)

    def _is_new(self, object_id: str, digest: bytes, modified: datetime | None) -> bool:
        if digest in self._pending:  # it comes twice; the first may be held back itself
            self._tally.skipped += 1
            return False
        if digest in self._ledger:
            if modified is None:  # else pruning would forget it while the source still sends it
                self._ledger.add(digest, self._now_seconds)
        elif self._floor and modified and modified < self._floor:
            self._older_than_floor.add(digest, 0)
        else:
            return True
        self._tally.skipped += 1
        self._assembler.show(object_id)
        return False

    def _account_for_held_back(self) -> None:
        self._tally.dropped_references = self._assembler.dropped_references
        for item, reason in self._assembler.take_rejected():
            self._reject_item(item, reason)

    def _hand_on(self) -> None:
        for chunk in self._assembler.take_full():
            self._start(chunk)

    def _start(self, chunk: Chunk) -> None:
        while not self._pusher.is_idle:
            self._settle()
        chunk = self._assembler.without_withdrawn(chunk)
        if len(chunk):
            self._pusher.start(chunk)

    def _deliver(self, chunk: Chunk) -> list[Entry]:
        self._outlet.push(chunk)
        entries = self._entries(chunk)
        self._outlet.record(entries)
        return entries

    def _settle(self) -> None:
        """Wait for the chunk in flight, and account for it."""
        chunk, landed = self._pusher.landed()
        if isinstance(landed, BundleTooLargeError):
            self._divide(chunk, landed)
        elif isinstance(landed, Exception):
            raise landed
        else:
            self._account_for(chunk, landed)

    def _account_for(self, chunk: Chunk, entries: list[Entry]) -> None:
        self._ledger.add_new(entries)
        self._pending.difference_update([item.digest for item in chunk.items])
        self._assembler.accept(chunk)
        self._tally.chunks += 1
        self._tally.pushed += len(chunk.items)
        self._tally.by_type.update([item.counted_as for item in chunk.items])

    def _divide(self, chunk: Chunk, error: BundleTooLargeError) -> None:
        """Push a chunk that was refused as too large in parts; an object refused alone is rejected."""
        if not chunk.items:
            raise error
        parts: list[list[Item]] = []
        if len(chunk.items) > 1:
            self._assembler.max_bytes = chunk.size_bytes // 2  # what was refused once will be refused again
            middle = len(chunk.items) // 2
            parts = [chunk.items[:middle], chunk.items[middle:]]
        elif self._assembler.chunk_of(chunk.items).size_bytes < chunk.size_bytes:
            parts = [chunk.items]  # without the companions that only came along
        else:
            self._reject_item(chunk.items[0], error.what)
            self._assembler.withdraw(chunk)
        companions = dict(chunk.companions)
        for items in parts:
            part = self._assembler.chunk_of(items)
            companions = {key: one for key, one in companions.items() if key not in part.companions}
            self._start(part)
        rest = Chunk()  # companions that nothing here refers to are lost to later runs if they do not go now
        rest.add([], companions.values())
        self._start(rest)

    def _entries(self, chunk: Chunk) -> list[Entry]:
        return [
            entry_of(item.digest, int(item.modified.timestamp()) if item.modified else self._now_seconds)
            for item in chunk.items
        ]

    def _reject_item(self, item: Item, reason: str) -> None:
        self._pending.discard(item.digest)
        self._rejections.add(unescape(item.escaped).encode(), reason)
