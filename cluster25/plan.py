"""What a run asks Cluster25 for, and since when."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from cluster25.clock import to_rfc3339
from cluster25.run import RunRequest
from cluster25.settings import Settings
from cluster25.state.document import Question, State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """One export's question.

    `floor` is the time before which nothing is wanted, None when all that comes is; `pins_start` tells that
    `start` must be remembered until an export has ended cleanly, since it was counted from today.
    """

    question: Question
    start: datetime
    floor: datetime | None
    pins_start: bool = False


def make_plan(settings: Settings, state: State, now: datetime, request: RunRequest) -> Plan:
    """The question of this run: that of the settings and the checkpoint, or one asked by hand."""
    plan = _regular(settings, state, now)
    if not request.is_by_hand:
        return plan
    if request.resends:
        return Plan(plan.question, plan.start, None)
    types = request.types or settings.cluster25_indicator_types
    question = Question(base_url=settings.cluster25_base_url, types=sorted(set(types)))
    if request.since is None:
        return Plan(question, plan.start, plan.floor)
    return Plan(question, request.since, request.since)


def _regular(settings: Settings, state: State, now: datetime) -> Plan:
    """A first run, and one after a reset, looks back to CLUSTER25_IMPORT_START_DATE.

    So does one that asks for more than the checkpoint was earned with: another base URL or a new type. Types
    that are no longer asked for change nothing.
    """
    types: list[str] = sorted(settings.cluster25_indicator_types)
    question = Question(base_url=settings.cluster25_base_url, types=types)
    lookback = settings.import_start(now)
    pinned = [moment for moment in (state.start, state.watermark) if moment]
    if state.question is None or not pinned:
        return Plan(question, lookback, None, pins_start=True)
    if _asks_for_more(question, state.question):
        start = min(lookback, *pinned)
        log.warning("base URL or indicator types changed: asking again since %s", to_rfc3339(start))
        return Plan(question, start, None, pins_start=True)
    if state.start is not None:
        return Plan(question, state.start, None)
    overlap = timedelta(seconds=settings.cluster25_overlap_sec)
    return Plan(question, pinned[0] - overlap, state.floor)


def _asks_for_more(question: Question, earlier: Question) -> bool:
    return question.base_url != earlier.base_url or not set(question.types) <= set(earlier.types)
