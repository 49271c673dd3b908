"""Short ways to do in a test what a run does."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cluster25.state.document import Lease, Outcome, Question, RunSummary, State
from cluster25.state.held import HeldLease
from cluster25.state.lease import read_state
from cluster25.state.ledger import DIGEST_BYTES, Entry, digest_of, entry_of
from cluster25.state.store import ConflictError, Store
from tests.clock import SimulatedClock

Write = Callable[[HeldLease, SimulatedClock], object]
"""Something a run does that writes."""

LEASE_SECONDS = 570.0
OVERLAP = timedelta(seconds=900)
QUESTION = Question(base_url="https://api.example/api/v1", types=["domain", "ipv4"])


def entries(clock: SimulatedClock, *names: str) -> list[Entry]:
    """One ledger entry for each name, modified now."""
    return [entry_of(digest_of(f"indicator--{name}", "1"), int(clock.now().timestamp())) for name in names]


def digests(clock: SimulatedClock, *names: str) -> list[bytes]:
    """What the ledger finds these entries by."""
    return [entry[:DIGEST_BYTES] for entry in entries(clock, *names)]


def summary(clock: SimulatedClock, outcome: Outcome = "ok", run_id: str = "run-a") -> RunSummary:
    return RunSummary(
        run_id=run_id, trigger="scheduler", started_at=clock.now(), ended_at=clock.now(), outcome=outcome
    )


def accept(held: HeldLease, accepted: list[Entry]) -> None:
    """What a run does when OpenCTI has accepted a chunk."""
    held.record(accepted)
    held.ledger.add_new(accepted)


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


def lease_in(store: Store) -> Lease:
    """The stored lease, when there is one."""
    lease = read_state(store).lease
    assert lease is not None
    return lease


def document_in(store: Store) -> dict[str, Any]:
    """The stored document, when there is one."""
    stored = store.read()
    assert stored is not None
    return stored.document


def conflict_always(*_: object) -> None:
    """Takes the place of a store's `write` where every try is aborted."""
    raise ConflictError


def fail_once(store: Store, method: str, error: BaseException, *, applied: bool) -> None:
    """Let the next call of a store's method raise, after or instead of doing what it was asked."""
    real = getattr(store, method)

    def failing(*arguments: Any, **options: Any) -> None:
        setattr(store, method, real)
        if applied:
            real(*arguments, **options)
        raise error

    setattr(store, method, failing)
