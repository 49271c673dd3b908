"""OpenCTI's works: the record of an import, and the counters that say how far it is."""

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from cluster25.clock import Clock, to_rfc3339


@dataclass
class Work:
    """One import. `expected` and `processed` count objects; they are what the interface shows as progress."""

    connector_id: str
    name: str
    timestamp: str
    status: str = "wait"
    id: str = field(default_factory=lambda: f"work_{uuid4()}")
    expected: int = 0
    processed: int = 0
    received_time: str | None = None
    processed_time: str | None = None
    completed_time: str | None = None
    messages: list[dict[str, str]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The work in the fields of the GraphQL type."""
        tracking = {"import_expected_number": self.expected, "import_processed_number": self.processed}
        return {
            "user": {"name": "[C] Cluster25"},
            "event_source_id": self.connector_id,
            "tracking": tracking,
            **vars(self),
        }


class Works:
    """All works. Editing one that is gone is no error, except that nothing can be expected of it."""

    def __init__(self, clock: Clock) -> None:
        self.by_id: dict[str, Work] = {}
        self._clock = clock

    def open(self, connector_id: str, connector_name: str, friendly_name: str | None) -> Work:
        """A new work, named as asked or as the platform names its own."""
        now = self._now()
        work = Work(connector_id, friendly_name or f"{connector_name} run @ {now}", now)
        self.by_id[work.id] = work
        return work

    def receive(self, work_id: str, message: str | None = None) -> None:
        """The import has begun."""
        if work := self.by_id.get(work_id):
            work.status = "progress"
            work.received_time = self._now()
            self._note(work.messages, message)

    def expect(self, work_id: str, number: int) -> bool:
        """So many more objects are to come; false when there is no such work."""
        work = self.by_id.get(work_id)
        if work is None:
            return False
        work.expected += number
        return True

    def report(self, work_id: str, error: str | None = None) -> None:
        """One object was imported, or failed; the last one expected completes the work."""
        if work := self.by_id.get(work_id):
            work.processed += 1
            self._note(work.errors, error)
            if work.processed >= work.expected:
                self._complete(work)

    def process(self, work_id: str, message: str | None = None, *, in_error: bool = False) -> None:
        """The connector is done. Nothing expected yet looks like nothing left to do: the work is complete."""
        if work := self.by_id.get(work_id):
            work.processed_time = self._now()
            self._note(work.errors if in_error else work.messages, message)
            if work.processed >= work.expected:
                self._complete(work)

    def delete(self, work_id: str) -> None:
        """Forget it."""
        self.by_id.pop(work_id, None)

    def _complete(self, work: Work) -> None:
        work.status = "complete"
        work.completed_time = self._now()

    def _note(self, notes: list[dict[str, str]], message: str | None) -> None:
        if message:
            notes.append({"timestamp": self._now(), "message": message})

    def _now(self) -> str:
        return to_rfc3339(self._clock.now())
