"""One object of an export: checked, and completed with what OpenCTI's workers need.

An object travels as the bytes Cluster25 sent: what is added is spliced in before the closing brace, and
only an object in which something has to be replaced is written anew.
"""

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson
from pycti import Identity
from pycti.utils.opencti_stix2_splitter import is_id_supported

from cluster25.clock import to_rfc3339
from cluster25.patterns import PatternError, Subject, subject_of
from cluster25.state.ledger import digest_of

COMPANION_TYPES = frozenset({"identity", "marking-definition"})
"""Few, referred to by many: they travel with each chunk that refers to them."""

REQUIRED_REFERENCES = {
    "relationship": ("source_ref", "target_ref"),
    "sighting": ("sighting_of_ref", "where_sighted_refs"),
    "report": ("object_refs",),
    "grouping": ("object_refs",),
    "note": ("object_refs",),
    "opinion": ("object_refs",),
    "observed-data": ("object_refs",),
}
"""An object of these types means nothing without these."""

NESTED_BRACKETS = 200
"""Objects with fewer opening brackets cannot be nested too deeply for any parser."""

_LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_ID = re.compile(r"([a-z0-9-]+)--[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class UnsendableError(ValueError):
    """The object cannot be sent; the message is the reason it is kept with as rejected."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """An element of an export that is a STIX object.

    `digest` and `modified` (None where the object has none) are what the ledger remembers of it.
    """

    object_id: str
    object_type: str
    text: str
    content: dict[str, Any]
    digest: bytes
    modified: datetime | None


@dataclass(frozen=True, slots=True)
class Item:
    """An object ready to send.

    `escaped` is its JSON as it stands inside the JSON string that a push carries; `refs` are the ids it
    refers to; `counted_as` is Cluster25's type for an indicator that is of one, else the STIX type.
    """

    object_id: str
    object_type: str
    escaped: bytes
    refs: tuple[str, ...]
    digest: bytes
    modified: datetime | None
    counted_as: str

    @property
    def is_companion(self) -> bool:
        """Whether it travels with what refers to it."""
        return self.object_type in COMPANION_TYPES


def cluster25_author() -> Item:
    """The organisation *Cluster25*, author of what names none, with the id the platform itself would make."""
    author_id = Identity.generate_id("Cluster25", "organization")
    author = {
        "type": "identity",
        "spec_version": "2.1",
        "id": author_id,
        "created": "2020-01-01T00:00:00.000Z",
        "modified": "2020-01-01T00:00:00.000Z",
        "name": "Cluster25",
        "identity_class": "organization",
    }
    return complete(parse(orjson.dumps(author)), author_id=author_id, create_observables=False)


def parse(raw: bytes) -> Parsed:
    """Read one element of an export's `objects`. Raises `UnsendableError` with the reason it is none."""
    text, content = _decode(raw)
    object_id, object_type = _identify(content)
    modified = parse_timestamp(content, "modified") if "modified" in content else None
    # Without `modified`, the content is the version.
    version = content["modified"] if modified else blake2b(raw, digest_size=16).hexdigest()
    return Parsed(object_id, object_type, text, content, digest_of(object_id, version), modified)


def complete(parsed: Parsed, *, author_id: str, create_observables: bool) -> Item:
    """Check an object and add what OpenCTI's workers need; what is there already is kept as it is.

    Adds `created_by_ref` where a domain object or relationship has no author, and on indicators
    `x_opencti_main_observable_type`, `pattern_type` and `valid_from` where they are missing and
    `x_opencti_create_observables` when asked for. Raises `UnsendableError` with the reason.
    """
    content = parsed.content
    refs = _references(content)
    changes: dict[str, Any] = {}
    subject = Subject()
    if parsed.object_type == "indicator":
        subject = _check_pattern(content)
        changes = _completed_indicator(content, subject, create_observables=create_observables)
    if _lacks_author(content, parsed.object_type):
        changes["created_by_ref"] = author_id
        refs = (*refs, author_id)
    return Item(
        parsed.object_id,
        parsed.object_type,
        escape(_with_changes(parsed.text, content, changes) if changes else parsed.text),
        refs,
        parsed.digest,
        parsed.modified,
        subject.indicator_type or parsed.object_type,
    )


def without_references(item: Item, missing: set[str], author_id: str) -> Item:
    """The item without its references to `missing` ids; a lost author is replaced by `author_id`.

    Raises `UnsendableError` when it means nothing without them.
    """
    content = json.loads(unescape(item.escaped))
    refs = [ref for ref in item.refs if ref not in missing]
    for key, value in list(content.items()):
        if key.endswith("_refs") and value:
            content[key] = [ref for ref in value if ref not in missing]
        if (key.endswith("_ref") and value in missing) or content[key] == []:
            del content[key]
    for key in REQUIRED_REFERENCES.get(item.object_type, ()):
        if key not in content:
            raise UnsendableError(f"its {key} refers to {', '.join(sorted(missing))}, which never came")
    if _lacks_author(content, item.object_type):
        content["created_by_ref"] = author_id
        refs.append(author_id)
    return replace(item, escaped=escape(_dumps(content)), refs=tuple(refs))


def escape(text: str) -> bytes:
    """Text as it stands between the quotes of a JSON string."""
    return orjson.dumps(text)[1:-1]


def unescape(escaped: bytes) -> str:
    """The text that `escape` was given."""
    text: str = orjson.loads(b'"' + escaped + b'"')
    return text


def parse_timestamp(content: dict[str, Any], key: str) -> datetime:
    """A STIX timestamp as an aware time in UTC. Raises `UnsendableError` when it is none."""
    try:
        moment = datetime.fromisoformat(content[key])
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsendableError(f"its {key} is no timestamp") from error


def _decode(raw: bytes) -> tuple[str, dict[str, Any]]:
    try:
        text = raw.decode()
        content = orjson.loads(text)
        if text.count("[") + text.count("{") > NESTED_BRACKETS:
            json.loads(text)  # what this cannot read, OpenCTI's workers, written in Python, cannot either
    except (UnicodeDecodeError, orjson.JSONDecodeError, RecursionError) as error:
        raise UnsendableError(f"it is no valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise UnsendableError("it is no JSON object")
    return text, content


def _identify(content: dict[str, Any]) -> tuple[str, str]:
    object_id, object_type = content.get("id"), content.get("type")
    if not isinstance(object_id, str) or not isinstance(object_type, str):
        raise UnsendableError("it has no id or no type")
    match = _ID.fullmatch(object_id)
    if not match or match[1] != object_type:
        raise UnsendableError(f"its id is not of the form {object_type}--UUID")
    if not is_id_supported(object_id):
        raise UnsendableError(f"OpenCTI does not import objects of type {object_type}")
    return object_id, object_type


def _references(content: dict[str, Any]) -> tuple[str, ...]:
    """Every id in a `*_ref` or `*_refs`, which is what OpenCTI's splitter follows."""
    refs: list[str] = []
    for key, value in content.items():
        if key.endswith("_ref"):
            values = [] if value is None else [value]
        elif key.endswith("_refs"):
            values = [] if value is None else value
        else:
            continue
        if not isinstance(values, list) or not all(isinstance(ref, str) for ref in values):
            raise UnsendableError(f"its {key} holds something that is no id")
        refs += values
    for key in REQUIRED_REFERENCES.get(content["type"], ()):
        if not content.get(key):
            raise UnsendableError(f"it has no {key}")
    return tuple(refs)


def _lacks_author(content: dict[str, Any], object_type: str) -> bool:
    # Observables and companions have no author in STIX, or need none; all others carry `created`.
    authored = object_type == "indicator" or ("created" in content and object_type not in COMPANION_TYPES)
    return authored and not content.get("created_by_ref")


def _check_pattern(content: dict[str, Any]) -> Subject:
    pattern = content.get("pattern")
    if not isinstance(pattern, str) or not pattern.strip():
        raise UnsendableError("it has no pattern")
    if (content.get("pattern_type") or "stix") != "stix":
        return Subject()
    try:
        return subject_of(pattern)
    except PatternError as error:
        raise UnsendableError(f"its pattern is no STIX pattern: {error}") from error


def _completed_indicator(
    content: dict[str, Any], subject: Subject, *, create_observables: bool
) -> dict[str, Any]:
    """What an indicator lacks, by key. Raises `UnsendableError` where it cannot be completed."""
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
    source = next((key for key in ("valid_from", "created", "modified") if content.get(key)), None)
    if source is None:
        raise UnsendableError("it has neither valid_from nor created nor modified")
    valid_from = parse_timestamp(content, source)
    if source != "valid_from":
        changes["valid_from"] = content[source]
    if content.get("valid_until") and parse_timestamp(content, "valid_until") <= valid_from:
        changes["valid_until"] = to_rfc3339(min(valid_from, _LATEST) + timedelta(seconds=1))
    return changes


def _with_changes(text: str, content: dict[str, Any], changes: dict[str, Any]) -> str:
    if changes.keys().isdisjoint(content):
        return text.rstrip()[:-1] + "," + _dumps(changes)[1:]
    return _dumps(json.loads(text) | changes)


def _dumps(content: dict[str, Any]) -> str:
    # The standard library keeps integers of any size, which orjson would turn into floats.
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
