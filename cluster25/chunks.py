"""A chunk: the part of an export pushed in one bundle, with the companions its objects refer to."""

from collections import deque
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from uuid import uuid4

from cluster25.stix import Item, escape, unescape

COMPANION_BYTES = 1 << 20
"""Identities and markings beyond this are objects like any other, sent once."""

_ENVELOPE_BYTES = 512
"""What a push carries besides its objects, rounded up."""


@dataclass
class Chunk:
    """`items` were exported; `companions`, by id, come along because items refer to them."""

    items: list[Item] = field(default_factory=list)
    companions: dict[str, Item] = field(default_factory=dict)
    size_bytes: int = _ENVELOPE_BYTES

    def __len__(self) -> int:
        """The number of objects, companions included."""
        return len(self.items) + len(self.companions)

    def add(self, items: Iterable[Item], companions: Iterable[Item]) -> None:
        """Append items, and companions that are not here yet."""
        for companion in companions:
            self.companions[companion.object_id] = companion
            self.size_bytes += len(companion.escaped) + 1
        for item in items:
            self.items.append(item)
            self.size_bytes += len(item.escaped) + 1

    def escaped_bundle(self) -> bytes:
        """The bundle, companions first, as it stands inside the JSON string that a push carries."""
        start = escape(f'{{"type":"bundle","id":"bundle--{uuid4()}","objects":[')
        objects = [item.escaped for item in (*self.companions.values(), *self.items)]
        return b"".join((start, b",".join(objects), escape("]}")))


class Companions:
    """Identities and markings: all that earlier runs remembered and this run's stream has shown."""

    def __init__(self, remembered: Iterable[Item]) -> None:
        self._known = {item.object_id: item for item in remembered}
        self._accepted = {item.object_id: item.digest for item in self._known.values()}
        self._size_bytes = sum(len(item.escaped) for item in self._known.values())

    def __contains__(self, object_id: str) -> bool:
        """Whether it can be attached to what refers to it."""
        return object_id in self._known

    def fits(self, object_id: str, size_bytes: int) -> bool:
        """Whether there is room for one more; without room it is an object like any other."""
        return object_id in self._known or self._size_bytes + size_bytes <= COMPANION_BYTES

    def add(self, item: Item) -> None:
        """Know it from now on, in place of an earlier version."""
        earlier = self._known.pop(item.object_id, None)
        self._size_bytes += len(item.escaped) - (len(earlier.escaped) if earlier else 0)
        self._known[item.object_id] = item

    def needed(self, refs: Iterable[str], present: Container[str]) -> list[Item]:
        """Those among `refs`, and those they refer to in turn, that are not `present` already."""
        found: dict[str, Item] = {}
        waiting = deque(refs)
        while waiting:
            ref = waiting.popleft()
            if ref not in present and ref not in found and (companion := self._known.get(ref)):
                found[ref] = companion
                waiting.extend(companion.refs)
        return list(found.values())

    def accept(self, items: Iterable[Item]) -> None:
        """Note that OpenCTI has these."""
        self._accepted.update((item.object_id, item.digest) for item in items)

    def unsent(self) -> list[Item]:
        """What the stream has shown that OpenCTI does not have in this version."""
        return [item for item in self._known.values() if self._accepted.get(item.object_id) != item.digest]

    def to_remember(self, limit_bytes: int) -> list[str]:
        """JSON of those that OpenCTI has, the ones shown last first, as many as the limit allows."""
        texts: list[str] = []
        for item in reversed(self._known.values()):
            if self._accepted.get(item.object_id) == item.digest:
                text = unescape(item.escaped)
                limit_bytes -= len(text.encode())
                if limit_bytes < 0:
                    break
                texts.append(text)
        return texts
