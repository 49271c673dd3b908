"""What a run asks Cluster25 for, and since when."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cluster25.clock import to_rfc3339
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


def regular(settings: Settings, state: State, now: datetime) -> Plan:
    """The question that the settings and the checkpoint ask.

    A first run, and one after a reset, looks back to CLUSTER25_IMPORT_START_DATE. So does one that asks for
    more than the checkpoint was earned with: another base URL or a new type. Types that are no longer asked
    for change nothing.
    """
    question = Question(
        base_url=settings.cluster25_base_url, types=sorted(settings.cluster25_indicator_types)
    )
    lookback = settings.import_start(now)
    if state.question is None or (state.watermark is None and state.start is None):
        return Plan(question, lookback, None, pins_start=True)
    if _asks_for_more(question, state.question):
        start = min(lookback, *(moment for moment in (state.start, state.watermark) if moment))
        log.warning(
            "base URL or indicator types changed: asking again for everything since %s", to_rfc3339(start)
        )
        return Plan(question, start, None, pins_start=True)
    if state.start is not None:
        return Plan(question, state.start, None)
    assert state.watermark is not None  # noqa: S101
    overlap = timedelta(seconds=settings.cluster25_overlap_sec)
    return Plan(question, state.watermark - overlap, state.floor)


def by_hand(
    settings: Settings, state: State, now: datetime, since: datetime | None, types: Sequence[str] | None
) -> Plan:
    """The question of a call that names a time or types of its own."""
    usual = regular(settings, state, now)
    question = Question(
        base_url=settings.cluster25_base_url, types=sorted(types or settings.cluster25_indicator_types)
    )
    if since is None:
        return Plan(question, usual.start, usual.floor)
    return Plan(question, since, since)


def _asks_for_more(question: Question, earlier: Question) -> bool:
    return question.base_url != earlier.base_url or not set(question.types) <= set(earlier.types)
