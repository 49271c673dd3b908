"""What a call asks for: optional JSON that selects a run by hand or a dry run; the Scheduler's tick."""

import re
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cluster25.clock import as_utc, to_rfc3339
from cluster25.errors import BadRequestError
from cluster25.setting_types import EARLIEST_START, IndicatorType

BODY_BYTES = 64 * 1024
TICK_CHARS = 40
FORM = 'Send nothing, or JSON like {"dry_run": true, "since": "2026-01-31", "types": ["ipv4", "domain"]}.'


class RunBody(BaseModel):
    """`since` is an ISO 8601 date or date-time (UTC where no offset is given), `types` a list of types."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dry_run: bool = Field(default=False, strict=True)
    since: datetime | None = None
    types: tuple[IndicatorType, ...] | None = Field(default=None, min_length=1)

    @field_validator("since", mode="before")
    @classmethod
    def _iso_8601(cls, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, str):
            raise ValueError("must be an ISO 8601 date or date-time")  # noqa: TRY004 - pydantic's way
        try:
            moment = _moment(value)
        except (ValueError, OverflowError):
            raise ValueError("must be an ISO 8601 date or date-time") from None  # pydantic would quote it
        if moment < EARLIEST_START:
            raise ValueError(f"must not reach back beyond {EARLIEST_START:%Y}")
        return moment


def parse_body(body: bytes, now: datetime) -> RunBody:
    """What a call asks for. Raises `BadRequestError` for anything that is not clearly a question."""
    if len(body) > BODY_BYTES:
        raise BadRequestError(f"The body is longer than {BODY_BYTES} bytes.", FORM)
    if not body.strip():
        return RunBody()
    try:
        asked = RunBody.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(_shown, problem['loc'])) or 'the body'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)[:5]
        )
        raise BadRequestError(f"The body cannot be used: {problems}.", FORM) from None
    if asked.since and asked.since > now:
        raise BadRequestError("`since` lies in the future.", FORM)
    return asked


def parse_tick(value: str) -> str:
    """The Scheduler's `X-CloudScheduler-ScheduleTime` in the one form in which ticks are compared and stored.

    Raises `BadRequestError` for what is no RFC 3339 time: whatever the caller liked would be stored.
    """
    try:
        if len(value) > TICK_CHARS:
            raise ValueError
        return to_rfc3339(_moment(value))
    except (ValueError, OverflowError):
        raise BadRequestError(
            "The header X-CloudScheduler-ScheduleTime holds no time.", "Leave it to Cloud Scheduler."
        ) from None


def _moment(value: str) -> datetime:
    return as_utc(datetime.fromisoformat(value))


def _shown(part: object) -> str:
    """A key of the body as an answer may repeat it: nothing in it means anything to anybody."""
    return re.sub(r"[^\w-]", "?", str(part)[:40], flags=re.ASCII)
