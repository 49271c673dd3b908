"""Calls of the function in processes of their own, forked from one that has everything imported."""

import multiprocessing
import os
import signal
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self, cast

import flask

import main
from cluster25.clock import SystemClock
from cluster25.connector import Connector
from cluster25.settings import load_settings
from cluster25.state import held
from cluster25.state.store import Store
from tests.faults.function import ROOT, Answer
from tests.faults.mortal import Fuse, Mortal

INLINE_LEDGER_BYTES = 600
"""Fifty entries, so that a commit writes pages first, as it does with a large ledger."""

ANSWER_SECONDS = 60

# Not a fork of the test process, which has threads, and no interpreter for each call, which takes seconds.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__, "cluster25.state.firestore"])


class AheadClock(SystemClock):
    """The machine's clock, as far ahead as a test has moved it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.ahead_seconds = seconds

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_seconds)

    def advance(self, seconds: float) -> None:
        self.ahead_seconds += seconds


@dataclass(frozen=True)
class Death:
    """SIGKILL at a tick of the store's fuse (see `Fuse`); `method` names the only one that counts."""

    tick: int
    method: str | None = None


@dataclass(frozen=True)
class Request:
    """What the function is called with, and what time its process thinks it is."""

    environment: Mapping[str, str]
    ahead_seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    death: Death | None = None


class Call:
    """A process that calls the function once; it waits from `__enter__` until `begin`."""

    def __init__(self, request: Request) -> None:
        self._ours, self._theirs = _processes.Pipe()
        self._process = _processes.Process(target=_call, args=(self._theirs, request), daemon=True)

    def __enter__(self) -> Self:
        with chdir(ROOT):  # the first of all looks there for what it is to import
            self._process.start()
        self._theirs.close()  # or nobody would notice when the process dies
        self._ours.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._ours.close()

    def begin(self) -> None:
        """Let it call the function."""
        self._ours.send(None)

    def send_signal(self, number: signal.Signals) -> None:
        """SIGKILL, SIGSTOP, SIGCONT."""
        os.kill(cast("int", self._process.pid), number)

    def has_answered(self, seconds: float) -> bool:
        """Whether it has, or has died, within so many seconds."""
        return self._ours.poll(seconds)

    def answer(self, seconds: float = ANSWER_SECONDS) -> Answer | None:
        """What the function answered within so many seconds; None when the process died before it did."""
        if not self._ours.poll(seconds):
            raise TimeoutError(f"The function did not answer within {seconds} s.")
        try:
            status, document = self._ours.recv()
        except EOFError:
            return None
        return Answer(status, document)

    def was_killed(self) -> bool:
        """Waits for the end of the process, and tells whether SIGKILL was that."""
        self._process.join(ANSWER_SECONDS)
        return self._process.exitcode == -signal.SIGKILL


def call(request: Request) -> Answer:
    """Call the function in a process that nobody disturbs."""
    with Call(request) as undisturbed:
        undisturbed.begin()
        answer = undisturbed.answer()
        assert answer is not None
        return answer


def _call(theirs: "Connection[Any, Any]", request: Request) -> None:
    os.chdir("/")  # where there is no config.yml
    os.environ.update(request.environment)
    held.INLINE_LEDGER_BYTES = INLINE_LEDGER_BYTES  # type: ignore[attr-defined]
    connector = Connector.of(load_settings(), AheadClock(request.ahead_seconds))
    if request.death is not None:
        fuse = Fuse(request.death.tick, _die, only=request.death.method)
        connector = replace(connector, store=cast("Store", Mortal(connector.store, fuse)))
    main.connector = lambda: connector  # type: ignore[assignment]
    theirs.send("ready")
    theirs.recv()
    with flask.Flask("caller").test_request_context("/", method="POST", headers=dict(request.headers)):
        response = main.cluster25_connector(flask.request)
    theirs.send((response.status_code, response.get_json()))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
