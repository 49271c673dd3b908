"""Short ways to do in a test what a run does."""

from datetime import datetime, timedelta
from typing import Any

from cluster25.state.document import Outcome, Question, RunSummary, State
from cluster25.state.held import HeldLease
from cluster25.state.ledger import Entry, digest_of
from cluster25.state.store import Store
from tests.clock import SimulatedClock

LEASE_SECONDS = 570.0
OVERLAP = timedelta(seconds=900)
QUESTION = Question(base_url="https://api.example/api/v1", types=["domain", "ipv4"])


def entries(clock: SimulatedClock, *names: str) -> list[Entry]:
    """One ledger entry for each name, modified now."""
    return [(digest_of(f"indicator--{name}", "1"), int(clock.now().timestamp())) for name in names]


def summary(clock: SimulatedClock, outcome: Outcome = "ok", run_id: str = "run-a") -> RunSummary:
    return RunSummary(
        run_id=run_id, trigger="scheduler", started_at=clock.now(), ended_at=clock.now(), outcome=outcome
    )


def commit(
    held: HeldLease, clock: SimulatedClock, watermark: datetime | None = None, **changes: Any
) -> State:
    """A clean end whose watermark is now, unless told otherwise."""
    watermark = watermark or clock.now()
    arguments: dict[str, Any] = {
        "watermark": watermark,
        "floor": watermark - OVERLAP,
        "question": QUESTION,
        "companions": [],
        "summary": summary(clock),
        "tick": None,
    }
    return held.commit(**{**arguments, **changes})


def fail_once(store: Store, method: str, error: BaseException, *, applied: bool) -> None:
    """Let the next call of a store's method raise, after or instead of doing what it was asked."""
    real = getattr(store, method)

    def failing(*arguments: Any, **options: Any) -> None:
        setattr(store, method, real)
        if applied:
            real(*arguments, **options)
        raise error

    setattr(store, method, failing)
