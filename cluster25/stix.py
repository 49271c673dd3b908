"""One object of an export: checked, and completed with what OpenCTI's workers need.

An object travels as the bytes Cluster25 sent: what is added is spliced in before the closing brace, and
only an object in which something has to be replaced is written anew.
"""

import json
from datetime import datetime
from typing import Any

import msgspec
import orjson

from cluster25.element import Parsed, UnsendableError, parse
from cluster25.indicator import check_pattern, completed
from cluster25.pycti_parts import OPENCTI_EXTENSION, Identity

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


class Item(msgspec.Struct, frozen=True, gc=False):
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


def complete(parsed: Parsed, *, author_id: str, create_observables: bool) -> Item:
    """Check an object and add what OpenCTI's workers need; what is there already is kept as it is.

    Adds `created_by_ref` where a domain object or relationship has no author, and on indicators
    `x_opencti_main_observable_type`, `pattern_type` and `valid_from` where they are missing and
    `x_opencti_create_observables` when asked for. Raises `UnsendableError` with the reason.
    """
    content = parsed.content
    refs = _references(content)
    if key := _missing_required(content):
        raise UnsendableError(f"it has no {key}")
    _check_for_splitter(content)
    changes: dict[str, Any] = {}
    counted_as = parsed.object_type
    if parsed.object_type == "indicator":
        subject = check_pattern(content)
        changes = completed(content, subject, create_observables=create_observables)
        counted_as = subject.indicator_type or counted_as
    if _lacks_author(content):
        changes["created_by_ref"] = author_id
        refs.append(author_id)
    return Item(
        parsed.object_id,
        parsed.object_type,
        escape(_with_changes(parsed.text, content, changes) if changes else parsed.text),
        tuple(refs),
        parsed.digest,
        parsed.modified,
        counted_as,
    )


def without_references(item: Item, missing: set[str], author_id: str) -> Item:
    """The item without its references to `missing` ids; a lost author is replaced by `author_id`.

    Raises `UnsendableError` when it means nothing without them.
    """
    content = json.loads(unescape(item.escaped))
    for key in _reference_keys(content):
        value = content[key]
        if not isinstance(value, list):
            if value in missing:
                del content[key]
        elif kept := [ref for ref in value if ref not in missing]:
            content[key] = kept
        elif value:
            del content[key]
    if lost := _missing_required(content):
        examples = ", ".join(sorted(missing)[:3])
        raise UnsendableError(f"it refers to what never came ({examples}) and so has no {lost}")
    refs = [ref for ref in item.refs if ref not in missing]
    if _lacks_author(content):
        content["created_by_ref"] = author_id
        refs.append(author_id)
    return msgspec.structs.replace(item, escaped=escape(_dumps(content)), refs=tuple(refs))


def escape(text: str) -> bytes:
    """Text as it stands between the quotes of a JSON string."""
    return orjson.dumps(text)[1:-1]


def unescape(escaped: bytes) -> str:
    """The text that `escape` was given."""
    text: str = orjson.loads(b'"' + escaped + b'"')
    return text


def _reference_keys(content: dict[str, Any]) -> list[str]:
    # What OpenCTI's splitter follows: any such key, custom ones too, but only of the object itself.
    return [key for key in content if "_ref" in key and key.endswith(("_ref", "_refs"))]


def _references(content: dict[str, Any]) -> list[str]:
    refs: list[str] = []
    for key in _reference_keys(content):
        value = content[key]
        if isinstance(value, str) and key.endswith("_ref"):
            refs.append(value)
        elif isinstance(value, list) and key.endswith("_refs") and {*map(type, value)} <= {str}:
            refs += value
        elif value is not None:
            raise UnsendableError(f"its {key:.100} holds something that is no id")
    return refs


def _missing_required(content: dict[str, Any]) -> str | None:
    """The first reference that is required and missing, or that is to the object itself."""
    if content["type"] == "observed-data" and content.get("objects"):  # of STIX 2.0, still imported
        return None
    itself = content["id"]
    for key in REQUIRED_REFERENCES.get(content["type"], ()):
        if content.get(key) in (None, "", [], itself, [itself]):
            return key
    return None


def _check_for_splitter(content: dict[str, Any]) -> None:
    """Refuse what OpenCTI's splitter fails on: it would fail the whole bundle."""
    for key in ("external_references", "kill_chain_phases"):
        embedded = content.get(key)
        if embedded is not None and (not isinstance(embedded, list) or {*map(type, embedded)} - {dict}):
            raise UnsendableError(f"its {key} is no list of objects")
    if extensions := content.get("extensions"):
        if not isinstance(extensions, dict):
            raise UnsendableError("its extensions are no object")
        extension = extensions.get(OPENCTI_EXTENSION) or {}
        if not isinstance(extension, dict) or not isinstance(extension.get("id") or "", str):
            raise UnsendableError("its OpenCTI extension is no object with an id")
    if not isinstance(content.get("x_opencti_id") or "", str):
        raise UnsendableError("its x_opencti_id is no id")


def _lacks_author(content: dict[str, Any]) -> bool:
    if content.get("created_by_ref") or content["type"] in COMPANION_TYPES:
        return False
    # Observables have no author in STIX; all others carry `created`.
    return content["type"] == "indicator" or "created" in content


def _with_changes(text: str, content: dict[str, Any], changes: dict[str, Any]) -> str:
    if changes.keys().isdisjoint(content.keys()):
        return f"{text.rstrip()[:-1]},{orjson.dumps(changes).decode()[1:]}"
    return _dumps(json.loads(text) | changes)


def _dumps(content: dict[str, Any]) -> str:
    # The standard library keeps integers of any size, which orjson would turn into floats.
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
