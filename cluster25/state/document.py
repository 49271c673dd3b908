"""The state document: everything that is remembered between calls, apart from large ledgers.

It stays below Firestore's limit of 1 MiB: the inline ledger takes at most `INLINE_LEDGER_BYTES`, the
companions `COMPANIONS_BYTES` (`Companions` sees to it), fifty run summaries some 50 KiB.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from cluster25.clock import to_rfc3339
from cluster25.errors import StateDamagedError
from cluster25.state.store import Stored

VERSION: Final = 2
INLINE_LEDGER_BYTES = 512 * 1024
COMPANIONS_BYTES = 128 * 1024
REMEMBERED_RUNS = 50
RETRY = "retry"
"""The trigger of a run that sends rejected objects again, and does not ask Cluster25."""
LONGEST_LEASE = timedelta(days=1)
"""What CLUSTER25_LEASE_SEC allows: one that ends later was taken while some clock was ahead, and is none."""
BACKFILL_KEPT = timedelta(days=7)
"""A backfill on which nobody works for so long is given up: the ledger is pruned as usual again."""

Outcome = Literal["ok", "empty", "partial", "skipped", "failed"]


def _moment(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


Moment = Annotated[AwareDatetime, BeforeValidator(_moment), PlainSerializer(to_rfc3339)]
"""An aware UTC datetime in memory, RFC 3339 in the store."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Lease(_Part):
    """The right of one run to work, until a time."""

    holder: str
    until: Moment


class Question(_Part):
    """What Cluster25 was asked: a checkpoint is only worth something for the question it was earned with."""

    base_url: str
    types: list[str]


class Backfill(_Part):
    """An import by hand from a past date, in as many runs as it needs; the ledger goes back to `since`."""

    since: Moment
    types: list[str]
    worked_at: Moment


class RunSummary(_Part):
    """What a run did: counts of objects, pushed ones also by type, and on failure `error` as in an answer."""

    run_id: str
    trigger: str
    started_at: Moment
    ended_at: Moment
    outcome: Outcome
    exported: int = 0
    pushed: int = 0
    skipped: int = 0
    rejected: int = 0
    by_type: dict[str, int] = {}
    error: dict[str, str] | None = None


class State(_Part):
    """The document. Immutable: a change makes a new one, and counts once the store has accepted it."""

    version: Literal[2] = 2
    fence: int = 0
    """Grows with every lease."""
    lease: Lease | None = None
    watermark: Moment | None = None
    start: Moment | None = None
    """What exports ask from while that is not `watermark - overlap`; kept until one has ended cleanly."""
    floor: Moment | None = None
    """What was modified before it has been pruned from the ledger; None before the first pruning."""
    question: Question | None = None
    generation: int = 0
    """The fence under which the ledger was last rewritten: no other run writes those pages beforehand."""
    pages: int = 0
    """How many pages of `generation` count, besides the inline `ledger`."""
    ledger: bytes = b""
    backfill: Backfill | None = None
    companions: list[str] = []
    """Identities and markings as the source sent them, for objects of later runs that refer to them."""
    reset_pending: bool = False
    """A reset was asked for, and no run has begun since."""
    last_tick: str | None = None
    """The newest Scheduler tick that was served with success."""
    last_run: RunSummary | None = None
    runs: list[RunSummary] = []
    """The newest first, at most `REMEMBERED_RUNS`."""
    failing_since: Moment | None = None
    failure_told: bool = False
    """Whether OpenCTI shows the failure since then as a work in error."""
    skipped_since: Moment | None = None
    """Since when every run has given up before exporting (full queue)."""
    registration: str | None = None
    """Digest of what was registered at OpenCTI."""

    def backfill_at(self, now: datetime) -> Backfill | None:
        """The backfill under way, unless it is given up."""
        return self.backfill if self.backfill and now - self.backfill.worked_at <= BACKFILL_KEPT else None

    def lease_held_at(self, now: datetime) -> bool:
        """Whether some run has the right to work at that time."""
        return self.lease is not None and now < self.lease.until <= now + LONGEST_LEASE

    def without_checkpoint(self) -> "State":
        """The state after a reset: the import starts over, but lease, fence and history stay."""
        return self.changed(
            watermark=None,
            start=None,
            floor=None,
            question=None,
            pages=0,
            ledger=b"",
            backfill=None,
            companions=[],
            last_tick=None,
            reset_pending=False,
        )

    def with_run(self, summary: RunSummary) -> "State":
        """The state that remembers this run as the last one.

        One that is skipped, as was the last, takes its place: what comes every few seconds while OpenCTI's
        queue is full must not drive all others out.
        """
        failed, skipped = summary.outcome == "failed", summary.outcome == "skipped"
        failing_since = self.failing_since if skipped or summary.trigger == RETRY else None
        again = skipped and bool(self.runs) and _kind(self.runs[0]) == _kind(summary)
        return self.changed(
            last_run=summary,
            runs=[summary, *self.runs[int(again) :]][:REMEMBERED_RUNS],
            failing_since=(self.failing_since or summary.started_at) if failed else failing_since,
            skipped_since=(self.skipped_since or summary.started_at) if skipped else None,
        )

    def changed(self, **fields: Any) -> "State":
        """A copy with these fields replaced; they are not validated again."""
        return self.model_copy(update=fields)

    def to_document(self) -> dict[str, Any]:
        """As stored: JSON values, except that `ledger` is bytes."""
        return self.model_dump()

    @classmethod
    def of(cls, stored: Stored | None, location: str) -> "State":
        """The state in a stored document, an empty one if nothing is stored.

        Raises StateDamagedError when it is of another version or not understood; `location` says in its
        message where the document lies.
        """
        if stored is None:
            return cls()
        keeping = (
            f"Nothing was changed in {location}. Restore it from a backup, or delete it to start over "
            "from the import start date."
        )
        version = stored.document.get("version")
        if version != VERSION:
            raise StateDamagedError(
                f"The stored state has version {version!r}, this release understands {VERSION}.",
                f"Deploy the release that wrote it. {keeping}",
            )
        try:
            return cls.model_validate(stored.document)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                for problem in error.errors(include_input=False, include_url=False)[:3]
            )
            raise StateDamagedError(f"The stored state cannot be understood: {problems}.", keeping) from None


def _kind(summary: RunSummary) -> tuple[str, Outcome]:
    return summary.trigger, summary.outcome
