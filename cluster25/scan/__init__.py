"""An export as it comes from the socket, split into the raw bytes of each of the bundle's `objects`.

No JSON parser stands between the socket and the objects, so that what no parser likes spoils one object and
never the export. Memory holds a window of the stream and one object, whatever the size of the export.

```
envelope.py    what the bundle is made of; hands its objects on
borders.py     the fast way through them: as many as end in the window, by one call of msgspec
raw_value.py   the exact way, for what the fast one leaves: one value, bracket by bracket, across windows
```
"""

import math
from collections.abc import Iterable, Iterator

from cluster25.errors import ConnectorError, ExportTooLargeError
from cluster25.scan.envelope import OVERSIZED_HEAD_BYTES, Batch, Envelope

__all__ = [
    "MAX_OBJECT_BYTES",
    "OVERSIZED_HEAD_BYTES",
    "WINDOW_BYTES",
    "Batch",
    "scan_bundle",
]

MAX_OBJECT_BYTES = 1024 * 1024

WINDOW_BYTES = 256 * 1024
"""So much is gathered before it is looked at; twice as much makes an object 5 % cheaper."""


def scan_bundle(
    pieces: Iterable[bytes],
    *,
    max_object_bytes: int = MAX_OBJECT_BYTES,
    max_objects: float = math.inf,
    max_bytes: float = math.inf,
) -> Iterator[Batch]:
    """Split a bundle that arrives in pieces of any size into batches of its objects, no batch empty.

    The bundle is complete only when the iterator has ended without an error. Raises `SourceRefusedError` for
    what is no bundle, `SourceUnavailableError` for one that was cut short or damaged, `ExportTooLargeError`
    for one of more than `max_objects` or, decompressed, `max_bytes`, and what `pieces` raises; any
    `ConnectorError` only after the last object that came whole before it. A member of the bundle other than
    `objects` may also be as large as `max_object_bytes`.
    """
    envelope = Envelope(max_object_bytes)
    objects = 0
    try:
        for window in _windows(_within(pieces, max_bytes)):
            envelope.feed(window)
            if batch := envelope.take():
                objects += len(batch.objects) + len(batch.oversized)
                yield batch
                if objects > max_objects:
                    raise _too_large(f"{max_objects} objects (CLUSTER25_MAX_EXPORT_OBJECTS)")
        envelope.close()
    except ConnectorError:
        if batch := envelope.take():
            yield batch
        raise


def _within(pieces: Iterable[bytes], max_bytes: float) -> Iterator[bytes]:
    left_bytes = max_bytes
    for piece in pieces:
        left_bytes -= len(piece)
        if left_bytes < 0:
            raise _too_large(f"{max_bytes} bytes (CLUSTER25_MAX_EXPORT_BYTES)")
        yield piece


def _too_large(limit: str) -> ExportTooLargeError:
    return ExportTooLargeError(
        f"The export from Cluster25 has more than {limit}.",
        "If it may be so large, raise that setting; if not, ask the Cluster25 team. What was pushed counts.",
    )


def _windows(pieces: Iterable[bytes]) -> Iterator[bytes]:
    gathered: list[bytes] = []
    gathered_bytes = 0
    try:
        for piece in pieces:
            gathered.append(piece)
            gathered_bytes += len(piece)
            if gathered_bytes >= WINDOW_BYTES:
                yield b"".join(gathered)
                gathered, gathered_bytes = [], 0
    except ConnectorError:
        # However little came before it, it counts: a slow source must not mean no progress.
        yield b"".join(gathered)
        raise
    yield b"".join(gathered)
