"""Whether the connector is healthy, and why, as far as the state tells."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from cluster25.state.document import RETRY, State

SUCCESSES = frozenset({"ok", "empty", "partial"})

Condition = Literal["healthy", "starting", "never run", "failing", "skipping", "overdue"]


@dataclass(frozen=True)
class Health:
    """One word and the sentences behind it; `remedy` is what to do, where the state knows."""

    condition: Condition
    reasons: list[str]
    remedy: str | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether nobody needs to look."""
        return self.condition in {"healthy", "starting"}


def health_of(state: State, interval_seconds: float, budget_seconds: float, now: datetime) -> Health:
    """Healthy is: a success within three intervals, nothing failing, not skipped for over two intervals.

    While a run is under way it may also be its budget longer ago.
    """
    interval = timedelta(seconds=interval_seconds)
    busy = state.lease_held_at(now)
    longest = 3 * interval + timedelta(seconds=budget_seconds if busy else 0)
    if state.failing_since:
        return _failing(state, state.failing_since, now)
    if state.skipped_since and now - state.skipped_since > 2 * interval:
        since = f"since {_spoken_moment(state.skipped_since)}, for {spoken(now - state.skipped_since)}"
        return Health(
            "skipping",
            [f"Every run has been skipped {since}."],
            "Look at OpenCTI's queue: above CONNECTOR_QUEUE_THRESHOLD nothing more is put into it. "
            "Its workers are too few, or stuck.",
        )
    success = next((run for run in state.runs if run.outcome in SUCCESSES and run.trigger != RETRY), None)
    if success and now - success.ended_at <= longest:
        return Health("healthy", [f"The last success ended {spoken(now - success.ended_at)} ago."])
    if busy and not state.runs:
        return Health("starting", ["The first run is under way."])
    if not state.runs:
        return Health(
            "never run",
            ["No run has been made yet."],
            "Call the function, or look whether its Scheduler job is there and not paused.",
        )
    last = (
        f"The last success ended {spoken(now - success.ended_at)} ago" if success else "No run has succeeded"
    )
    return Health(
        "overdue",
        [f"{last}; one is expected every {spoken(interval)}."],
        "Look whether anything calls the function: its Scheduler jobs; its log, for calls that were cut off.",
    )


def spoken(span: timedelta) -> str:
    """A time span for people, in its two largest units at most: `3 min`, `2 h 5 min`, `4 d 1 h`."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if minutes < 60:
        return f"{minutes} min"
    large, small = (f"{hours} h", minutes % 60) if hours < 48 else (f"{days} d", hours % 24)
    return f"{large} {small} {'min' if hours < 48 else 'h'}" if small else large


def _spoken_moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _failing(state: State, since: datetime, now: datetime) -> Health:
    failed = next((run for run in state.runs if run.outcome == "failed"), None)
    reasons = [f"Runs have been failing since {_spoken_moment(since)}, for {spoken(now - since)}."]
    if failed is None or failed.error is None:
        return Health("failing", reasons)
    return Health("failing", [failed.error["what"], *reasons], failed.error["remedy"])
