"""Objects that cannot be sent: counted, told, and on their way into the state store."""

import logging
import re
from collections.abc import Callable

from cluster25.clock import Clock
from cluster25.run import Run
from cluster25.state.store import Rejected

log = logging.getLogger(__name__)

_ID_MEMBER = re.compile(rb'"id"\s*:\s*"([a-z0-9-]{1,250}--[0-9a-fA-F-]{36})"')


class Rejections:
    """Those of one run; `keep` returns when they are stored."""

    def __init__(self, run: Run, clock: Clock, keep: Callable[[list[Rejected]], None]) -> None:
        self._run = run
        self._clock = clock
        self._keep = keep
        self._waiting: list[Rejected] = []

    def add(self, content: bytes, reason: str) -> None:
        """Take an object as it came, be it JSON or not."""
        object_id = _id_in(content)
        log.warning("rejected %s: %s", object_id or "an object", reason)
        self._run.tally.rejected += 1
        self._waiting.append(
            Rejected.because(
                reason,
                object_id=object_id,
                content=content,
                run_id=self._run.run_id,
                rejected_at=self._clock.now(),
            )
        )

    def store(self) -> None:
        """Have those since the last time kept."""
        if self._waiting:
            self._keep(self._waiting)
            self._waiting = []


def _id_in(raw: bytes) -> str:
    """The id in an object that may be no JSON, for a person to find it by; empty where none can be seen."""
    found = _ID_MEMBER.search(raw)
    return found[1].decode() if found else ""
