"""STIX objects made of a kind, a number and what they refer to."""

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from cluster25.element import parse
from cluster25.references import PLATFORM_MARKINGS
from cluster25.stix import REQUIRED_REFERENCES, Item, cluster25_author, complete

AUTHOR = cluster25_author()
PLATFORM_MARKING = min(PLATFORM_MARKINGS)
TIMELESS = {"marking-definition"}


def object_id(kind: str, number: int) -> str:
    return f"{kind}--{UUID(int=number)}"


def content_of(kind: str, number: int, refs: Iterable[str], version: int = 0) -> dict[str, Any]:
    """An object that refers to these ids; relationships to the first two of them."""
    content: dict[str, Any] = {
        "type": kind,
        "id": object_id(kind, number),
        "name": f"{kind} {number}.{version}",
    }
    if kind not in TIMELESS:
        content |= {"created": "2026-01-01T00:00:00Z", "modified": f"2026-01-01T00:00:{version:02}Z"}
    if kind == "indicator":
        content |= {"pattern": "[url:value = 'x']", "pattern_type": "stix"}
    keys = iter(REQUIRED_REFERENCES.get(kind, ())) if kind == "relationship" else iter(())
    for ref in refs:
        if key := next(keys, None):
            content[key] = ref
        elif ref.startswith("identity") and "created_by_ref" not in content:
            content["created_by_ref"] = ref
        elif ref.startswith("marking-definition"):
            content.setdefault("object_marking_refs", []).append(ref)
        else:
            content.setdefault("object_refs", []).append(ref)
    return content


def item_of(content: dict[str, Any]) -> Item:
    return read(json.dumps(content))


def read(text: str) -> Item:
    return complete(parse(text.encode()), author_id=AUTHOR.object_id, create_observables=False)
