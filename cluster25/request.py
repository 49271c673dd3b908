"""The body of a call: optional JSON that selects a run by hand or a dry run."""

from datetime import UTC, date, datetime, time
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cluster25.errors import BadRequestError
from cluster25.setting_types import IndicatorType

BODY_BYTES = 64 * 1024
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
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = datetime.combine(date.fromisoformat(value), time())
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_body(body: bytes, now: datetime) -> RunBody:
    """What a call asks for. Raises `BadRequestError` for anything that is not clearly a question."""
    if not body.strip():
        return RunBody()
    if len(body) > BODY_BYTES:
        raise BadRequestError(f"The body is longer than {BODY_BYTES} bytes.", FORM)
    try:
        asked = RunBody.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part)[:40] for part in problem['loc']) or 'the body'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)[:5]
        )
        raise BadRequestError(f"The body cannot be used: {problems}.", FORM) from None
    if asked.since and asked.since > now:
        raise BadRequestError("`since` lies in the future.", FORM)
    return asked
