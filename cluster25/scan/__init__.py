"""An export as it comes from the socket, split into the raw bytes of each of the bundle's `objects`.

No JSON parser stands between the socket and the objects, so that what no parser likes spoils one object and
never the export. Memory holds a window of the stream and one object, whatever the size of the export.

```
envelope.py    what the bundle is made of; hands its objects on
borders.py     the fast way through them: as many as end in the window, by one call of msgspec
raw_value.py   the exact way, for what the fast one leaves: one value, bracket by bracket, across windows
```
"""

from collections.abc import Iterable, Iterator

from cluster25.errors import ConnectorError
from cluster25.scan.envelope import OVERSIZED_HEAD_BYTES, Batch, Envelope

__all__ = ["MAX_OBJECT_BYTES", "OVERSIZED_HEAD_BYTES", "WINDOW_BYTES", "Batch", "scan_bundle"]

MAX_OBJECT_BYTES = 1024 * 1024
WINDOW_BYTES = 256 * 1024
"""So much is gathered before it is looked at; twice as much makes an object 5 % cheaper."""


def scan_bundle(pieces: Iterable[bytes], *, max_object_bytes: int = MAX_OBJECT_BYTES) -> Iterator[Batch]:
    """Split a bundle that arrives in pieces of any size into batches of its objects, no batch empty.

    The bundle is complete only when the iterator has ended without an error. Raises `SourceRefusedError` for
    what is no bundle, `SourceUnavailableError` for one that was cut short or damaged, and what `pieces`
    raises; any `ConnectorError` only after the last object that came whole before it. A member of the bundle
    other than `objects` may also be as large as `max_object_bytes`.
    """
    envelope = Envelope(max_object_bytes)
    try:
        for window in _windows(pieces):
            envelope.feed(window)
            if batch := envelope.take():
                yield batch
        envelope.close()
    except ConnectorError:
        if batch := envelope.take():
            yield batch
        raise


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
    except (
        ConnectorError
    ):  # however little came before it, it counts: a slow source must not mean no progress
        yield b"".join(gathered)
        raise
    yield b"".join(gathered)
