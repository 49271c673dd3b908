"""`python main.py` as a process: runs at intervals, heartbeats in between, an end in good order."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster25.state.document import State
from cluster25.state.lease import read_state
from cluster25.state.sqlite import SqliteStore
from local.cluster25 import Cluster25
from local.feed import Feed
from local.loopback import Exchange
from local.opencti import OpenCTI
from tests.faults.world import CONNECTOR_ID, environment_of

ROOT = Path(__file__).parents[1]
WAIT_SECONDS = 30.0


@pytest.fixture
def source() -> Iterator[Cluster25]:
    with Cluster25(Feed(size=2_000)) as cluster25:
        yield cluster25


@pytest.fixture
def sink() -> Iterator[OpenCTI]:
    with OpenCTI(keep_bundles=False) as opencti:
        yield opencti


@contextmanager
def loop(
    folder: Path, source: Cluster25, sink: OpenCTI, **settings: object
) -> Iterator[subprocess.Popen[str]]:
    environment = environment_of(source, sink, connector_id=CONNECTOR_ID, state_sqlite_path="state.db")
    environment |= {name.upper(): str(value) for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py")],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.02)


def stored(folder: Path) -> State:
    return read_state(SqliteStore(folder / "state.db", CONNECTOR_ID))


def slow_down(sink: OpenCTI, seconds: float) -> None:
    def delay(exchange: Exchange) -> bool:
        if b"stixBundlePush" in exchange.body():
            time.sleep(seconds)
        return False

    sink.fault = delay


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_at_every_interval_and_ends_when_told(
    tmp_path: Path, source: Cluster25, sink: OpenCTI, number: signal.Signals
) -> None:
    with loop(tmp_path, source, sink, cluster25_interval_sec=1, connector_log_level="info") as process:
        wait_until(lambda: len(source.exports) >= 3)
        process.send_signal(number)
        output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0
    assert [run.outcome for run in stored(tmp_path).runs][-2:] == ["empty", "ok"]
    lines = [json.loads(line) for line in output.splitlines()]
    assert len({line["run_id"] for line in lines if line.get("event") == "run"}) >= 3


def test_a_run_under_way_stops_at_its_next_chunk_and_the_next_process_goes_on_at_once(
    tmp_path: Path, source: Cluster25, sink: OpenCTI
) -> None:
    slow_down(sink, 0.2)
    with loop(tmp_path, source, sink, cluster25_chunk_objects=50) as process:
        wait_until(lambda: sink.ingestion.distinct() >= 100)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
    state = stored(tmp_path)
    assert state.last_run is not None
    assert state.last_run.outcome == "partial"
    assert state.lease is None
    assert 100 <= state.last_run.pushed < 2_000
    sink.fault = None
    with loop(tmp_path, source, sink):
        wait_until(lambda: stored(tmp_path).watermark)
    assert sink.ingestion.distinct() == 2_000
    assert sink.ingestion.sent_twice == 0


def test_a_source_that_has_stalled_does_not_keep_it_from_ending(
    tmp_path: Path, source: Cluster25, sink: OpenCTI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stall(pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield next(pieces)
        time.sleep(WAIT_SECONDS)

    source.transform = stall
    with loop(tmp_path, source, sink) as process:
        wait_until(lambda: source.exports)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert stored(tmp_path).lease is None


def test_heartbeats_go_on_while_a_run_works(tmp_path: Path, source: Cluster25, sink: OpenCTI) -> None:
    pings: list[bool] = []

    def watch(exchange: Exchange) -> bool:
        if b"pingConnector" in exchange.body():
            pings.append(stored(tmp_path).lease is not None)
        if b"stixBundlePush" in exchange.body():
            wait_until(lambda: len(pings) >= 3)
        return False

    sink.fault = watch
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import main; from cluster25.loop import *;"
        "run_until_terminated(Loop(main.connector(), heartbeat_seconds=0.2))"
    )
    environment = environment_of(source, sink, connector_id=CONNECTOR_ID, state_sqlite_path="state.db")
    process = subprocess.Popen([sys.executable, "-c", script, str(ROOT)], cwd=tmp_path, env=environment)
    try:
        wait_until(lambda: len(pings) >= 4 and sink.ingestion.distinct() == 2_000)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
    finally:
        process.kill()
    assert all(pings[:3])  # each of the first three came while the run held the lease


def test_wrong_settings_are_told_and_end_it(tmp_path: Path, source: Cluster25, sink: OpenCTI) -> None:
    with loop(tmp_path, source, sink, connector_id="seven") as process:
        output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 2
    assert "CONNECTOR_ID must be a UUID" in output
