"""What a state store must be able to do: one document changed by compare-and-swap, and pages of bytes.

Everything that needs judgement (lease, fence, checkpoint) is built on this once, in `lease.py`, so that a
store stays small and both stores behave the same.

```
document   small; every write names the revision it was made from and fails if that is no longer the newest
pages      parts of the ledger too large for the document; immutable; they count only once the document says so
```
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


class ConflictError(Exception):
    """The document was changed since the revision this write was made from. Read again and decide anew."""


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
    """An object that could not be sent, as it came (`content`, at most 1 MiB less the other fields)."""

    object_id: str
    reason: str
    run_id: str
    rejected_at: datetime
    expires_at: datetime
    content: bytes


class Store(Protocol):
    """One connector's state. Every method may raise `StateUnavailableError`."""

    def read(self) -> Stored | None:
        """The document, or None when this connector has never stored one. Raises `StateDamagedError`."""

    def write(self, document: dict[str, Any], replaces: Stored | None, page: Page | None = None) -> Stored:
        """Replace the document (create it when `replaces` is None) and add the page, both or neither.

        Raises `ConflictError` when the stored revision is not that of `replaces`. A write whose outcome the
        network hid may have happened: it then shows as a conflict at the next try.
        """

    def read_pages(self, generation: int, count: int) -> Iterator[bytes]:
        """Entries of pages 0 to `count - 1` of a generation, in order. Raises `StateDamagedError` if one is missing."""

    def write_page(self, page: Page) -> None:
        """Store a page that no document counts yet; an older page of the same number is replaced."""

    def sweep_pages(self, before_generation: int) -> None:
        """Delete all pages of earlier generations."""

    def add_rejected(self, rejected: list[Rejected]) -> None:
        """Keep rejected objects; the same object of the same run is kept once."""

    def read_rejected(self, now: datetime, limit: int) -> list[Rejected]:
        """The newest rejected objects that have not expired at `now`."""
