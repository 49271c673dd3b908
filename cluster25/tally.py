"""What a run did, in numbers, and how it ended."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cluster25.clock import to_rfc3339
from cluster25.errors import ConnectorError
from cluster25.state.document import Outcome


@dataclass
class Tally:
    """Counts of objects. Companions count as exported, but neither as pushed nor as skipped."""

    exported: int = 0
    pushed: int = 0
    skipped: int = 0
    rejected: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    """The pushed ones by STIX type."""
    chunks: int = 0
    dropped_references: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The counts as they stand in an answer."""
        return {
            "exported": self.exported,
            "pushed": self.pushed,
            "skipped": self.skipped,
            "rejected": self.rejected,
            "by_type": dict(self.by_type),
            "dropped_references": self.dropped_references,
        }


@dataclass(frozen=True)
class RunResult:
    """How a call ended. `reason` explains an outcome of `skipped` or `partial`, `error` one of `failed`."""

    run_id: str
    outcome: Outcome
    tally: Tally
    watermark: datetime | None
    reason: str | None = None
    error: ConnectorError | None = None

    def as_dict(self) -> dict[str, Any]:
        """The HTTP answer."""
        answer: dict[str, Any] = {
            "outcome": self.outcome,
            "run_id": self.run_id,
            **self.tally.as_dict(),
            "watermark": to_rfc3339(self.watermark) if self.watermark else None,
        }
        if self.reason:
            answer["reason"] = self.reason
        if self.error:
            answer["error"] = self.error.as_dict()
        return answer
