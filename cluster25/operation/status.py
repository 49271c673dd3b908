"""The status: what the state store knows, for whoever operates the connector. No peer is asked."""

from datetime import datetime
from typing import Any

from cluster25 import __version__
from cluster25.clock import to_rfc3339
from cluster25.operation.health import health_of
from cluster25.settings import Settings
from cluster25.state.document import State
from cluster25.state.store import Rejected

REJECTED_SHOWN = 20


def status_document(
    settings: Settings, state: State, rejected: list[Rejected], now: datetime
) -> dict[str, Any]:
    """The answer to `GET /`: health, checkpoint, lease, runs, rejected objects, settings without secrets."""
    health = health_of(state, settings.cluster25_interval_sec, settings.cluster25_run_budget_sec, now)
    backfill = state.backfill_at(now)
    return {
        "healthy": health.is_healthy,
        "condition": health.condition,
        "reasons": health.reasons,
        "remedy": health.remedy,
        "version": __version__,
        "state_version": state.version,
        "watermark": _shown(state.watermark),
        "lag_seconds": (now - state.watermark).total_seconds() if state.watermark else None,
        "importing_since": _shown(state.start),
        "reset_pending": state.reset_pending,
        "lease": state.lease.model_dump() if state.lease_held_at(now) and state.lease else None,
        "backfill": backfill.model_dump() if backfill else None,
        "failing_since": _shown(state.failing_since),
        "skipped_since": _shown(state.skipped_since),
        "last_run": state.last_run.model_dump() if state.last_run else None,
        "runs": [summary.model_dump() for summary in state.runs],
        "rejected": [
            {
                "object_id": entry.object_id,
                "reason": entry.reason,
                "run_id": entry.run_id,
                "rejected_at": to_rfc3339(entry.rejected_at),
                "bytes": len(entry.content),
            }
            for entry in rejected
        ],
        "settings": settings.redacted(),
    }


def _shown(moment: datetime | None) -> str | None:
    return to_rfc3339(moment) if moment else None
