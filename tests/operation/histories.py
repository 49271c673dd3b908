"""Connectors to look at: states as they are after a day of one kind or another."""

from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

from cluster25.state.document import Lease, Outcome, Question, RunSummary, State
from cluster25.state.store import Rejected

NOW = datetime(2026, 3, 2, 9, 41, 7, tzinfo=UTC)
INTERVAL = timedelta(seconds=600)
TYPES = ("domain", "url", "ipv4", "sha256", "md5", "sha1", "email", "filename", "ipv6")
ERROR = {
    "what": 'Cluster25 refused the credentials (401): {"error": "Invalid client credentials"}',
    "side": "source",
    "remedy": "Check CLUSTER25_CLIENT_ID and CLUSTER25_CLIENT_SECRET.",
}


def run(number: int, outcome: Outcome, pushed: int = 0, exported: int | None = None) -> RunSummary:
    """The run that was made `number` intervals ago; the newest one was made four minutes ago."""
    random = Random(number)
    started_at = NOW - timedelta(minutes=4) - number * INTERVAL
    shares = sorted(random.randint(0, pushed) for _ in TYPES[1:])
    counts = [high - low for low, high in zip([0, *shares], [*shares, pushed], strict=True)]
    exported = pushed + random.randint(0, 40) if exported is None else exported
    return RunSummary(
        run_id=UUID(int=random.getrandbits(128)).hex,
        trigger="scheduler",
        started_at=started_at,
        ended_at=started_at + timedelta(seconds=470 if outcome == "partial" else random.randint(1, 9)),
        outcome=outcome,
        exported=exported,
        pushed=pushed,
        skipped=exported - pushed,
        by_type={kind: count for kind, count in zip(TYPES, counts, strict=True) if count},
        error=ERROR if outcome == "failed" else None,
    )


def history(*newest: RunSummary, first: int, runs: int = 50) -> State:
    """A state whose oldest runs imported much, whose later ones found little, and whose newest are these."""
    random = Random(7)
    older = [
        run(number, "empty") if random.random() < 0.3 else run(number, "ok", random.randint(1, 90))
        for number in range(first, runs - 4)
    ]
    imports = [run(runs - 4, "ok", 1_480)] + [
        run(number, "partial", 26_000) for number in range(runs - 3, runs)
    ]
    state = State(question=Question(base_url="https://api.example/api/v1", types=sorted(TYPES)))
    for summary in reversed([*newest, *older, *imports]):
        state = state.with_run(summary)
    success = next((one for one in state.runs if one.outcome in {"ok", "empty"}), None)
    return state.changed(watermark=success.started_at if success else None)


NEVER_RUN = State()
HEALTHY = history(run(0, "ok", 37), first=1)
BUSY = HEALTHY.changed(
    lease=Lease(holder="7c0ffee1d15ea5e0123456789abcdef0", until=NOW + timedelta(minutes=9, seconds=12))
)
FAILING = history(run(0, "failed"), run(1, "failed"), run(2, "failed"), run(3, "skipped"), first=4)
SKIPPING = history(*(run(number, "skipped") for number in range(4)), first=4)
OVERDUE = HEALTHY.changed(runs=HEALTHY.runs[6:], last_run=HEALTHY.runs[6])
STARTING = State(lease=BUSY.lease, start=NOW - timedelta(days=7))

REJECTED = [
    Rejected.because(
        reason,
        object_id=f"indicator--{UUID(int=number, version=4)}",
        content=b"{}",
        run_id=str(number),
        rejected_at=NOW - timedelta(hours=number),
    )
    for number, reason in enumerate(
        (
            "its pattern is no STIX pattern: a hash of 31 characters is no MD5",
            "its valid_until is no timestamp",
            "OpenCTI does not import objects of type x-acme-thing",
        ),
        start=1,
    )
]
