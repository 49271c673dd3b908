"""The ledger: which objects OpenCTI has accepted, at 11 bytes each, stored and in memory.

One entry is the 8-byte digest of `(id, version)` followed by the object's modified time, 3 bytes in units of
256 seconds since the epoch: an entry may be kept some minutes longer than need be, never shorter.
Entries lie packed in buckets of `bytes`, chosen by the digest's first bits and searched by `bytes.find`; a
Python object per entry would cost ten times as much. Buckets of 64 to 128 entries were measured best: larger
than what CPython's allocator pools, so that freed ones are reused, and small enough to be searched in less
time than it takes to read the object.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from struct import Struct

from xxhash import xxh32_digest

DIGEST_BYTES = 8
TIME_BYTES = 3
ENTRY_BYTES = DIGEST_BYTES + TIME_BYTES
TIME_UNIT_SECONDS = 256
MEAN_BUCKET_ENTRIES = 128
VERSION_SEED = 1
"""Makes the two halves of a digest independent of each other."""

_index_bits = Struct("<I").unpack_from
"""The half of a digest that tells the id, as a number: its low bits choose the bucket."""

Entry = bytes
"""A digest and the modified time that belongs to it, packed by `entry_of`."""


def digest_of(object_id: str, version: str) -> bytes:
    """The 8 bytes an object is remembered by; `version` is its `modified`, or its content if it has none.

    Half of them tell the id and half the version, so that `Ledger.knows` finds an id in whatever version. Two
    different objects share a digest with a chance of about 3 in 100 million among a million; a new version of
    one is taken for the old with a chance of 1 in 4 billion.
    """
    id_half = xxh32_digest(object_id.encode())
    return id_half + xxh32_digest(f"{object_id}\n{version}".encode(), VERSION_SEED)


def entry_of(digest: bytes, modified_seconds: int) -> Entry:
    """A digest with its time, in seconds since the epoch; one outside of 1970 to 2106 becomes the nearest."""
    units = modified_seconds // TIME_UNIT_SECONDS
    try:
        return digest + units.to_bytes(TIME_BYTES)
    except OverflowError:
        return digest + (bytes(TIME_BYTES) if units < 0 else b"\xff" * TIME_BYTES)


class Ledger:
    """A mapping from digest to modified time that takes less than 14 bytes per entry, all included."""

    def __init__(self) -> None:
        """An empty ledger."""
        self._buckets = [b""]
        self._mask = 0
        self._count = 0

    @classmethod
    def unpack(cls, pages: Iterable[bytes]) -> "Ledger":
        """The ledger that was packed into these pages; a later entry of the same digest replaces the time.

        Raises ValueError when a page is no whole number of entries.
        """
        ledger = cls()
        for page in pages:
            if len(page) % ENTRY_BYTES:
                raise ValueError(f"{len(page)} bytes are no whole number of ledger entries")
            for entry in _entries(page):
                ledger._put(entry)
        return ledger

    def pack(self, page_bytes: int) -> Iterator[bytes]:
        """All entries, in pages of at most so many bytes; nothing at all when empty."""
        whole_bytes = page_bytes - page_bytes % ENTRY_BYTES
        page = bytearray()
        for bucket in self._buckets:
            page += bucket
            while len(page) >= whole_bytes:
                yield bytes(page[:whole_bytes])
                del page[:whole_bytes]
        if page:
            yield bytes(page)

    def __len__(self) -> int:
        """The number of entries."""
        return self._count

    def __contains__(self, digest: bytes) -> bool:
        """Whether an object with this digest was accepted."""
        # As by `_index` and `_find`, whose calls would cost more than what they do.
        bucket = self._buckets[_index_bits(digest)[0] & self._mask]
        return digest in bucket and _find(bucket, digest) >= 0

    def knows(self, object_id: str) -> bool:
        """Whether some version of this object was accepted; wrong 1 time in 4,000 at a million entries."""
        half = xxh32_digest(object_id.encode())
        return _find(self._buckets[self._index(half)], half) >= 0

    def add(self, digest: bytes, modified_seconds: int) -> None:
        """Remember a digest; if it is known already, its time is replaced."""
        self._put(entry_of(digest, modified_seconds))

    def add_new(self, entries: Iterable[Entry]) -> None:
        """Remember digests that are not known yet, many at a time: each bucket is written once."""
        added: defaultdict[int, list[bytes]] = defaultdict(list)
        mask = self._mask
        for entry in entries:
            # As in `_index`, whose call would cost as much again.
            added[_index_bits(entry)[0] & mask].append(entry)
        for index, packed in added.items():
            self._buckets[index] += b"".join(packed)
            self._count += len(packed)
        while self._count > MEAN_BUCKET_ENTRIES * len(self._buckets):
            self._double()

    def prune(self, floor_seconds: int) -> None:
        """Forget every entry whose time lies before the floor and not in the same unit of time."""
        floor = entry_of(b"", floor_seconds)
        kept_entries = (
            [entry for entry in _entries(bucket) if entry[DIGEST_BYTES:] >= floor] for bucket in self._buckets
        )
        # Packed times are big-endian, so comparing bytes compares times.
        buckets = [b"".join(entries) for entries in kept_entries]
        count = sum(map(len, buckets)) // ENTRY_BYTES
        while len(buckets) > 1 and count * 4 <= MEAN_BUCKET_ENTRIES * len(buckets):
            half = len(buckets) // 2
            buckets = [low + high for low, high in zip(buckets[:half], buckets[half:], strict=True)]
        self._buckets, self._mask, self._count = buckets, len(buckets) - 1, count

    def _index(self, digest: bytes) -> int:
        bits: int = _index_bits(digest)[0]
        return bits & self._mask  # the number of buckets is a power of two

    def _put(self, entry: Entry) -> None:
        index = self._index(entry)
        bucket = self._buckets[index]
        position = _find(bucket, entry[:DIGEST_BYTES])
        if position >= 0:
            self._buckets[index] = bucket[:position] + entry + bucket[position + ENTRY_BYTES :]
            return
        self._buckets[index] = bucket + entry
        self._count += 1
        if self._count > MEAN_BUCKET_ENTRIES * len(self._buckets):
            self._double()

    def _double(self) -> None:
        buckets = self._buckets
        self._buckets = buckets * 2
        half = len(buckets)
        self._mask = 2 * half - 1
        for low, bucket in enumerate(buckets):
            parts: tuple[list[bytes], list[bytes]] = ([], [])
            for entry in _entries(bucket):
                parts[self._index(entry) >= half].append(entry)
            self._buckets[low], self._buckets[low + half] = b"".join(parts[0]), b"".join(parts[1])


def _entries(packed: bytes) -> list[bytes]:
    return [packed[start : start + ENTRY_BYTES] for start in range(0, len(packed), ENTRY_BYTES)]


def _find(bucket: bytes, digest: bytes) -> int:
    position = bucket.find(digest)
    # The same eight bytes may also lie across two entries; only a hit at an entry's start is one.
    while position % ENTRY_BYTES and position >= 0:
        position = bucket.find(digest, position + 1)
    return position
