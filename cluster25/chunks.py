"""A chunk: the part of an export pushed in one bundle, with the companions its objects refer to."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from uuid import uuid4

from cluster25.state.document import COMPANIONS_BYTES
from cluster25.stix import Item, escape, unescape

_ENVELOPE_BYTES = 512
"""What a push carries besides its objects, rounded up."""


@dataclass(slots=True)
class Chunk:
    """`items` were exported; `companions`, by id, come along because items refer to them.

    `satisfied` has such `refs` of its items as this chunk or any platform satisfies: few, each that of many.
    """

    items: list[Item] = field(default_factory=list)
    companions: dict[str, Item] = field(default_factory=dict)
    size_bytes: int = _ENVELOPE_BYTES
    satisfied: set[tuple[str, ...]] = field(default_factory=set)

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

    def escaped_bundle(self) -> list[bytes]:
        """The bundle, companions first, as it stands inside the JSON string that a push carries, in parts."""
        start = escape(f'{{"type":"bundle","id":"bundle--{uuid4()}","objects":[')
        objects = (item.escaped for item in (*self.companions.values(), *self.items))
        with_commas = [part for escaped in objects for part in (b",", escaped)]
        return [start, *with_commas[1:], escape("]}")]


class Companions:
    """Identities and markings: all that earlier runs remembered and this run's stream has shown.

    There is room for `COMPANIONS_BYTES`, as much as the state remembers; those beyond are objects like any
    other, sent once.
    """

    def __init__(self, remembered: Iterable[Item]) -> None:
        """`remembered` in the order that `to_remember` gave."""
        self._known: dict[str, Item] = {}
        self._accepted: dict[str, Item] = {}
        self._size_bytes = 0
        for item in remembered:
            self.add(item)
        self.accept(reversed(self._known.values()))

    def __contains__(self, object_id: str) -> bool:
        """Whether it can be attached to what refers to it."""
        return object_id in self._known

    def fits(self, item: Item) -> bool:
        """Whether there is room for it; without room it is an object like any other."""
        return self._size_with(item) <= COMPANIONS_BYTES

    def add(self, item: Item) -> bool:
        """Attach this from now on, unless a newer version is known; returns whether that changes anything."""
        earlier = self._known.get(item.object_id)
        if earlier and earlier.modified and item.modified and item.modified < earlier.modified:
            return False
        self._size_bytes = self._size_with(item)
        self._known[item.object_id] = item
        return earlier is None or earlier.escaped != item.escaped

    def forget(self, object_id: str) -> None:
        """Attach it no more: a version of it is sent as an object like any other."""
        earlier = self._known.pop(object_id, None)
        self._size_bytes -= len(earlier.escaped) if earlier else 0
        self._accepted.pop(object_id, None)

    def needed(self, refs: Iterable[str], present: Container[str]) -> list[Item]:
        """Those among `refs`, and those they refer to in turn, that are not `present` already."""
        found: dict[str, Item] = {}
        waiting = [ref for ref in refs if ref not in present]
        while waiting:
            ref = waiting.pop()
            if ref not in found and (companion := self._known.get(ref)):
                found[ref] = companion
                waiting += [inner for inner in companion.refs if inner not in present]
        return list(found.values())

    def accept(self, items: Iterable[Item]) -> None:
        """Note that OpenCTI has these."""
        for item in items:
            self._accepted.pop(item.object_id, None)  # so that those accepted last stand last
            self._accepted[item.object_id] = item

    def unsent(self) -> list[Item]:
        """What the stream has shown that OpenCTI does not have as it is."""
        return [item for item in self._known.values() if not self._is_accepted(item)]

    def to_remember(self, limit_bytes: int) -> list[str]:
        """JSON of those that OpenCTI has, the ones accepted last first, as many as the limit allows."""
        texts: list[str] = []
        for item in reversed(self._accepted.values()):
            text = unescape(item.escaped)
            limit_bytes -= len(text.encode())
            if limit_bytes < 0:
                break
            texts.append(text)
        return texts

    def _size_with(self, item: Item) -> int:
        earlier = self._known.get(item.object_id)
        return self._size_bytes + len(item.escaped) - (len(earlier.escaped) if earlier else 0)

    def _is_accepted(self, item: Item) -> bool:
        accepted = self._accepted.get(item.object_id)
        return accepted is not None and accepted.escaped == item.escaped
