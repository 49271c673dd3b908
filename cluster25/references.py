"""Chunks closed under references, out of items in any order.

```
item ── all it refers to is known ─────────────────> into the chunk, with the companions it refers to
     └─ something has not been seen yet ──> held back ──> into the chunk, when the last of it has come
                                                     └──> at the end, or when too much is held back:
                                                          what never came is dropped from it, and counted
```
Known is: one of the markings every platform has; a companion; an object that OpenCTI accepted earlier, as far
as the ledger goes back; an object in this chunk or one before it, since chunks are pushed in order.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from cluster25.chunks import Chunk, Companions
from cluster25.element import UnsendableError
from cluster25.stix import Item, without_references

PLATFORM_MARKINGS = frozenset(
    f"marking-definition--{uuid}"
    for uuid in (
        "613f2e26-407d-48c7-9eca-b8e91df99dc9",
        "34098fce-860f-48ae-8e50-ebd3cc5e41da",
        "f88d31f6-486f-44da-b317-01333bde0b82",
        "5e57c739-391a-4eb3-b6be-7d15ca92d5ed",
        "826578e1-40ad-459f-bc73-ede076f81f37",
    )
)
"""The TLP markings that exist on every platform; no other marking may be referred to without being sent."""

HELD_BACK_BYTES = 8 << 20


@dataclass
class _HeldBack:
    item: Item
    missing: set[str]


class Assembler:
    """Takes items in the order of the stream, gives chunks in the order they must be pushed.

    `is_accepted` tells whether OpenCTI has an object with that id; items without an author get `author_id`.
    Chunks have at most `max_objects` and `max_bytes`, unless one object with its companions has more.
    `dropped_references` counts the references dropped so far.
    """

    def __init__(
        self,
        companions: Companions,
        is_accepted: Callable[[str], bool],
        *,
        author_id: str,
        max_objects: int,
        max_bytes: int,
    ) -> None:
        self.companions = companions
        self.max_bytes = max_bytes
        self.dropped_references = 0
        self._is_accepted = is_accepted
        self._author_id = author_id
        self._max_objects = max_objects
        self._rejected: list[tuple[Item, str]] = []
        self._chunk = Chunk()
        self._full: list[Chunk] = []
        self._in_chunks: set[str] = set()
        self._held: dict[int, _HeldBack] = {}
        self._held_bytes = 0
        self._waiting_for: defaultdict[str, list[int]] = defaultdict(list)
        self._keys = count()

    def add(self, item: Item) -> list[Chunk]:
        """Take an item; returns the chunks that are full now."""
        missing = {ref for ref in item.refs if not self._is_known(ref) and ref != item.object_id}
        if missing:
            self._hold_back(item, missing)
        else:
            self._place(item)
        while self._held_bytes > HELD_BACK_BYTES:
            oldest = next(iter(self._held))
            self._drop(oldest, self._held[oldest].missing)
        return self._take_full()

    def show(self, object_id: str) -> list[Chunk]:
        """Note that the stream has shown an object OpenCTI has; returns the chunks that are full now."""
        self._arrive(object_id)
        return self._take_full()

    def finish(self) -> list[Chunk]:
        """The stream has ended: returns the last chunks, with everything that was held back."""
        while self._drop_what_never_came():
            pass
        # What is left waits for nothing but each other: circles of references, sent as they are.
        for held in self._held.values():
            self._append(held.item)
        self._held.clear()
        for companion in self.companions.unsent():
            self._fill([companion.object_id], [])
        self._cut()
        return self._take_full()

    def accept(self, chunk: Chunk) -> None:
        """Note that OpenCTI has the chunk, so that from now on `is_accepted` answers for its items."""
        self._in_chunks.difference_update(item.object_id for item in chunk.items)
        self.companions.accept(chunk.companions.values())

    def withdraw(self, chunk: Chunk) -> None:
        """Note that OpenCTI will never have the chunk's items."""
        self._in_chunks.difference_update(item.object_id for item in chunk.items)

    def take_rejected(self) -> list[tuple[Item, str]]:
        """Items that lost a reference they mean nothing without, since the last call, with the reason."""
        rejected, self._rejected = self._rejected, []
        return rejected

    def _is_known(self, ref: str) -> bool:
        return (
            ref in PLATFORM_MARKINGS
            or ref in self.companions
            or ref in self._in_chunks
            or self._is_accepted(ref)
        )

    def _place(self, item: Item) -> None:
        self._append(item)
        self._arrive(item.object_id)

    def _arrive(self, object_id: str) -> None:
        """Append all that waited for this object and for nothing else, and what waited for those."""
        arrived = [object_id]
        while arrived:
            object_id = arrived.pop()
            for key in self._waiting_for.pop(object_id, ()):
                held = self._held.get(key)
                if held is None:
                    continue
                held.missing.discard(object_id)
                if not held.missing:
                    self._append(self._take_held(key))
                    arrived.append(held.item.object_id)

    def _append(self, item: Item) -> None:
        if item.is_companion and self.companions.fits(item.object_id, len(item.escaped)):
            self.companions.add(item)
        else:
            self._fill(item.refs, [item])
            self._in_chunks.add(item.object_id)

    def _fill(self, refs: Sequence[str], items: list[Item]) -> None:
        """Add items and the companions among `refs` to the chunk, or to a new one if it has no room."""
        companions = self.companions.needed(refs, self._chunk.companions)
        added = [*companions, *items]
        size_bytes = self._chunk.size_bytes + sum(len(item.escaped) + 1 for item in added)
        if len(self._chunk) + len(added) > self._max_objects or size_bytes > self.max_bytes:
            self._cut()
            companions = self.companions.needed(refs, ())
        self._chunk.add(items, companions)

    def _cut(self) -> None:
        if len(self._chunk):
            self._full.append(self._chunk)
            self._chunk = Chunk()

    def _take_full(self) -> list[Chunk]:
        full, self._full = self._full, []
        return full

    def _hold_back(self, item: Item, missing: set[str]) -> None:
        key = next(self._keys)
        self._held[key] = _HeldBack(item, missing)
        self._held_bytes += len(item.escaped)
        for ref in missing:
            self._waiting_for[ref].append(key)

    def _take_held(self, key: int) -> Item:
        item = self._held.pop(key).item
        self._held_bytes -= len(item.escaped)
        return item

    def _drop_what_never_came(self) -> bool:
        """Drop every reference to what is not held back itself; returns whether there was one."""
        held_ids = {held.item.object_id for held in self._held.values()}
        waiting_in_vain = [key for key, held in self._held.items() if not held.missing <= held_ids]
        for key in waiting_in_vain:
            if key in self._held:  # it may have been placed by what was placed before it
                self._drop(key, self._held[key].missing - held_ids)
        return bool(waiting_in_vain)

    def _drop(self, key: int, missing: set[str]) -> None:
        """Take references off a held item; then place it, hold it back for the rest, or reject it."""
        item, rest = self._held[key].item, self._held[key].missing - missing
        self._take_held(key)
        self.dropped_references += len(missing)
        try:
            item = without_references(item, missing, self._author_id)
        except UnsendableError as error:
            self._rejected.append((item, str(error)))
            return
        if rest:
            self._hold_back(item, rest)
        else:
            self._place(item)
