"""Rejected objects: found by a person, and sent again once what was wrong with them is mended."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from uuid import uuid4

import orjson

from cluster25.clock import Budget
from cluster25.connector import Connector
from cluster25.errors import BadRequestError
from cluster25.opencti import OpenCTI
from cluster25.run import RunRequest
from cluster25.state.document import RETRY
from cluster25.state.store import Rejected
from cluster25.sync import Sync

AT_MOST = 1_000
"""No more are read at a time; each may be a megabyte."""


class KeptObjects:
    """A source that exports rejected objects instead of asking Cluster25."""

    def __init__(self, kept: Sequence[Rejected]) -> None:
        self._kept = kept

    @contextmanager
    def export_indicators(
        self, types: Sequence[str], start: datetime, budget: Budget
    ) -> Iterator[Iterator[bytes]]:
        """See `Source.export_indicators`. All of them, whatever is asked for."""
        del types, start, budget
        yield self._bundle()

    def _bundle(self) -> Iterator[bytes]:
        yield b'{"type":"bundle","id":"bundle--%b","objects":[' % str(uuid4()).encode()
        for number, one in enumerate(self._kept):
            yield (b"," if number else b"") + one.content
        yield b"]}"


def find_rejected(kept: Sequence[Rejected], keys: Sequence[str]) -> list[Rejected]:
    """Those with a key that starts with one of `keys`; each must match one. Raises `BadRequestError`."""
    found = []
    for key in keys:
        matches = [one for one in kept if one.key.startswith(key)]
        if len(matches) != 1:
            what = (
                f"{'Several rejected objects have' if matches else 'No rejected object has'} the key {key}."
            )
            raise BadRequestError(what, "`python -m cluster25 rejected list` shows their keys.")
        found += matches
    return found


def is_whole(one: Rejected) -> bool:
    """Whether it was kept whole and is JSON: others could spoil what is sent with them."""
    try:
        return isinstance(orjson.loads(one.content), dict)
    except orjson.JSONDecodeError:
        return False


def retry_of(connector: Connector, kept: Sequence[Rejected]) -> tuple[Sync, RunRequest]:
    """The run that checks, completes and pushes these again. Those must be whole.

    What is refused again is kept under the run's id; so when the run has ended `ok` or `empty`, those still
    kept under an earlier one have been sent, and `Store.remove_rejected` may have them.
    """
    source, sink = KeptObjects(kept), OpenCTI(connector.settings)
    sync = Sync(connector.settings, source, sink, connector.store, connector.clock)
    return sync, RunRequest(RETRY, resends=True)
