"""Items that refer to something the stream has not shown yet, until it has or they must go."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from cluster25.stix import REQUIRED_REFERENCES, Item

_OVERHEAD_BYTES = 600
"""Measured: what an item, and each reference of it, takes in memory besides its JSON."""


@dataclass(slots=True)
class _Waiting:
    item: Item
    missing: set[str]

    @property
    def size_bytes(self) -> int:
        return len(self.item.escaped) + _OVERHEAD_BYTES * (1 + len(self.item.refs))


class HeldBack:
    """Items by age, found by what they wait for. `size_bytes` is about what they take in memory."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._keys = count()
        self._waiting: dict[int, _Waiting] = {}
        self._of_id: dict[str, dict[int, None]] = {}
        self._waiting_for: dict[str, dict[int, None]] = {}  # dictionaries for sets that keep their order

    def add(self, item: Item, missing: set[str]) -> None:
        """Hold an item back until every id in `missing`, which holds one at least, has arrived."""
        key = next(self._keys)
        waiting = self._waiting[key] = _Waiting(item, missing)
        self.size_bytes += waiting.size_bytes
        self._of_id.setdefault(item.object_id, {})[key] = None
        for ref in missing:
            self._waiting_for.setdefault(ref, {})[key] = None

    def arrived(self, object_id: str) -> list[Item]:
        """Take out what waited for this object and for nothing else, the oldest first."""
        ready = []
        for key in self._waiting_for.pop(object_id, ()):
            self._waiting[key].missing.discard(object_id)
            if not self._waiting[key].missing:
                ready.append(self._take(key)[0])
        return ready

    def release_oldest(self) -> Iterator[tuple[Item, set[str]]]:
        """Take out the oldest item, after those held back that it waits for, each with what it misses."""
        return self._release([next(iter(self._waiting))])

    def release_all(self) -> Iterator[tuple[Item, set[str]]]:
        """Take out every item, those first that others wait for, each with what it misses.

        Where items wait for each other in a circle, the one that closes it misses the next, as it does in
        OpenCTI's splitter. Items that mean nothing without their references miss them only if they must.
        """
        return self._release(
            sorted(
                self._waiting, key=lambda key: self._waiting[key].item.object_type not in REQUIRED_REFERENCES
            )
        )

    def _release(self, roots: Iterable[int]) -> Iterator[tuple[Item, set[str]]]:
        """Depth first, without recursion; `arrived` may take items out in between."""
        entered: set[int] = set()
        path = list(roots)[::-1]
        while path:
            key = path[-1]
            if key in self._waiting and key not in entered:
                entered.add(key)
                held_back = (self._of_id.get(ref, ()) for ref in self._waiting[key].missing)
                path += [other for keys in held_back for other in keys if other not in entered]
                continue
            path.pop()
            if key in self._waiting:
                yield self._take(key)

    def _take(self, key: int) -> tuple[Item, set[str]]:
        waiting = self._waiting.pop(key)
        self.size_bytes -= waiting.size_bytes
        _remove(self._of_id, waiting.item.object_id, key)
        for ref in waiting.missing:
            _remove(self._waiting_for, ref, key)
        return waiting.item, waiting.missing


def _remove(index: dict[str, dict[int, None]], object_id: str, key: int) -> None:
    del index[object_id][key]
    if not index[object_id]:
        del index[object_id]
