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

from collections.abc import Callable, Iterable, Sequence

from cluster25.chunks import Chunk, Companions
from cluster25.element import UnsendableError
from cluster25.held_back import HeldBack
from cluster25.stix import COMPANION_TYPES, Item, without_references

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
"""So much memory is used for what waits; then the oldest goes without what it waits for."""


class Assembler:
    """Takes items in the order of the stream, gives chunks in the order they must be pushed, by `take_full`.

    `is_accepted` tells whether OpenCTI has an object with that id; items without an author get `author_id`.
    Chunks have at most `max_objects` and `max_bytes`, unless one object with its companions has more, and no
    object twice. `dropped_references` counts the references dropped so far.
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
        self._in_chunks: dict[str, int] = {}  # how often: an object's versions come in chunks of their own
        self._withdrawn: set[str] = set()
        self._held_back = HeldBack()

    def add(self, item: Item) -> None:
        """Take an item."""
        chunk = self._chunk
        size_bytes = chunk.size_bytes + len(item.escaped) + 1
        if (  # as almost always: then what follows below comes to this
            item.refs in chunk.satisfied
            and size_bytes <= self.max_bytes
            and len(chunk.items) + len(chunk.companions) < self._max_objects
            and item.object_id not in self._in_chunks
            and item.object_type not in COMPANION_TYPES
        ):
            chunk.items.append(item)
            chunk.size_bytes = size_bytes
            self._in_chunks[item.object_id] = 1
            if self._held_back.size_bytes:
                self._arrive(item.object_id)
        elif missing := {ref for ref in item.refs if not self._is_known(ref) and ref != item.object_id}:
            self._held_back.add(item, missing)
            while self._held_back.size_bytes > HELD_BACK_BYTES:
                self._place_without(self._held_back.release_oldest())
        else:
            self._place(item)

    def show(self, object_id: str) -> None:
        """Note that the stream has shown an object that OpenCTI has."""
        self._arrive(object_id)

    def finish(self) -> None:
        """The stream has ended: what was held back goes into chunks, and the last counts as full."""
        self._place_without(self._held_back.release_all())
        for companion in self.companions.unsent():
            self._fill((companion.object_id,), [])
        self._cut()

    def flush(self) -> None:
        """The chunk begun counts as full."""
        self._cut()

    def take_full(self) -> list[Chunk]:
        """The chunks that became full since the last time."""
        full, self._full = self._full, []
        return full

    def accept(self, chunk: Chunk) -> None:
        """Note that OpenCTI has the chunk, so that from now on `is_accepted` answers for its items."""
        ids = {item.object_id for item in chunk.items}
        self._leave_chunk(ids)
        self._withdrawn -= ids
        self.companions.accept(chunk.companions.values())

    def withdraw(self, chunk: Chunk) -> None:
        """Note that OpenCTI will never have the chunk's items."""
        ids = {item.object_id for item in chunk.items}
        self._leave_chunk(ids)
        self._withdrawn |= {object_id for object_id in ids if not self._is_accepted(object_id)}

    def without_withdrawn(self, chunk: Chunk) -> Chunk:
        """A chunk, made before others were withdrawn, without references to their items."""
        if not self._withdrawn or self._withdrawn.isdisjoint(
            ref for item in chunk.items for ref in item.refs
        ):
            return chunk
        kept = []
        for item in chunk.items:
            try:
                kept.append(self._less(item, self._withdrawn.intersection(item.refs)))
            except UnsendableError as error:
                self._rejected.append((item, str(error)))
                self._leave_chunk([item.object_id])
                self._withdrawn.add(item.object_id)
        mended = self.chunk_of(kept)
        unused = [one for key, one in chunk.companions.items() if key not in mended.companions]
        mended.add([], unused)
        return mended

    def chunk_of(self, items: Iterable[Item]) -> Chunk:
        """These items in a chunk of their own, with the companions they refer to."""
        chunk = Chunk()
        for item in items:
            chunk.add([item], self.companions.needed(item.refs, chunk.companions))
        return chunk

    def _leave_chunk(self, object_ids: Iterable[str]) -> None:
        for object_id in object_ids:
            count = self._in_chunks.pop(object_id, 0)
            if count > 1:
                self._in_chunks[object_id] = count - 1

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
            for item in self._held_back.arrived(arrived.pop()):
                self._append(item)
                arrived.append(item.object_id)

    def _place_without(self, released: Iterable[tuple[Item, set[str]]]) -> None:
        """Place items without what they still miss; reject those that mean nothing without it."""
        for item, missing in released:
            try:
                self._place(self._less(item, missing))
            except UnsendableError as error:
                self._rejected.append((item, str(error)))

    def _less(self, item: Item, missing: set[str]) -> Item:
        """The item without references to `missing`, counted. Raises `UnsendableError`."""
        if not missing:
            return item
        less = without_references(item, missing, self._author_id)
        self.dropped_references += len(missing)
        return less

    def _append(self, item: Item) -> None:
        is_companion = item.object_type in COMPANION_TYPES
        if is_companion and self.companions.fits(item):
            if self.companions.add(item) and item.object_id in self._chunk.companions:
                self._cut()  # an earlier version is in this chunk, the new one goes into the next
            return
        if is_companion:
            self.companions.forget(item.object_id)
        self._fill(item.refs, [item])
        self._in_chunks[item.object_id] = self._in_chunks.get(item.object_id, 0) + 1

    def _fill(self, refs: tuple[str, ...], items: Sequence[Item]) -> None:
        """Add items and the companions among `refs` to the chunk, or to a new one if it has no room."""
        companions = self.companions.needed(refs, self._chunk.companions)
        if not self._has_room_for([*companions, *items]):
            self._cut()
            companions = self.companions.needed(refs, ())
        self._chunk.add(items, companions)
        if all(ref in PLATFORM_MARKINGS or ref in self._chunk.companions for ref in refs):
            self._chunk.satisfied.add(refs)

    def _has_room_for(self, added: Sequence[Item]) -> bool:
        size_bytes = self._chunk.size_bytes
        for item in added:
            size_bytes += len(item.escaped) + 1
            if item.object_id in self._in_chunks or item.object_id in self._chunk.companions:
                return False  # the splitter would take two versions in one bundle for one object
        return len(self._chunk) + len(added) <= self._max_objects and size_bytes <= self.max_bytes

    def _cut(self) -> None:
        if len(self._chunk):
            self._full.append(self._chunk)
            self._chunk = Chunk()
