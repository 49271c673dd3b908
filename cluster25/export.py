"""One export, from the first byte to the last accepted chunk, within the run's budget."""

from collections.abc import Callable, Iterator

from cluster25.client import Source
from cluster25.clock import Budget
from cluster25.errors import SinkUnavailableError, SourceUnavailableError
from cluster25.plan import Plan
from cluster25.scan import scan_bundle
from cluster25.settings import Settings
from cluster25.transfer import Transfer

PUSHING_SHARE = 0.1
"""Of the budget, kept for pushing what has come when the time for reading is over."""


class OutOfBudget(Exception):  # noqa: N818 - no error: the run stops in time
    """The budget is spent."""


class Export:
    """Reads what a plan asks for, and has it pushed while it reads.

    `after_batch` is called after each part of the stream.
    """

    def __init__(
        self, settings: Settings, source: Source, plan: Plan, budget: Budget, after_batch: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._source = source
        self._plan = plan
        self._budget = budget
        self._reading = budget.reserving(settings.cluster25_run_budget_sec * PUSHING_SHARE)
        self._after_batch = after_batch

    def run_through(self, transfer: Transfer) -> None:
        """Read all, push all. Of an export that is not read to its end, what has come is pushed all the same.

        So even the slowest source makes progress. Raises `OutOfBudget` when the time was over first, else
        what source, sink and state raise.
        """
        broke_off = False
        try:
            with transfer:
                try:
                    self._read(transfer)
                except SourceUnavailableError as error:
                    # Whatever breaks when the time is over, we broke it. What broke off before is a failure,
                    # however late it is when the rest is pushed.
                    broke_off = not self._reading.spent
                    transfer.flush()
                    if broke_off:
                        raise
                    raise OutOfBudget from error
                transfer.finish()
        except SinkUnavailableError as error:
            if self._budget.spent and not broke_off:
                raise OutOfBudget from error
            raise

    def _read(self, transfer: Transfer) -> None:
        types, start = self._plan.question.types, self._plan.start
        with self._source.export_indicators(types, start, self._reading) as body:
            batches = scan_bundle(
                self._in_time(body),
                max_objects=self._settings.cluster25_max_export_objects,
                max_bytes=self._settings.cluster25_max_export_bytes,
            )
            for batch in batches:
                transfer.take(batch)
                self._after_batch()

    def _in_time(self, body: Iterator[bytes]) -> Iterator[bytes]:
        for piece in body:
            yield piece
            if self._reading.spent:
                raise SourceUnavailableError(
                    "The time for reading was over before the export was.", "The next run goes on from here."
                )
