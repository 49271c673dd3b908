"""One run. This is the only place that knows the order; `Sync._work` reads like the sentence in the README.

Acquire the lease -> ping OpenCTI -> export what was modified since the checkpoint -> skip, check, complete ->
push in chunks, recording each -> commit the new checkpoint, releasing the lease -> ping with the new state.
"""

import logging
from datetime import datetime, timedelta

from cluster25.client import Source
from cluster25.clock import Budget, Clock
from cluster25.errors import (
    BudgetSpentError,
    ConnectorError,
    LeaseHeldError,
    LeaseLostError,
)
from cluster25.export import Export, OutOfBudget
from cluster25.opencti import OpenCTI
from cluster25.plan import Plan, make_plan, watermark_of
from cluster25.presence import Order, Presence
from cluster25.run import Run, RunRequest, RunResult
from cluster25.settings import Settings
from cluster25.state.document import COMPANIONS_BYTES, Outcome, State
from cluster25.state.held import HeldLease, ResetPendingError
from cluster25.state.lease import acquire, read_checkpoint, read_state, request_reset
from cluster25.state.store import Store
from cluster25.transfer import Outlet, Transfer

log = logging.getLogger(__name__)

CLOSING_SECONDS = 20.0
"""The reserve behind the budget: what is still said to OpenCTI then must not take longer."""


