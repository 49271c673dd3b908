"""One run: what was asked for, what it did in numbers, how it ended."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cluster25.clock import Budget, to_rfc3339
from cluster25.errors import ConnectorError
from cluster25.state.document import Outcome, RunSummary, State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRequest:
    """What a call asks for. `since` or `types` make it a run by hand: the watermark stays.

    `tick` is the Scheduler's name for the moment it calls for, the same for all tries of one call. `resends`
    says that the source has objects from earlier exports, of whatever age.
    """

    trigger: str
    tick: str | None = None
    dry_run: bool = False
    since: datetime | None = None
    types: tuple[str, ...] | None = None
    resends: bool = False

    @property
    def is_by_hand(self) -> bool:
        """Whether it asks a question of its own."""
        return self.resends or self.since is not None or self.types is not None


@dataclass
class Tally:
    """Counts of objects. Companions count as exported, but neither as pushed nor as skipped."""

    exported: int = 0
    pushed: int = 0
    skipped: int = 0
    rejected: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    """The pushed ones: indicators by Cluster25's types where they are of one, others by STIX type."""
    dropped_references: int = 0
    chunks: int = 0


@dataclass
class Run:
    """A run under way.

    `companions` are those to remember, once the export has shown any; `backfill` is since when and for which
    types it imports by hand.
    """

    run_id: str
    request: RunRequest
    started_at: datetime
    budget: Budget
    tally: Tally = field(default_factory=Tally)
    companions: list[str] | None = None
    backfill: tuple[datetime, list[str]] | None = None
    reason: str | None = None
    """Why it is skipped, or stopped before the end."""

    def summary(self, outcome: Outcome, error: ConnectorError | None = None) -> RunSummary:
        """What the state remembers of it."""
        return RunSummary(
            run_id=self.run_id,
            trigger=self.request.trigger,
            started_at=self.started_at,
            ended_at=self.budget.clock.now(),
            outcome=outcome,
            exported=self.tally.exported,
            pushed=self.tally.pushed,
            skipped=self.tally.skipped,
            rejected=self.tally.rejected,
            by_type=dict(self.tally.by_type),
            error=error.as_dict() if error else None,
        )


@dataclass(frozen=True)
class RunResult:
    """How a call ended. `state` is what is stored now, as far as known; a `failed` one has its `error`."""

    run: Run
    outcome: Outcome
    state: State
    error: ConnectorError | None = None

    def log(self) -> None:
        """Write the one line per run that log-based metrics read: its fields have the same names there."""
        tally, now = self.run.tally, self.run.budget.clock.now()
        fields: dict[str, Any] = {
            "event": "dry_run" if self.run.request.dry_run else "run",
            "trigger": self.run.request.trigger,
            "outcome": self.outcome,
            "exported": tally.exported,
            "pushed": tally.pushed,
            "skipped": tally.skipped,
            "rejected": tally.rejected,
            "duration_seconds": (now - self.run.started_at).total_seconds(),
        }
        if self.state.watermark:
            fields["lag_seconds"] = (now - self.state.watermark).total_seconds()
        if self.outcome == "skipped":
            fields["skipped_for_seconds"] = self._skipped_for_seconds(now)
        explanation = self.error or self.run.reason
        level = logging.ERROR if self.error else logging.INFO
        log.log(
            level,
            "run %s: %d exported, %d pushed, %d skipped, %d rejected%s",
            self.outcome,
            tally.exported,
            tally.pushed,
            tally.skipped,
            tally.rejected,
            f" ({explanation})" if explanation else "",
            extra=fields,
        )

    def _skipped_for_seconds(self, now: datetime) -> float:
        """How long no run has got through: since the first skipped one, or since the last that ended."""
        since = self.state.skipped_since or (self.state.last_run.ended_at if self.state.last_run else now)
        return (now - since).total_seconds()

    def as_dict(self) -> dict[str, Any]:
        """The HTTP answer."""
        tally = self.run.tally
        answer: dict[str, Any] = {
            "outcome": self.outcome,
            "run_id": self.run.run_id,
            "exported": tally.exported,
            "pushed": tally.pushed,
            "skipped": tally.skipped,
            "rejected": tally.rejected,
            "by_type": dict(tally.by_type),
            "dropped_references": tally.dropped_references,
            "watermark": to_rfc3339(self.state.watermark) if self.state.watermark else None,
        }
        if self.run.reason:
            answer["reason"] = self.run.reason
        if self.error:
            answer["error"] = self.error.as_dict()
        return answer
