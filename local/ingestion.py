"""OpenCTI's ingestion queue: what was pushed, how often, and what is still to be worked on."""

import json
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import orjson

Version = tuple[str, str | None]
"""The id of an object and its `modified`, which markings and observables do not have."""


def is_companion(object_id: str) -> bool:
    """Whether this is an author or a marking, which travel with every bundle that refers to them."""
    return object_id.startswith(("identity--", "marking-definition--"))


@dataclass(frozen=True)
class Pushed:
    """A bundle that was accepted: the work it belongs to, and the JSON text."""

    work_id: str
    bundle: str


class Ingestion:
    """Takes bundles. Without `keep_bundles` only counts are kept, so that a large import stays small here."""

    def __init__(self, *, keep_bundles: bool) -> None:
        self.received: Counter[Version] = Counter()
        self.latest: dict[str, dict[str, Any]] = {}
        self.pushed: list[Pushed] = []
        self.waiting: deque[Pushed] = deque()
        self.body_sizes_bytes: list[int] = []
        self.sent_twice = 0
        self._keep_bundles = keep_bundles

    def accept(self, pushed: Pushed, objects: list[Any], body_bytes: int) -> None:
        """Count the objects of a bundle that came in a body of that size, and queue it for the workers."""
        self.body_sizes_bytes.append(body_bytes)
        for found in objects:
            self._count(found if isinstance(found, dict) else {})
        if self._keep_bundles:
            self.pushed.append(pushed)
            self.waiting.append(pushed)

    def distinct(self) -> int:
        """How many different objects were received, companions apart."""
        return len({object_id for object_id, _ in self.received if not is_companion(object_id)})

    def _count(self, found: dict[str, Any]) -> None:
        version = (str(found.get("id")), found.get("modified"))
        self.received[version] += 1
        if self.received[version] > 1 and not is_companion(version[0]):
            self.sent_twice += 1
        if self._keep_bundles:
            elder = self.latest.get(version[0])
            if elder is None or _moment(elder) <= _moment(found):
                self.latest[version[0]] = found


def parse_json(text: bytes | str) -> Any:
    """JSON as the platform reads it: also numbers and characters that orjson refuses. Raises `ValueError`."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _moment(found: dict[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(found["modified"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return datetime.min.replace(tzinfo=UTC)
