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


def watermark_of(settings: Settings, state: State, now: datetime) -> datetime | None:
    """The watermark; None also when it is so far in the future that only a wrong clock took it there.

    Two machines' clocks may differ by the overlap: an export that starts so much earlier misses nothing.
    """
    latest = now + timedelta(seconds=settings.cluster25_overlap_sec)
    return state.watermark if state.watermark and state.watermark <= latest else None


def _regular(settings: Settings, state: State, now: datetime) -> Plan:
    """A first run, and one after a reset, looks back to CLUSTER25_IMPORT_START_DATE.

    So does one that asks for more than the checkpoint was earned with: another base URL or a new type. Types
    that are no longer asked for change nothing. A watermark in the future is none.
    """
    types: list[str] = sorted(settings.cluster25_indicator_types)
    question = Question(base_url=settings.cluster25_base_url, types=types)
    lookback = settings.import_start(now)
    watermark = watermark_of(settings, state, now)
    if state.watermark and not watermark:
        log.error(
            "the watermark %s lies in the future, so some clock was wrong: asking again since %s",
            to_rfc3339(state.watermark),
            to_rfc3339(min(lookback, state.start or lookback)),
        )
        return Plan(question, min(lookback, state.start or lookback), None, pins_start=True)
    pinned = [moment for moment in (state.start, watermark) if moment]
    if state.question is None or not pinned:
        return Plan(question, min([lookback, *pinned]), None, pins_start=True)
    if _asks_for_more(question, state.question):
        start = min(lookback, *pinned)
        log.warning("base URL or indicator types changed: asking again since %s", to_rfc3339(start))
        return Plan(question, start, None, pins_start=True)
    if state.start is not None:
        return Plan(question, state.start, None)
    start = pinned[0] - timedelta(seconds=settings.cluster25_overlap_sec)
    # After the overlap was raised, the ledger does not go back as far as is asked.
    covered = state.floor is not None and state.floor <= start
    return Plan(question, start, state.floor if covered else None)


def _asks_for_more(question: Question, earlier: Question) -> bool:
    return question.base_url != earlier.base_url or not set(question.types) <= set(earlier.types)
