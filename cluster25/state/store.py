"""What a state store must be able to do: one document changed by compare-and-swap, and pages of bytes.

Everything that needs judgement (lease, fence, checkpoint) is built on this once, in `lease.py` and `held.py`,
so that a store stays small and both stores behave the same.

```
document   small; every write names the revision it was made from and fails if that is no longer the newest
pages      parts of the ledger too large for the document; they count only once the document says so
rejected   objects that could not be sent, each with its reason, until it expires
```
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Protocol

from cluster25.clock import Clock

WRITE_ATTEMPTS = 8

REJECTED_CONTENT_BYTES = 1_000_000
"""At most this much of a rejected object is kept: a Firestore document, all fields, ends at 1 MiB."""

REJECTED_TEXT_CHARS = 500
REJECTED_LIFE = timedelta(days=30)


class ConflictError(Exception):
    """The document was changed since the revision this write was made from. Read again and decide anew."""


def attempts(clock: Clock) -> Iterator[None]:
    """Turns to read, decide and write after a conflict: eight, with a longer random pause before each."""
    for turn in range(WRITE_ATTEMPTS):
        if turn:
            clock.sleep(random.uniform(0, 0.05 * 2**turn))
        yield


@dataclass(frozen=True)
class Stored:
    """The document as read or just written, with the store's own mark of its revision."""

    document: dict[str, Any]
    revision: Any


@dataclass(frozen=True)
class Page:
    """A part of the ledger: `number` counts from 0 within a `generation`; `entries` are packed bytes."""

    generation: int
    number: int
    entries: bytes


@dataclass(frozen=True)
class Rejected:
    """An object that could not be sent, as it came (`content`), and why. Made by `Rejected.because`."""

    object_id: str
    reason: str
    run_id: str
    rejected_at: datetime
    expires_at: datetime
    content: bytes

    @classmethod
    def because(
        cls, reason: str, *, object_id: str, content: bytes, run_id: str, rejected_at: datetime
    ) -> "Rejected":
        """A rejected object cut to what every store can hold, to be kept for `REJECTED_LIFE`."""
        return cls(
            object_id=_storable(object_id),
            reason=_storable(reason),
            run_id=run_id,
            rejected_at=rejected_at,
            expires_at=rejected_at + REJECTED_LIFE,
            content=content[:REJECTED_CONTENT_BYTES],
        )

    @property
    def key(self) -> str:
        """The same for the same object rejected again, which is then kept once, as of the latest run."""
        return blake2b(self.object_id.encode() + b"\0" + self.content, digest_size=16).hexdigest()


def _storable(text: str) -> str:
    # Rejected objects are rejected for a reason: their text may be endless or no Unicode at all.
    return text[:REJECTED_TEXT_CHARS].encode("utf-8", "replace").decode()


class Store(Protocol):
    """One connector's state.

    Every method may raise StateUnavailableError, or SettingsError when the store is not set up right.
    """

    @property
    def location(self) -> str:
        """Where the document lies, in words an operator can act on."""

    def read(self) -> Stored | None:
        """The document, or None when this connector has never stored one. Raises `StateDamagedError`."""

    def write(self, document: dict[str, Any], replaces: Stored | None, page: Page | None = None) -> Stored:
        """Replace the document (create it when `replaces` is None) and store the page, both or neither.

        Values of the document are JSON values or bytes. Raises `ConflictError` when the stored revision is
        not that of `replaces`, or when others were writing at the same time. A write whose answer the
        network lost may have happened: it then shows as a conflict at the next try.
        """

    def read_pages(self, generation: int, count: int) -> Iterator[bytes]:
        """Entries of pages 0 to `count - 1` of a generation, in order.

        Raises `StateDamagedError` if one is missing.
        """

    def write_page(self, page: Page) -> None:
        """Store a page that no document counts yet; an older page of the same number is replaced."""

    def sweep_pages(self, before_generation: int) -> None:
        """Delete all pages of earlier generations."""

    def add_rejected(self, rejected: list[Rejected]) -> None:
        """Keep rejected objects; one that was kept before is replaced, not kept twice."""

    def read_rejected(self, now: datetime, limit: int) -> list[Rejected]:
        """The newest rejected objects that have not expired at `now`."""

    def remove_rejected(self, rejected: list[Rejected]) -> None:
        """Forget rejected objects; those that are not kept any more do no harm."""
