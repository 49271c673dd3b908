"""One run. This is the only place that knows the order; `Sync._work` reads like the sentence in the README.

Acquire the lease -> ping OpenCTI -> export what was modified since the checkpoint -> skip, check, complete ->
push in chunks, recording each -> commit the new checkpoint, releasing the lease -> ping with the new state.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cluster25.client import Cluster25Client
from cluster25.clock import Budget, Clock
from cluster25.errors import (
    BudgetSpentError,
    ConnectorError,
    LeaseHeldError,
    LeaseLostError,
    SinkUnavailableError,
    SourceUnavailableError,
    UnavailableError,
)
from cluster25.opencti import OpenCTI
from cluster25.plan import Plan, by_hand, regular
from cluster25.presence import Order, Presence
from cluster25.scan import scan_bundle
from cluster25.settings import Settings
from cluster25.state.document import COMPANIONS_BYTES, Outcome, RunSummary, State
from cluster25.state.held import HeldLease, ResetPendingError
from cluster25.state.lease import acquire, read_checkpoint, read_state, request_reset
from cluster25.state.store import Store
from cluster25.tally import RunResult, Tally
from cluster25.transfer import Outlet, Transfer

log = logging.getLogger(__name__)

CLOSING_SECONDS = 20.0
"""The reserve behind the budget: what is still said to OpenCTI then must not take longer."""


@dataclass(frozen=True)
class RunRequest:
    """What a call asks for. `since` or `types` make it a run by hand: the watermark stays."""

    trigger: str
    tick: str | None = None
    dry_run: bool = False
    since: datetime | None = None
    types: tuple[str, ...] | None = None


class _OutOfBudget(Exception):  # noqa: N818 - no error: the run stops in time
    """The budget is spent."""


@dataclass
class _Run:
    """What belongs to one run."""

    run_id: str
    request: RunRequest
    started_at: datetime
    budget: Budget
    tally: Tally
    companions: list[str] | None = None
    reason: str | None = None

    @property
    def is_by_hand(self) -> bool:
        """Whether it asks a question of its own; the watermark stays then."""
        return self.request.since is not None or self.request.types is not None


class Sync:
    """The connector's work, with everything it needs given to it. One instance serves one call."""

    def __init__(
        self, settings: Settings, source: Cluster25Client, sink: OpenCTI, store: Store, clock: Clock
    ) -> None:
        self._settings = settings
        self._source = source
        self._sink = sink
        self._store = store
        self._clock = clock
        self._presence = Presence(settings, sink)

    def run(self, run_id: str, request: RunRequest, order: Order | None = None) -> RunResult:
        """One run, from the lease to the last ping. Never raises a `ConnectorError`: the result holds it.

        `order` is one that a heartbeat has brought from OpenCTI.
        """
        budget = Budget.of(self._clock, self._settings.cluster25_run_budget_sec)
        run = _Run(run_id, request, self._clock.now(), budget, Tally())
        try:
            if request.dry_run:
                return self._dry_run(run)
            lease = acquire(
                self._store, self._clock, run_id, self._settings.cluster25_lease_sec, request.tick
            )
        except LeaseHeldError as held:
            return self._skip(run, str(held))
        except ConnectorError as error:
            return self._result(run, "failed", State(), error)
        try:
            state = self._work(run, lease, order)
        except ConnectorError as error:
            return self._fail(run, lease, error)
        self._show(state)
        assert state.last_run is not None  # noqa: S101
        return self._result(run, state.last_run.outcome, state)

    def heartbeat(self, run_id: str) -> RunResult:
        """Ping OpenCTI; when a reset is pending, there or here, start the import over at once.

        Costs one read of the state and one request otherwise, and never disturbs a run in progress.
        """
        request = RunRequest("heartbeat")
        budget = Budget.of(self._clock, CLOSING_SECONDS)
        beat = _Run(run_id, request, self._clock.now(), budget, Tally())
        state = State()
        try:
            state = read_state(self._store)
            order = self._presence.ping(state, budget).order
            if order and order.watermark is None:
                request_reset(self._store, self._clock)
            elif order is None and not state.reset_pending:
                return self._result(beat, "ok", state)
        except ConnectorError as error:
            return self._result(beat, "failed", state, error)
        log.info("a reset is pending: the import starts over")
        return self.run(run_id, request, order)

    def _work(self, run: _Run, lease: HeldLease, order: Order | None) -> State:
        """What the lease is for. Returns the state as it was given back with the lease."""
        try:
            self._greet(run, lease, order)
            if self._presence.is_queue_full:
                run.reason = "OpenCTI's queue for this connector is above CONNECTOR_QUEUE_THRESHOLD."
                return self._release(run, lease, "skipped")
            plan = self._plan(run, lease.state)
            if plan.pins_start and not run.is_by_hand:
                lease.rewind(watermark=lease.state.watermark, start=plan.start, question=plan.question)
            asked_at = self._clock.now()
            self._import(run, lease, plan)
        except ResetPendingError:
            run.reason = "A reset was asked for meanwhile: the import starts over."
            return self._release(run, lease, "partial" if run.tally.chunks else "skipped")
        except _OutOfBudget:
            return self._stop_in_time(run, lease)
        outcome: Outcome = "ok" if run.tally.chunks else "empty"
        if run.is_by_hand:
            return self._release(run, lease, outcome)
        return self._commit(run, lease, plan, asked_at, outcome)

    def _greet(self, run: _Run, lease: HeldLease, order: Order | None) -> None:
        """The ping before working: whoever presses reset, or lets the queue grow, is heard."""
        greeting = self._presence.ping(lease.state, run.budget)
        lease.registration = self._presence.registration
        order = greeting.order or order
        if order is None:
            return
        log.warning("OpenCTI orders to go on from %s", order.watermark or "the import start date")
        if order.watermark is None:
            lease.reset()
        else:
            lease.rewind(watermark=order.watermark, start=None, question=lease.state.question)

    def _plan(self, run: _Run, state: State) -> Plan:
        now = self._clock.now()
        if run.is_by_hand:
            return by_hand(self._settings, state, now, run.request.since, run.request.types)
        return regular(self._settings, state, now)

    def _import(self, run: _Run, lease: HeldLease, plan: Plan) -> None:
        transfer = Transfer(
            self._settings,
            self._clock,
            run.run_id,
            lease.ledger,
            plan.floor,
            lease.state.companions,
            run.tally,
            Outlet(
                push=lambda chunk: self._sink.push(chunk.escaped_bundle(), run.budget),
                record=lease.record,
                keep=self._store.add_rejected,
            ),
        )
        try:
            self._stream(run, plan, transfer, lease.renew)
        except (SourceUnavailableError, SinkUnavailableError) as error:
            if run.budget.spent:  # then whatever broke, we broke it
                raise _OutOfBudget from error
            raise
        finally:
            run.companions = transfer.companions.to_remember(COMPANIONS_BYTES)

    def _stream(self, run: _Run, plan: Plan, transfer: Transfer, after_batch: Callable[[], None]) -> None:
        types = plan.question.types
        with self._source.export_indicators(types, plan.start, run.budget) as body:
            for batch in scan_bundle(body):
                transfer.take(batch)
                after_batch()
                if run.budget.spent:
                    raise _OutOfBudget
        transfer.finish()

    def _dry_run(self, run: _Run) -> RunResult:
        """What a run would do: reads the checkpoint and the export, changes nothing anywhere."""
        state, ledger = read_checkpoint(self._store)
        plan = self._plan(run, state)
        nothing = Outlet(push=lambda _chunk: None, record=lambda _entries: None, keep=lambda _rejected: None)
        transfer = Transfer(
            self._settings, self._clock, run.run_id, ledger, plan.floor, state.companions, run.tally, nothing
        )
        run.reason = "Dry run: nothing was pushed and nothing was changed."
        try:
            self._stream(run, plan, transfer, lambda: None)
        except (_OutOfBudget, UnavailableError) as error:
            if not run.budget.spent:
                raise
            run.reason += " The budget ended before the export did."
            log.info("dry run stopped: %s", error)
        return self._result(run, "ok" if run.tally.chunks else "empty", state)

    def _stop_in_time(self, run: _Run, lease: HeldLease) -> State:
        """The budget is spent. Without progress that is a failure: else every run might end so, unnoticed."""
        if not run.tally.chunks:
            raise BudgetSpentError(
                f"The budget of {self._settings.cluster25_run_budget_sec} s was used up, nothing was added.",
                "Raise CLUSTER25_RUN_BUDGET_SEC (with the lease and the timeouts), or ask for fewer types.",
            )
        run.reason = "The budget is used up; the next run goes on from here."
        return self._release(run, lease, "partial")

    def _commit(self, run: _Run, lease: HeldLease, plan: Plan, asked_at: datetime, outcome: Outcome) -> State:
        watermark = max(asked_at, lease.state.watermark or asked_at)
        floor = watermark - timedelta(seconds=self._settings.cluster25_overlap_sec)
        return lease.commit(
            watermark=watermark,
            floor=max(floor, plan.floor or floor),
            question=plan.question,
            companions=run.companions or [],
            summary=self._summary(run, outcome),
            tick=run.request.tick,
        )

    def _release(self, run: _Run, lease: HeldLease, outcome: Outcome) -> State:
        done = outcome != "skipped"
        return lease.release(
            self._summary(run, outcome),
            companions=run.companions,
            tick=run.request.tick if done else None,
        )

    def _fail(self, run: _Run, lease: HeldLease, error: ConnectorError) -> RunResult:
        state = lease.state
        if not isinstance(error, LeaseLostError):
            try:
                state = lease.release(self._summary(run, "failed", error), companions=run.companions)
            except ConnectorError as second:
                log.warning("the lease could not be given back, it ends by itself: %s", second)
            if error.side != "sink":
                self._show(state)
        return self._result(run, "failed", state, error)

    def _skip(self, run: _Run, reason: str) -> RunResult:
        run.reason = reason
        try:
            state = read_state(self._store)
        except ConnectorError:  # the reason for skipping stands, whatever can be told beside it
            state = State()
        return self._result(run, "skipped", state)

    def _show(self, state: State) -> None:
        """The ping after working. The run is over and counts, whether OpenCTI hears of it now or later."""
        try:
            order = self._presence.ping(state, Budget.of(self._clock, CLOSING_SECONDS)).order
            if order and order.watermark is None:
                log.warning("a reset was asked for during the run: the next call starts the import over")
                request_reset(self._store, self._clock)
        except ConnectorError as error:
            log.warning("the new state could not be shown in OpenCTI: %s", error)

    def _summary(self, run: _Run, outcome: Outcome, error: ConnectorError | None = None) -> RunSummary:
        return RunSummary(
            run_id=run.run_id,
            trigger=run.request.trigger,
            started_at=run.started_at,
            ended_at=self._clock.now(),
            outcome=outcome,
            exported=run.tally.exported,
            pushed=run.tally.pushed,
            skipped=run.tally.skipped,
            rejected=run.tally.rejected,
            by_type=dict(run.tally.by_type),
            error=error.as_dict() if error else None,
        )

    def _result(
        self, run: _Run, outcome: Outcome, state: State, error: ConnectorError | None = None
    ) -> RunResult:
        return RunResult(run.run_id, outcome, run.tally, state.watermark, run.reason, error)
