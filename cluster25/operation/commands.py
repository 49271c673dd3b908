"""What each command of `python -m cluster25` does; every function returns the exit code."""

from collections.abc import Callable
from uuid import uuid4

from cluster25.clock import to_rfc3339
from cluster25.connector import Connector
from cluster25.errors import BadRequestError, ConnectorError, SettingsError
from cluster25.logs import run_context
from cluster25.operation.backfill import BackfillRuns
from cluster25.operation.doctor import examine
from cluster25.operation.health import health_of, spoken
from cluster25.operation.rejected import AT_MOST, find_rejected, is_whole, retry_of
from cluster25.operation.terminal import attend, complain, say, show_table
from cluster25.run import RunRequest, RunResult
from cluster25.state.document import RunSummary
from cluster25.state.lease import read_state, request_reset
from cluster25.state.store import Rejected
from cluster25.sync import Sync

DONE, NEEDS_A_PERSON, WRONG_USAGE, NOT_NOW, SKIPPED = range(5)
"""Exit codes, as the command line's help explains them."""

MARKS = {True: "✓", False: "✗", None: "?"}
KEY_CHARS = 8
RUN_HEADINGS = ("started", "trigger", "outcome", "exported", "pushed", "skipped", "rejected", "took")
RUNS_SHOWN = 10


def exit_code(error: ConnectorError) -> int:
    """The exit code for a failure."""
    if isinstance(error, SettingsError | BadRequestError):
        return WRONG_USAGE
    return NOT_NOW if error.retryable else NEEDS_A_PERSON


def doctor(open_connector: Callable[[], Connector]) -> int:
    """Everything that can be looked at, with a remedy for what is wrong."""
    findings = examine(open_connector)
    rows = [(MARKS[finding.passed], finding.subject, finding.what) for finding in findings]
    show_table(("", "checked", "found"), rows)
    wrong = [finding for finding in findings if finding.passed is False]
    for finding in wrong:
        complain(f"{finding.subject}: {finding.remedy}")
    if not wrong:
        return DONE
    return WRONG_USAGE if wrong[0].subject == "settings" else NEEDS_A_PERSON


def run(connector: Connector, request: RunRequest) -> int:
    """One run."""
    return _report(_attend(connector.sync(), request))


def backfill(connector: Connector, request: RunRequest) -> int:
    """Runs by hand until everything is there."""
    runs = BackfillRuns(connector, request)
    result = attend(runs.run, runs.stop, runs.describe)
    say(f"{runs.pushed} objects pushed by the backfill; the last run:")
    code = _report(result)
    if not runs.finished and code in (DONE, SKIPPED):
        complain("It was stopped before the end; the same command goes on from here.")
        return NOT_NOW
    return code


def status(connector: Connector) -> int:
    """The state in short; the exit code tells whether the connector is healthy."""
    now = connector.clock.now()
    state = read_state(connector.store)
    settings = connector.settings
    health = health_of(state, settings.cluster25_interval_sec, settings.cluster25_run_budget_sec, now)
    say(f"{health.condition}: {' '.join(health.reasons)}")
    if health.remedy:
        say(f"what to do: {health.remedy}")
    if state.watermark:
        say(f"watermark: {to_rfc3339(state.watermark)}, lag {spoken(now - state.watermark)}")
    else:
        say("watermark: none, the first import has not ended yet")
    if state.lease and state.lease_held_at(now):
        say(f"busy: run {state.lease.holder} holds the lease until {to_rfc3339(state.lease.until)}")
    say(f"state: {connector.store.location}")
    if state.runs:
        say()
        show_table(RUN_HEADINGS, [_run_row(summary) for summary in state.runs[:RUNS_SHOWN]], RUN_HEADINGS[3:])
    return DONE if health.is_healthy else NEEDS_A_PERSON


def reset(connector: Connector) -> int:
    """Forget the checkpoint."""
    if request_reset(connector.store, connector.clock):
        say("The checkpoint is forgotten; the next run starts the import over.")
    else:
        say("A run is under way: it stops at its next chunk, and the next one starts the import over.")
    return DONE


def list_rejected(connector: Connector) -> int:
    """Rejected objects, the newest first."""
    kept = _read_rejected(connector)
    rows = [
        (one.key[:KEY_CHARS], to_rfc3339(one.rejected_at)[:19], one.object_id, one.reason) for one in kept
    ]
    show_table(("key", "rejected at", "object", "reason"), rows)
    if not kept:
        complain("Nothing is rejected.")
    return DONE


def show_rejected(connector: Connector, key: str) -> int:
    """One rejected object, as Cluster25 sent it."""
    [one] = find_rejected(_read_rejected(connector), [key])
    complain(f"{one.object_id or 'an object without an id'}: {one.reason} (run {one.run_id})")
    say(one.content.decode(errors="backslashreplace"))
    return DONE


def retry_rejected(connector: Connector, keys: list[str]) -> int:
    """Send rejected objects again: those with these keys, or all."""
    kept = _read_rejected(connector)
    chosen = find_rejected(kept, keys) if keys else kept
    whole = [one for one in chosen if is_whole(one)]
    for one in chosen:
        if not is_whole(one):
            complain(f"{one.key[:KEY_CHARS]} {one.object_id} is not whole, or no JSON: it stays rejected.")
    if not whole:
        complain("There is nothing to send again.")
        return DONE
    result = _attend(*retry_of(connector, whole))
    if result.outcome in {"ok", "empty"}:
        again = {one.key for one in _read_rejected(connector) if one.run_id == result.run.run_id}
        connector.store.remove_rejected([one for one in whole if one.key not in again])
    return _report(result)


def _read_rejected(connector: Connector) -> list[Rejected]:
    return connector.store.read_rejected(connector.clock.now(), AT_MOST)


def _attend(sync: Sync, request: RunRequest) -> RunResult:
    run_id = uuid4().hex

    def work() -> RunResult:
        with run_context(run_id):
            return sync.run(run_id, request)

    return attend(work, sync.stop, _description_of(sync))


def _description_of(sync: Sync) -> Callable[[], str]:
    def describe() -> str:
        if sync.under_way is None:
            return "starting"
        tally = sync.under_way.tally
        return f"{tally.exported:,} exported, {tally.pushed:,} pushed, {tally.skipped:,} known"

    return describe


def _report(result: RunResult) -> int:
    for name, value in result.as_dict().items():
        match value:
            case dict() if name == "error":
                continue
            case dict():
                say(
                    f"{name}: {', '.join(f'{key} {count}' for key, count in sorted(value.items())) or 'none'}"
                )
            case _:
                say(f"{name}: {value}")
    if result.error:
        complain(f"{result.error.what}\n{result.error.remedy}")
        return exit_code(result.error)
    return SKIPPED if result.outcome == "skipped" else DONE


def _run_row(summary: RunSummary) -> tuple[str, ...]:
    counts = (summary.exported, summary.pushed, summary.skipped, summary.rejected)
    took = spoken(summary.ended_at - summary.started_at)
    started = to_rfc3339(summary.started_at)[:19]
    return (started, summary.trigger, summary.outcome, *(f"{count:,}" for count in counts), took)
