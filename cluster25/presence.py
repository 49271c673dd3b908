"""The connector as OpenCTI's operators see it: registered, alive, with its state and its reset button."""

import json
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from cluster25.clock import Budget, Clock, as_utc, to_rfc3339
from cluster25.errors import ConnectorError, ConnectorUnknownError
from cluster25.opencti import OpenCTI
from cluster25.redaction import redact
from cluster25.setting_types import EARLIEST_START
from cluster25.settings import Settings
from cluster25.state.document import State
from cluster25.state.held import HeldLease

log = logging.getLogger(__name__)

MEGABYTE = 1e6
"""OpenCTI counts queue sizes in these."""


TELLING_SECONDS = 5.0
"""More is not spent on a message that the log has anyway."""


@dataclass(frozen=True)
class Order:
    """What an operator did to the state in OpenCTI: go on from `watermark`, or with None start over."""

    watermark: datetime | None


class Presence:
    """Pings OpenCTI on behalf of the connector; registers it first where that is missing."""

    def __init__(self, settings: Settings, sink: OpenCTI, clock: Clock) -> None:
        self._clock = clock
        self._settings = settings
        self._sink = sink
        self._queue_megabytes = 0.0
        scope_and_name = f"{settings.connector_name}\n{settings.connector_scope}"
        self.registration = blake2b(scope_and_name.encode(), digest_size=8).hexdigest()
        """Digest of what is registered; the state remembers it so that a change registers again."""

    def ping(self, state: State, budget: Budget) -> Order | None:
        """Show the state; learn the queue's size, and the order if there is one. Raises as `OpenCTI.ping`."""
        if state.registration != self.registration:
            self._sink.register(budget)
        sent = shown_state(state)
        try:
            pong = self._sink.ping(sent, self._info(state), budget)
        except ConnectorUnknownError:
            log.warning(
                "OpenCTI does not know the connector (deleted in the interface?): registering it again"
            )
            self._sink.register(budget)
            pong = self._sink.ping(sent, self._info(state), budget)
        self._queue_megabytes = pong.queue_bytes / MEGABYTE
        return _order(sent, pong.state, self._clock.now())

    @property
    def is_queue_full(self) -> bool:
        """Whether the queue, at the last ping, was larger than CONNECTOR_QUEUE_THRESHOLD."""
        return self._queue_megabytes > self._settings.connector_queue_threshold

    def tell_failure(self, lease: HeldLease, error: ConnectorError) -> None:
        """Leave a work in error with the reason, for the first failure of a row; the lease notes it."""
        if not lease.failure_told:
            lease.failure_told = self._tell(lease, "import failed", str(error), in_error=True)

    def tell_recovery(self, lease: HeldLease) -> None:
        """Leave a work that says that the failure told of is over."""
        if lease.failure_told:
            told = self._tell(lease, "import works again", "It works again.", in_error=False)
            lease.failure_told = not told

    def _tell(self, lease: HeldLease, what: str, message: str, *, in_error: bool) -> bool:
        name = f"{self._settings.connector_name} {what} @ {to_rfc3339(self._clock.now())}"
        # The rest of the lease is for giving it back: what the run did must not hang on a message.
        budget = Budget.of(self._clock, min(TELLING_SECONDS, lease.remaining_seconds() / 2))
        try:
            self._sink.report(name, redact(message), budget, in_error=in_error)
        except ConnectorError as error:
            log.warning("OpenCTI could not be told (%s): %s", what, error)
            return False
        return True

    def _info(self, state: State) -> dict[str, Any]:
        info: dict[str, Any] = {
            "run_and_terminate": False,
            "buffering": self.is_queue_full,
            "queue_threshold": float(self._settings.connector_queue_threshold),
            "queue_messages_size": self._queue_megabytes,
        }
        if state.last_run:
            interval = timedelta(seconds=self._settings.cluster25_interval_sec)
            info["last_run_datetime"] = to_rfc3339(state.last_run.started_at)
            info["next_run_datetime"] = to_rfc3339(state.last_run.started_at + interval)
        return info


def shown_state(state: State) -> str:
    """The state as OpenCTI's interface shows it."""
    last_run = state.last_run
    shown = {
        "version": state.version,
        "watermark": to_rfc3339(state.watermark) if state.watermark else None,
        "last_run": last_run
        and {
            "outcome": last_run.outcome,
            "exported": last_run.exported,
            "pushed": last_run.pushed,
            "skipped": last_run.skipped,
            "rejected": last_run.rejected,
        },
    }
    return json.dumps(shown)


def _order(sent: str, returned: str | None, now: datetime) -> Order | None:
    """A returned state that differs from the sent one is an order; a missing one says nothing.

    No order can take the watermark into the future, or what comes until then would never be asked for; nor
    before `EARLIEST_START`.
    """
    if returned is None or returned == sent:
        return None
    if returned == "":
        return Order(None)
    try:
        watermark = as_utc(datetime.fromisoformat(json.loads(returned)["watermark"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        watermark = None
    if watermark is None or not EARLIEST_START <= watermark <= now:
        log.warning("OpenCTI returned a state that no connector can go on from; it is not adopted")
        return None
    return Order(watermark)
