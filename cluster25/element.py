"""An element of an export: is it a STIX object, which one, and in which version."""

import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec
import orjson

from cluster25.clock import as_utc
from cluster25.pycti_parts import supported_types
from cluster25.state.ledger import digest_of

NESTED_LEVELS = 100
"""Parsers differ in how deeply nested JSON they read; all that an object passes through read this."""

_SUPPORTED_TYPES = frozenset(supported_types)
_ID = re.compile(r"([a-z0-9-]+)--[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class UnsendableError(ValueError):
    """The object cannot be sent; the message is the reason it is kept with as rejected."""


class Parsed(msgspec.Struct, frozen=True, gc=False):
    """An element of an export that is a STIX object.

    `digest` and `modified` (None where the object has none) are what the ledger remembers of it.
    """

    object_id: str
    object_type: str
    text: str
    content: dict[str, Any]
    digest: bytes
    modified: datetime | None


def parse(raw: bytes) -> Parsed:
    """Read one element of an export's `objects`. Raises `UnsendableError` with the reason it is none."""
    text, content = _decode(raw)
    object_id, object_type = _identify(content)
    version = content.get("modified")
    modified = None if version is None else parse_timestamp(version, "modified")
    if version is None:  # then the content is the version
        version = blake2b(raw, digest_size=16).hexdigest()
    return Parsed(object_id, object_type, text, content, digest_of(object_id, version), modified)


def parse_timestamp(value: Any, key: str) -> datetime:
    """A STIX timestamp as an aware time in UTC. Raises `UnsendableError`, naming the key, when it is none."""
    try:
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo is UTC else as_utc(moment)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsendableError(f"its {key} is no timestamp") from error


def _decode(raw: bytes) -> tuple[str, dict[str, Any]]:
    try:
        text = raw.decode()
        content = orjson.loads(text)
    except (UnicodeDecodeError, orjson.JSONDecodeError) as error:
        raise UnsendableError(f"it is no valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise UnsendableError("it is no JSON object")
    if text.count("[") + text.count("{") > NESTED_LEVELS and _is_too_deep(content):
        raise UnsendableError(f"it is nested deeper than {NESTED_LEVELS} levels")
    return text, content


def _is_too_deep(content: dict[str, Any]) -> bool:
    level: list[dict[str, Any] | list[Any]] = [content]
    for _ in range(NESTED_LEVELS):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _identify(content: dict[str, Any]) -> tuple[str, str]:
    object_id, object_type = content.get("id"), content.get("type")
    if not isinstance(object_id, str) or not isinstance(object_type, str):
        raise UnsendableError("it has no id or no type")
    match = _ID.fullmatch(object_id)
    if not match or match[1] != object_type:
        raise UnsendableError("its id is not its type, two dashes and a UUID")
    if object_type not in _SUPPORTED_TYPES:
        raise UnsendableError(f"OpenCTI does not import objects of type {object_type:.100}")
    return object_id, object_type
