"""What an indicator needs on the platform, and what has to be added or mended for that."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cluster25.clock import to_rfc3339
from cluster25.element import UnsendableError, parse_timestamp
from cluster25.patterns import PatternError, Subject, subject_of

_LATEST = datetime.max.replace(tzinfo=UTC)


def check_pattern(content: dict[str, Any]) -> Subject:
    """What an indicator is about, unknown where its pattern is of another language than STIX.

    Raises `UnsendableError` when it has no pattern or one that the platform refuses.
    """
    pattern, language = content.get("pattern"), content.get("pattern_type") or "stix"
    if not isinstance(pattern, str) or not pattern:
        raise UnsendableError("it has no pattern")
    if not isinstance(language, str):
        raise UnsendableError("its pattern_type is no text")
    if language != "stix":
        return Subject()
    try:
        return subject_of(pattern)
    except PatternError as error:
        raise UnsendableError(f"its pattern is no STIX pattern: {error}") from error


def completed(content: dict[str, Any], subject: Subject, *, create_observables: bool) -> dict[str, Any]:
    """What an indicator lacks or has to have in place of what is there, by key.

    Raises `UnsendableError` where it cannot be completed.
    """
    changes = _validity(content)
    if not content.get("pattern_type"):
        changes["pattern_type"] = "stix"
    if subject.observable_type and not content.get("x_opencti_main_observable_type"):
        changes["x_opencti_main_observable_type"] = subject.observable_type
    if create_observables and content.get("x_opencti_create_observables") is None:
        changes["x_opencti_create_observables"] = True
    return changes


def _validity(content: dict[str, Any]) -> dict[str, Any]:
    """`valid_from` where it is missing, and a `valid_until` not after it moved to just behind it.

    The platform refuses the latter. An indicator that was over when it began stays one that is over.
    """
    changes: dict[str, Any] = {}
    start = content.get("valid_from")
    if not start:
        start = content.get("created") or content.get("modified")
        if not start:
            raise UnsendableError("it has neither valid_from nor created nor modified")
        changes["valid_from"] = start
    valid_from = parse_timestamp(start, "valid_from")
    if (end := content.get("valid_until")) is not None and parse_timestamp(end, "valid_until") <= valid_from:
        if valid_from > _LATEST - timedelta(seconds=1):
            raise UnsendableError("its valid_until is not after its valid_from, which no time can follow")
        changes["valid_until"] = to_rfc3339(valid_from + timedelta(seconds=1))
    return changes