class Sync:
    """The connector's work, with everything it needs given to it. One instance serves one call."""

    def __init__(self, settings: Settings, source: Source, sink: OpenCTI, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._source = source
        self._sink = sink
        self._store = store
        self._clock = clock
        self._presence = Presence(settings, sink, clock)
        self._stopping = False
        self.under_way: Run | None = None
        """What is being worked on, or was last, for whoever watches."""

    def stop(self) -> None:
        """Let the call end early: its run stops at the next chunk, and gives the lease back.

        For other threads and for signal handlers, at any time.
        """
        self._stopping = True
        if self.under_way is not None:
            self.under_way.budget.end_early()

    def run(self, run_id: str, request: RunRequest, order: Order | None = None) -> RunResult:
        """One run, from the lease to the last ping. Never raises a `ConnectorError`: the result holds it.

        `order` is one that a heartbeat has brought from OpenCTI.
        """
        run = self._begin(run_id, request, self._settings.cluster25_run_budget_sec)
        result = self._attempt(run, order)
        result.log()
        return result

    def _attempt(self, run: Run, order: Order | None) -> RunResult:
        request, lease_seconds = run.request, self._settings.cluster25_lease_sec
        try:
            if request.dry_run:
                return self._dry_run(run)
            lease = acquire(self._store, self._clock, run.run_id, lease_seconds, request.tick)
        except LeaseHeldError as held:
            return self._skip(run, str(held))
        except ConnectorError as error:
            return RunResult(run, "failed", State(), error)
        try:
            outcome, state = self._work(run, lease, order)
        except ConnectorError as error:
            return self._fail(run, lease, error)
        self._show(state)
        return RunResult(run, outcome, state)

    def heartbeat(self, run_id: str) -> RunResult:
        """Ping OpenCTI; when a reset is pending, there or here, start the import over at once.

        Costs one read of the state and one request otherwise, and never disturbs a run in progress.
        """
        request = RunRequest("heartbeat")
        beat = self._begin(run_id, request, CLOSING_SECONDS)
        try:
            state = read_state(self._store)
            order = self._presence.ping(state, beat.budget)
            if order and order.watermark is None:
                request_reset(self._store, self._clock)
            elif order is None and not state.reset_pending:
                return RunResult(beat, "ok", state)
        except ConnectorError as error:
            log.warning("the heartbeat failed: %s", error)
            return RunResult(beat, "failed", State(), error)
        return self.run(run_id, request, order)

    def _begin(self, run_id: str, request: RunRequest, budget_seconds: float) -> Run:
        budget = Budget.of(self._clock, budget_seconds)
        self.under_way = Run(run_id, request, self._clock.now(), budget)
        if self._stopping:
            budget.end_early()
        return self.under_way

    def _work(self, run: Run, lease: HeldLease, order: Order | None) -> tuple[Outcome, State]:
        """What the lease is for. Returns how it went, and the state as it was given back with the lease."""
        try:
            self._greet(run, lease, order)
            if self._presence.is_queue_full:
                return self._release(
                    run, lease, "skipped", "OpenCTI's queue is above CONNECTOR_QUEUE_THRESHOLD."
                )
            now = self._clock.now()
            plan = make_plan(self._settings, lease.state, now, run.request)
            if plan.pins_start:
                known = watermark_of(self._settings, lease.state, now)
                lease.rewind(watermark=known, start=plan.start, question=plan.question)
            if run.request.since:
                run.backfill = run.request.since, plan.question.types
                lease.begin_backfill(*run.backfill)
            asked_at = self._clock.now()
            self._import(run, lease, plan)
        except ResetPendingError:
            outcome: Outcome = "partial" if run.tally.chunks else "skipped"
            return self._release(run, lease, outcome, "A reset was asked for: the import starts over.")
        except OutOfBudget:
            return self._stop_in_time(run, lease)
        outcome = "ok" if run.tally.chunks else "empty"
        if not run.request.resends:  # else Cluster25 was not asked at all
            self._presence.tell_recovery(lease)
        if run.request.is_by_hand:
            return self._release(run, lease, outcome)
        return self._commit(run, lease, plan, asked_at, outcome)

    def _greet(self, run: Run, lease: HeldLease, order: Order | None) -> None:
        """The ping before working: whoever presses reset, or lets the queue grow, is heard."""
        order = self._presence.ping(lease.state, run.budget) or order
        lease.registration = self._presence.registration
        if order is None:
            return
        log.warning("OpenCTI orders to go on from %s", order.watermark or "the import start date")
        if order.watermark is None:
            lease.reset()
            # Until the next ping OpenCTI holds the empty state, which would be taken for another reset.
            self._presence.ping(lease.state, run.budget)
        else:
            lease.rewind(watermark=order.watermark, start=None, question=lease.state.question)

    def _import(self, run: Run, lease: HeldLease, plan: Plan) -> None:
        outlet = Outlet(
            push=lambda chunk: self._sink.push(chunk.escaped_bundle(), run.budget),
            record=lease.record,
            keep=self._store.add_rejected,
        )
        transfer = Transfer(
            self._settings, self._clock, run, lease.ledger, plan.floor, lease.state.companions, outlet
        )
        try:
            Export(self._settings, self._source, plan, run.budget, lease.renew).run_through(transfer)
        finally:
            run.companions = transfer.companions.to_remember(COMPANIONS_BYTES)

    def _dry_run(self, run: Run) -> RunResult:
        """What a run would do: reads the checkpoint and the export, changes nothing anywhere."""
        state, ledger = read_checkpoint(self._store)
        plan = make_plan(self._settings, state, self._clock.now(), run.request)
        nowhere = Outlet(push=lambda _chunk: None, record=lambda _entries: None, keep=lambda _rejected: None)
        transfer = Transfer(self._settings, self._clock, run, ledger, plan.floor, state.companions, nowhere)
        run.reason = "Dry run: nothing was pushed and nothing was changed."
        try:
            Export(self._settings, self._source, plan, run.budget, lambda: None).run_through(transfer)
        except OutOfBudget:
            run.reason += " The budget ended before the export did."
        return RunResult(run, "ok" if run.tally.chunks else "empty", state)

    def _stop_in_time(self, run: Run, lease: HeldLease) -> tuple[Outcome, State]:
        """The budget is spent. Without progress that is a failure: else every run might end so, unnoticed."""
        if run.budget.ended_early:
            outcome: Outcome = "partial" if run.tally.chunks else "skipped"
            return self._release(run, lease, outcome, "It was told to stop; the next run goes on from here.")
        if not run.tally.chunks:
            raise BudgetSpentError(
                f"The budget of {self._settings.cluster25_run_budget_sec} s was used up, nothing was added.",
                "Raise CLUSTER25_RUN_BUDGET_SEC (with the lease and the timeouts), or ask for fewer types.",
            )
        return self._release(run, lease, "partial", "The budget is used up; the next run goes on from here.")

    def _commit(
        self, run: Run, lease: HeldLease, plan: Plan, asked_at: datetime, outcome: Outcome
    ) -> tuple[Outcome, State]:
        watermark = max(asked_at, lease.state.watermark or asked_at)
        floor = watermark - timedelta(seconds=self._settings.cluster25_overlap_sec)
        state = lease.commit(
            watermark=watermark,
            floor=max(floor, plan.floor or floor),
            question=plan.question,
            companions=run.companions or [],
            summary=run.summary(outcome),
            tick=run.request.tick,
        )
        return outcome, state

    def _release(
        self, run: Run, lease: HeldLease, outcome: Outcome, reason: str | None = None
    ) -> tuple[Outcome, State]:
        run.reason = reason
        served = run.request.tick if outcome != "skipped" else None
        state = lease.release(
            run.summary(outcome),
            companions=run.companions,
            tick=served,
            backfill_done=run.backfill if outcome in ("ok", "empty") else None,
        )
        return outcome, state

    def _fail(self, run: Run, lease: HeldLease, error: ConnectorError) -> RunResult:
        state = lease.state
        if isinstance(error, LeaseLostError):
            return RunResult(run, "failed", state, error)
        if state.lease_held_at(self._clock.now()):
            self._presence.tell_failure(lease, error)
        try:
            state = lease.release(run.summary("failed", error), companions=run.companions)
        except LeaseLostError as lost:  # whatever failed before, the import is another run's affair now
            return RunResult(run, "failed", state, lost)
        except ConnectorError as second:
            log.warning("the lease could not be given back, it ends by itself: %s", second)
        if error.side != "sink":
            self._show(state)
        return RunResult(run, "failed", state, error)

    def _skip(self, run: Run, reason: str) -> RunResult:
        run.reason = reason
        try:
            state = read_state(self._store)
        except ConnectorError:  # the reason for skipping stands, whatever can be told beside it
            state = State()
        return RunResult(run, "skipped", state)

    def _show(self, state: State) -> None:
        """The ping after working. The run is over and counts, whether OpenCTI hears of it now or later."""
        try:
            order = self._presence.ping(state, Budget.of(self._clock, CLOSING_SECONDS))
            if order and order.watermark is None:
                log.warning("a reset was asked for during the run: the next call starts the import over")
                request_reset(self._store, self._clock)
        except ConnectorError as error:
            log.warning("the new state could not be shown in OpenCTI: %s", error)
