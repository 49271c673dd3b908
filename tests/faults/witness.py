"""The invariants of a checkpoint, looked at in the moment at which it is written."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cluster25.state.ledger import DIGEST_BYTES, ENTRY_BYTES
from cluster25.state.sqlite import SqliteStore
from cluster25.state.store import Page, Stored
from local.ingestion import Version, is_companion
from tests.faults.world import World


class Witness(SqliteStore):
    """The store of a world, which checks every document written; `problems` says what was wrong, in words.

    A checkpoint that was forgotten is worth nothing: all that OpenCTI had before counts as not received then.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world.settings.state_sqlite_path, str(world.settings.connector_id))
        self.problems: list[str] = []
        self.resets_asked_for = 0
        self._sent_twice_before = 0
        self._world = world
        self._received_before: Counter[Version] = Counter()

    def write(self, document: dict[str, Any], replaces: Stored | None, page: Page | None = None) -> Stored:
        """Write, then check."""
        stored = super().write(document, replaces, page)
        before = replaces.document if replaces else {}
        if _is_forgotten(document) and not _is_forgotten(before):
            self._forget()
        elif _watermark(document) < _watermark(before):
            self.problems.append(f"watermark back from {before['watermark']} to {document['watermark']}")
        self._check_watermark(_watermark(document))
        self._check_ledger(document["ledger"] + (page.entries if page else b""))
        return stored

    def write_page(self, page: Page) -> None:
        """Write, then check."""
        super().write_page(page)
        self._check_ledger(page.entries)

    def has(self, version: Version) -> bool:
        """Whether OpenCTI has it, since the last reset."""
        return self._world.sink.ingestion.received[version] > self._received_before[version]

    def sent_twice(self) -> int:
        """How often an object was sent that OpenCTI had already, resets apart."""
        received = Counter(self._world.sink.ingestion.received)
        received.subtract(self._received_before)
        again = sum(
            times - 1 for (name, _), times in received.items() if times > 1 and not is_companion(name)
        )
        return self._sent_twice_before + again

    def _forget(self) -> None:
        self._sent_twice_before = self.sent_twice()
        if self.resets_asked_for == 0:
            self.problems.append("the checkpoint was forgotten, and nobody had asked for that")
        self.resets_asked_for = 0
        self._received_before = Counter(self._world.sink.ingestion.received)

    def _check_watermark(self, watermark: str) -> None:
        if not watermark:
            return
        moment = datetime.fromisoformat(watermark)
        for version, arrived_at in list(self._world.arrived_at.items()):
            if arrived_at < moment and not self.has(version):
                self.problems.append(f"{version}, there since {arrived_at}, is not in OpenCTI: {watermark}")

    def _check_ledger(self, packed: bytes) -> None:
        for digest in _digests(packed):
            version = self._world.version_of.get(digest)
            if version is None or not self.has(version):
                self.problems.append(f"the ledger holds {version}, which OpenCTI does not have")


def _is_forgotten(document: dict[str, Any]) -> bool:
    return document.get("question") is None and document.get("watermark") is None


def _watermark(document: dict[str, Any]) -> str:
    """As stored, all of one form, so that they compare as text; empty when there is none."""
    return document.get("watermark") or ""


def _digests(packed: bytes) -> Iterator[bytes]:
    for start in range(0, len(packed), ENTRY_BYTES):
        yield packed[start : start + DIGEST_BYTES]
