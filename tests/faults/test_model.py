"""Arbitrary interleavings of arrivals, runs, faults, kills and resets keep the invariants of the checkpoint.

The connector is the real one, in this process, on a real SQLite file, and speaks HTTP to both stand-ins.
Every document written is looked at in the moment it is written (`witness.py`).
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cluster25.run import RunResult
from cluster25.state.lease import request_reset
from local.loopback import Exchange
from tests.clock import SimulatedClock
from tests.faults.mortal import Fuse, Killed
from tests.faults.witness import Witness
from tests.faults.world import OVERLAP, World

CHUNK_OBJECTS = 3
BUDGET_SECONDS = 480
LEASE_SECONDS = 570
LATEST_SECONDS = OVERLAP.total_seconds() - 1
"""An object may appear that long after the time it says it was modified at."""

Lateness = st.floats(0, LATEST_SECONDS)


@pytest.fixture(autouse=True, scope="module")
def _ledger_in_pages() -> Iterator[None]:
    """A few objects are enough to need pages then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cluster25.state.held.INLINE_LEDGER_BYTES", 60)
        yield


class Connector(RuleBasedStateMachine):
    """What may happen to a connector, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        self.clock = SimulatedClock()
        world = World(
            folder,
            self.clock,
            cluster25_chunk_objects=CHUNK_OBJECTS,
            cluster25_run_budget_sec=BUDGET_SECONDS,
            cluster25_lease_sec=LEASE_SECONDS,
        )
        self.world = self._open.enter_context(world)
        self.witness = self.world.store = Witness(self.world)
        self.ways_to_send_twice = 0

    def teardown(self) -> None:
        with self._open:
            if not self.witness.problems:
                self._end_well()

    @initialize(number=st.integers(1, 12), age_days=st.floats(0, 6))
    def begin(self, number: int, age_days: float) -> None:
        self.world.arrive(number, late_seconds=timedelta(days=age_days).total_seconds())

    @rule(number=st.integers(1, 5), late_seconds=Lateness)
    def objects_arrive(self, number: int, late_seconds: float) -> None:
        self.world.arrive(number, late_seconds=late_seconds)

    @rule(choice=st.floats(0, 1, exclude_max=True), late_seconds=Lateness)
    def an_object_changes(self, choice: float, late_seconds: float) -> None:
        self.world.change(int(choice * self.world.known), late_seconds=late_seconds)

    @rule(seconds=st.floats(1, 3_000))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def run(self) -> None:
        result = self.world.run()
        assert result.outcome in {"ok", "empty", "skipped"}
        assert result.outcome == "skipped" or self.world.state().watermark == self.clock.now()

    @rule(number=st.integers(1, 3), late_seconds=Lateness, seconds=st.floats(1, 60))
    def run_while_objects_arrive(self, number: int, late_seconds: float, seconds: float) -> None:
        """They appear after Cluster25 has begun to answer: this export does not bring them."""

        def appear(pieces: Iterator[bytes]) -> Iterator[bytes]:
            answer = list(pieces)
            self.clock.advance(seconds)
            self.world.arrive(number, late_seconds=late_seconds)
            self.clock.advance(seconds)
            yield from answer

        self._run_with_export(appear)

    @rule(share=st.floats(0, 1, exclude_max=True), resets=st.booleans())
    def run_cut_off_by_source(self, share: float, resets: bool) -> None:
        def cut(pieces: Iterator[bytes]) -> Iterator[bytes]:
            answer = b"".join(pieces)
            yield answer[: int(share * len(answer))]
            if resets:
                raise ConnectionResetError

        before = self.world.state().watermark
        result = self._run_with_export(cut)
        assert result.outcome in {"failed", "skipped"}
        assert self.world.state().watermark in {before, None}

    @rule(nth=st.integers(1, 4), is_accepted=st.booleans())
    def run_with_failing_sink(self, nth: int, is_accepted: bool) -> None:
        """From the n-th push on none is answered; it may have been accepted all the same."""
        pushes = 0

        def fail(exchange: Exchange) -> bool:
            nonlocal pushes
            if b"stixBundlePush" not in exchange.body():
                return False
            pushes += 1
            if pushes < nth:
                return False
            if is_accepted and pushes == nth:
                self.ways_to_send_twice += 1
                return self._accept_without_answer(exchange)
            exchange.answer(503)
            return True

        self._run_with_sink(fail)

    @rule(seconds=st.floats(BUDGET_SECONDS / 4, BUDGET_SECONDS * 1.5))
    def run_with_slow_sink(self, seconds: float) -> None:
        """Each push takes a large part of the budget, or more time than the lease lasts."""

        def wait(exchange: Exchange) -> bool:
            if b"stixBundlePush" in exchange.body():
                self.clock.advance(seconds)
            return False

        self.ways_to_send_twice += 1  # the chunk in flight when the budget, or the lease, ends
        self._run_with_sink(wait)

    @rule(ticks=st.integers(1, 60))
    def run_killed(self, ticks: int) -> None:
        self.ways_to_send_twice += 1
        with suppress(Killed):
            self.world.run(life=Fuse(ticks))
            self.ways_to_send_twice -= 1
        self.world.restart()

    @precondition(lambda self: self.world.state().question is not None)
    @rule()
    def reset_is_asked_for(self) -> None:
        self.witness.resets_asked_for += 1
        request_reset(self.witness, self.clock)

    @precondition(lambda self: self.world.sink.connectors.by_id and self.world.state().question is not None)
    @rule()
    def reset_is_pressed(self) -> None:
        self.witness.resets_asked_for += 1
        self.world.sink.press_reset()

    @invariant()
    def every_write_was_right(self) -> None:
        assert self.witness.problems == []

    def _run_with_export(self, transform: Callable[[Iterator[bytes]], Iterator[bytes]]) -> RunResult:
        self.world.source.transform = transform
        try:
            return self.world.run()
        finally:
            self.world.source.transform = None

    def _run_with_sink(self, fault: Callable[[Exchange], bool]) -> RunResult:
        self.world.sink.fault = fault
        try:
            return self.world.run()
        finally:
            self.world.sink.fault = None

    def _accept_without_answer(self, exchange: Exchange) -> bool:
        exchange.wfile.close()
        with suppress(ValueError):
            self.world.sink.respond(exchange)
        exchange.break_off()
        return True

    def _end_well(self) -> None:
        self.clock.advance(LEASE_SECONDS)
        assert self.world.run().outcome in {"ok", "empty"}
        assert self.witness.problems == []
        lacking = [version for version in self.world.arrived_at if not self.witness.has(version)]
        assert lacking == []
        assert self.witness.sent_twice() <= self.ways_to_send_twice * CHUNK_OBJECTS


@pytest.mark.slow
def test_invariants_hold_whatever_happens() -> None:
    run_state_machine_as_test(
        Connector,
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None, derandomize=True),
    )
