"""`python main.py` as a process: runs at intervals, heartbeats in between, an end in good order."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster25.clock import SystemClock
from cluster25.connector import Connector
from cluster25.operation.loop import Loop, run_until_terminated
from cluster25.settings import load_settings
from cluster25.state.document import State
from cluster25.sync import Sync
from local.cluster25 import Cluster25
from local.loopback import Exchange
from local.opencti import OpenCTI
from tests.operation.conftest import FEED_SIZE
from tests.operation.peers import WAIT_SECONDS, slow_pushes, wait_until

ROOT = Path(__file__).parents[2]
ReadState = Callable[[], State]


@contextmanager
def main_py(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py")],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_at_every_interval_and_ends_when_told(
    tmp_path: Path, environment: dict[str, str], source: Cluster25, state: ReadState, number: signal.Signals
) -> None:
    environment["CLUSTER25_INTERVAL_SEC"] = "1"
    with main_py(tmp_path, environment) as process:
        wait_until(lambda: len(source.exports) >= 3)
        process.send_signal(number)
        output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0
    assert [run.outcome for run in state().runs][-2:] == ["empty", "ok"]
    lines = [json.loads(line) for line in output.splitlines()]
    assert len({line["run_id"] for line in lines if line.get("event") == "run"}) >= 3


def test_a_run_under_way_stops_at_its_next_chunk_and_the_next_process_goes_on_at_once(
    tmp_path: Path, environment: dict[str, str], sink: OpenCTI, state: ReadState
) -> None:
    environment["CLUSTER25_CHUNK_OBJECTS"] = "50"
    sink.fault = slow_pushes(0.2)
    with main_py(tmp_path, environment) as process:
        wait_until(lambda: sink.ingestion.distinct() >= 100)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
    stopped = state()
    assert stopped.last_run is not None
    assert stopped.last_run.outcome == "partial"
    assert stopped.lease is None
    assert 100 <= stopped.last_run.pushed < FEED_SIZE
    sink.fault = None
    with main_py(tmp_path, environment):
        wait_until(lambda: state().watermark)
    assert sink.ingestion.distinct() == FEED_SIZE
    assert sink.ingestion.sent_twice == 0


def test_a_source_that_has_stalled_does_not_keep_it_from_ending(
    tmp_path: Path, environment: dict[str, str], source: Cluster25, state: ReadState
) -> None:
    def stall(pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield next(pieces)
        time.sleep(WAIT_SECONDS)

    source.transform = stall
    with main_py(tmp_path, environment) as process:
        wait_until(lambda: source.exports)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    stopped = state()
    assert stopped.lease is None
    assert stopped.failing_since is None


@contextmanager
def running(loop: Loop) -> Iterator[threading.Thread]:
    """The loop in a thread of this process; it must end when it is told to."""
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield thread
    finally:
        loop.stop()
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()


def test_heartbeats_go_on_while_a_run_works(connector: Connector, sink: OpenCTI, state: ReadState) -> None:
    run_under_way: list[bool] = []

    def watch(exchange: Exchange) -> bool:
        if b"pingConnector" in exchange.body():
            run_under_way.append(state().lease is not None)
        if b"stixBundlePush" in exchange.body():
            wait_until(lambda: len(run_under_way) >= 3)
        return False

    sink.fault = watch
    with running(Loop(connector, heartbeat_seconds=0.2)):
        wait_until(lambda: state().watermark and len(run_under_way) >= 5)
    assert all(run_under_way[:3])
    assert sink.ingestion.sent_twice == 0


def test_a_call_that_breaks_does_not_end_the_loop(
    settings: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI, state: ReadState
) -> None:
    settings.setenv("CLUSTER25_INTERVAL_SEC", "1")
    calls: list[None] = []

    class Broken(Connector):
        def sync(self) -> Sync:
            calls.append(None)
            if len(calls) == 1:
                raise RuntimeError("out of luck")
            return super().sync()

    with running(Loop(Broken.of(load_settings(), SystemClock()))):
        wait_until(lambda: state().watermark)
    assert len(calls) >= 2


def test_a_second_signal_is_not_waited_for(connector: Connector, sink: OpenCTI, state: ReadState) -> None:
    """The first signal asks; after it the second has its usual meaning again, which is to end at once."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def signal_when_done() -> None:
        wait_until(lambda: state().watermark)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=signal_when_done).start()
    try:
        run_until_terminated(Loop(connector))
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert state().lease is None


def test_wrong_settings_are_told_and_end_it(tmp_path: Path, environment: dict[str, str]) -> None:
    environment["CONNECTOR_ID"] = "seven"
    with main_py(tmp_path, environment) as process:
        output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 2
    assert "CONNECTOR_ID must be a UUID" in output
