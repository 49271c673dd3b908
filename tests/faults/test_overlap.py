"""Calls at the same time, and the same Scheduler tick delivered twice."""

import os
import re
import threading
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import pytest

from cluster25.settings import Settings, load_settings
from cluster25.state.lease import read_state
from cluster25.state.opening import open_store
from local.cluster25 import Cluster25
from local.feed import Feed
from local.loopback import Exchange
from local.opencti import OpenCTI
from tests.faults.function import Answer, Function, answering, asking
from tests.faults.processes import Call, Request

CALLS = 20
TICK = "2026-03-01T12:00:00Z"


@pytest.mark.slow
def test_twenty_calls_at_once(
    environment: pytest.MonkeyPatch, either_store: str, source: Cluster25, sink: OpenCTI
) -> None:
    """Each in a process of its own; the one that runs is kept in its push until all others were answered."""
    source.feed = Feed(size=4)
    environment.setenv("CONNECTOR_LOG_LEVEL", "error")
    names = {name.upper() for name in Settings.model_fields} | {"FIRESTORE_EMULATOR_HOST"}
    request = Request({name: value for name, value in os.environ.items() if name in names})
    others_answered = threading.Event()

    def wait(exchange: Exchange) -> bool:
        others_answered.wait(50)
        return False

    sink.fault = asking("stixBundlePush", wait)
    with ExitStack() as stack:
        calls = [stack.enter_context(Call(request)) for _ in range(CALLS)]
        for one in calls:
            one.begin()
        answers = _first_answers(calls, CALLS - 1)
        lease = read_state(open_store(load_settings())).lease
        others_answered.set()
        (running,) = (one for one in calls if one not in answers)
        last = running.answer()

    assert last is not None
    assert (last.status, last.outcome, last.document["pushed"]) == (200, "ok", 4)
    assert lease is not None
    assert lease.holder == last.document["run_id"]
    for answer in answers.values():
        assert (answer.status, answer.outcome) == (200, "skipped"), answer
        assert lease.holder in answer.document["reason"]
        named = re.search(r"until (\S+Z)", answer.document["reason"])
        assert named is not None
        # It is renewed while they are answered.
        assert timedelta(0) <= lease.until - datetime.fromisoformat(named[1]) < timedelta(seconds=60)
    assert len(source.exports) == 1
    assert sink.ingestion.sent_twice == 0


def test_same_tick_after_success_is_skipped(either_store: str, function: Function, source: Cluster25) -> None:
    assert function.call(tick=TICK).outcome == "ok"
    again = function.call(tick=TICK)
    assert (again.status, again.outcome) == (200, "skipped")
    assert TICK.removesuffix("Z") in again.document["reason"]
    assert len(source.exports) == 1
    assert function.call(tick="2026-03-01T12:10:00Z").outcome == "empty"


@pytest.mark.parametrize("broken", ["source", "sink"])
def test_same_tick_after_failure_runs_again(
    broken: str, either_store: str, function: Function, source: Cluster25, sink: OpenCTI
) -> None:
    peer: Any = source if broken == "source" else sink
    peer.fault = answering(503)
    assert (function.call(tick=TICK).status, function.call(tick=TICK).outcome) == (503, "failed")
    peer.fault = None
    assert function.call(tick=TICK).outcome == "ok"


def _first_answers(calls: list[Call], number: int) -> dict[Call, Answer]:
    """The answers of so many calls, in whatever order they come; the rest are still at work then."""
    answers: dict[Call, Answer] = {}
    while len(answers) < number:
        for one in calls:
            if one not in answers and one.has_answered(0.05):
                answer = one.answer()
                assert answer is not None
                answers[one] = answer
    return answers
