"""`python -m cluster25`: every command with the exit code that scripts build on."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cluster25.clock import SystemClock
from cluster25.connector import Connector
from cluster25.errors import StateUnavailableError
from cluster25.operation.backfill import BackfillRuns
from cluster25.run import RunRequest
from cluster25.settings import load_settings
from cluster25.state.document import RunSummary, State
from cluster25.state.lease import acquire, read_state
from cluster25.state.store import Store
from local.cluster25 import Cluster25
from local.feed import Feed
from local.loopback import Exchange
from local.opencti import OpenCTI
from tests.clock import SimulatedClock
from tests.operation.conftest import FEED_SIZE, SECRETS, Command
from tests.operation.peers import WAIT_SECONDS, answering, slow_pushes, wait_until

ROOT = Path(__file__).parents[2]
LONG_AGO = RunRequest("backfill", since=datetime(2026, 1, 1, tzinfo=UTC))
ReadState = Callable[[], State]


def too_large(number: int = 1) -> dict[str, object]:
    """An indicator that a proxy before OpenCTI may refuse for its size."""
    return {
        "type": "indicator",
        "id": f"indicator--{uuid.UUID(int=number, version=4)}",
        "created": "2025-01-01T00:00:00.000Z",
        "modified": "2025-01-01T00:00:00.000Z",
        "valid_from": "2026-01-01T00:00:00Z",
        "pattern": f"[url:value = 'https://example.org/{number}']",
        "pattern_type": "stix",
        "description": "x" * 20_000,
    }


def summary(run_id: str, now: datetime) -> RunSummary:
    return RunSummary(run_id=run_id, trigger="call", started_at=now, ended_at=now, outcome="partial")


@pytest.fixture
def small_limit(settings: pytest.MonkeyPatch, sink: OpenCTI, source: Cluster25) -> OpenCTI:
    """An OpenCTI that refuses one of the feed's objects, which is 20 kB large and old."""
    settings.setenv("CLUSTER25_IMPORT_START_DATE", "2024-01-01")
    source.feed.size = 10
    source.feed.add(too_large())
    sink.body_limit_bytes = 15_000
    return sink


def test_run_imports_and_the_next_one_finds_nothing_new(command: Command, sink: OpenCTI) -> None:
    first = command("run")
    assert (first.code, first.fields["outcome"], first.fields["pushed"]) == (0, "ok", str(FEED_SIZE))
    assert sink.ingestion.distinct() == FEED_SIZE
    second = command("run")
    assert (second.code, second.fields["outcome"], second.fields["pushed"]) == (0, "empty", "0")


def test_a_dry_run_tells_what_a_run_would_do_and_changes_nothing(
    command: Command, sink: OpenCTI, state: ReadState
) -> None:
    said = command("run", "--dry-run", "--types", "ipv4, URL")
    assert said.code == 0
    assert 0 < int(said.fields["pushed"]) < FEED_SIZE
    assert set(said.fields["by_type"].replace(",", "").split()[::2]) == {"ipv4", "url"}
    assert sink.requests.total() == 0
    assert state() == State()


@pytest.mark.parametrize(
    ("setting", "value", "code", "culprit"),
    [
        ("CLUSTER25_CLIENT_SECRET", "canary-client-secret-old", 1, "CLUSTER25_CLIENT_SECRET"),
        ("OPENCTI_TOKEN", "canary-opencti-token-old", 1, "OPENCTI_TOKEN"),
        ("OPENCTI_URL", "http://127.0.0.1:9", 3, "OPENCTI_URL"),
        ("CONNECTOR_ID", "seven", 2, "CONNECTOR_ID"),
        ("STATE_SQLITE_PATH", "/proc/no/state.db", 3, "STATE_SQLITE_PATH"),
    ],
)
def test_a_failure_names_the_culprit_and_tells_by_the_code_whether_waiting_helps(
    command: Command, settings: pytest.MonkeyPatch, setting: str, value: str, code: int, culprit: str
) -> None:
    settings.setenv("CLUSTER25_RUN_BUDGET_SEC", "2")  # for as long is a peer that is away tried again
    settings.setenv(setting, value)
    said = command("run")
    assert said.code == code
    assert culprit in said.err
    assert value not in said.out + said.err or setting not in {"CLUSTER25_CLIENT_SECRET", "OPENCTI_TOKEN"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--since", "yesterday"],
        ["run", "--types", "ipv4,ipv5"],
        ["run", "--types", ""],
        ["backfill", "--since", "2999-01-01"],
    ],
)
def test_a_question_that_makes_no_sense_is_wrong_usage(command: Command, arguments: list[str]) -> None:
    assert command(*arguments).code == 2


@pytest.mark.parametrize("arguments", [[], ["runs"], ["backfill"], ["rejected"]])
def test_the_parser_knows_wrong_usage_too(command: Command, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command(*arguments)
    assert ended.value.code == 2


def test_a_run_beside_another_is_skipped(command: Command, connector: Connector) -> None:
    acquire(connector.store, connector.clock, "the-other", 60)
    said = command("run")
    assert (said.code, said.fields["outcome"]) == (4, "skipped")
    assert "the-other" in said.fields["reason"]


def test_status_tells_by_its_code_whether_somebody_must_look(
    command: Command, settings: pytest.MonkeyPatch, connector: Connector
) -> None:
    assert "never run" in command("status").out
    assert command("status").code == 1
    command("run")
    healthy = command("status")
    assert healthy.code == 0
    assert healthy.out.startswith("healthy")
    acquire(connector.store, connector.clock, "the-other", 60)
    assert "the-other" in command("status").fields["busy"]


def test_status_of_a_failing_connector_repeats_what_is_to_be_done(
    command: Command, settings: pytest.MonkeyPatch
) -> None:
    command("run")
    settings.setenv("CLUSTER25_CLIENT_SECRET", "canary-client-secret-old")
    failed = command("run")
    said = command("status")
    assert said.code == 1
    assert said.out.startswith("failing")
    assert said.fields["what to do"] == failed.err.strip().splitlines()[-1]


def test_reset_starts_the_import_over(command: Command, sink: OpenCTI, state: ReadState) -> None:
    command("run")
    assert command("reset").code == 0
    assert state().watermark is None
    assert command("run").fields["pushed"] == str(FEED_SIZE)
    assert sink.ingestion.sent_twice == FEED_SIZE


def test_a_backfill_takes_as_many_runs_as_it_needs_and_leaves_the_watermark(
    command: Command, settings: pytest.MonkeyPatch, sink: OpenCTI, state: ReadState
) -> None:
    settings.setenv("CLUSTER25_IMPORT_START_DATE", "PT1H")
    command("run")
    before = state()
    known = sink.ingestion.distinct()
    settings.setenv("CLUSTER25_CHUNK_OBJECTS", "100")
    settings.setenv("CLUSTER25_RUN_BUDGET_SEC", "1")
    sink.fault = slow_pushes(0.2)
    said = command("backfill", "--since", "2026-01-01")
    assert said.code == 0
    assert int(said.out.split()[0]) >= FEED_SIZE - known
    assert sink.ingestion.distinct() == FEED_SIZE
    after = state()
    assert len(after.runs) >= len(before.runs) + 3
    assert after.watermark == before.watermark


def test_a_backfill_waits_for_the_lease(connector: Connector, sink: OpenCTI) -> None:
    acquire(connector.store, connector.clock, "the-other", 2)
    runs = BackfillRuns(connector, LONG_AGO, wait_seconds=0.1)
    assert runs.run().outcome == "ok"
    assert runs.pushed == sink.ingestion.distinct() == FEED_SIZE


def slow_backfill(
    settings: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI
) -> tuple[BackfillRuns, SimulatedClock]:
    """A backfill of some five chunks a run, after a regular run, at an interval of 100 s."""
    settings.setenv("CLUSTER25_INTERVAL_SEC", "100")
    settings.setenv("CLUSTER25_RUN_BUDGET_SEC", "100")
    settings.setenv("CLUSTER25_CHUNK_OBJECTS", "100")
    settings.setenv("CLUSTER25_IMPORT_START_DATE", "PT1H")
    clock = SimulatedClock()
    source.feed = Feed(size=FEED_SIZE, now=clock.now())
    connector = Connector.of(load_settings(), clock)
    assert connector.sync().run("regular", RunRequest("scheduler")).outcome in {"ok", "empty"}

    def dawdle(_exchange: Exchange) -> bool:
        clock.advance(20)
        return False

    sink.fault = dawdle
    return BackfillRuns(connector, LONG_AGO, wait_seconds=0.01), clock


@pytest.mark.parametrize("comes", [True, False], ids=["one comes", "none comes"])
def test_a_backfill_leaves_the_lease_to_a_regular_run_that_is_overdue(
    settings: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI, state: ReadState, comes: bool
) -> None:
    runs, clock = slow_backfill(settings, source, sink)
    waiting: list[str] = []

    def wait(_seconds: float) -> bool:
        waiting.append(runs.describe())
        if comes:
            runs._connector.sync().run("another", RunRequest("scheduler"))
        clock.advance(10)
        return False

    clock.advance(200)  # two intervals without a regular run
    settings.setattr(runs._stopping, "wait", wait)
    assert runs.run().outcome == "ok"
    assert all("overdue" in line for line in waiting)
    triggers = [run.trigger for run in state().runs]
    assert triggers.count("backfill") >= 3
    if comes:
        assert len(waiting) == triggers.count("scheduler") - 1 > 0
    else:
        assert len(waiting) == 10  # once only, for an interval
    assert sink.ingestion.distinct() == FEED_SIZE


def test_a_backfill_gives_way_also_when_the_regular_run_is_long_out_of_mind(
    settings: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI, state: ReadState
) -> None:
    """And a state that cannot be read meanwhile is no reason to give up."""
    settings.setattr("cluster25.state.document.REMEMBERED_RUNS", 2)
    runs, clock = slow_backfill(settings, source, sink)
    reads: list[Store] = []

    def read_later(store: Store) -> State:
        reads.append(store)
        if len(reads) == 1:
            raise StateUnavailableError("Away.", "Wait.")
        return read_state(store)

    settings.setattr("cluster25.operation.backfill.read_state", read_later)
    settings.setattr(runs._stopping, "wait", lambda _seconds: clock.advance(10))
    assert runs.run().outcome == "ok"
    assert len(reads) == 10
    assert sink.ingestion.distinct() == FEED_SIZE


def test_a_backfill_that_is_stopped_while_it_waits_makes_no_other_run(
    settings: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI, state: ReadState
) -> None:
    runs, clock = slow_backfill(settings, source, sink)

    def stop(_seconds: float) -> bool:
        runs.stop()
        return True

    clock.advance(200)
    settings.setattr(runs._stopping, "wait", stop)
    assert runs.run().outcome == "partial"
    assert not runs.finished
    assert [run.trigger for run in state().runs] == ["backfill", "scheduler"]


def test_a_backfill_where_no_regular_run_was_ever_seen_waits_for_none(
    settings: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI
) -> None:
    settings.setenv("CLUSTER25_RUN_BUDGET_SEC", "1")
    settings.setenv("CLUSTER25_CHUNK_OBJECTS", "100")
    sink.fault = slow_pushes(0.2)
    runs = BackfillRuns(Connector.of(load_settings(), SystemClock()), LONG_AGO)
    settings.setattr(runs._stopping, "wait", lambda _seconds: pytest.fail("it waits"))
    assert runs.run().outcome == "ok"


@pytest.mark.parametrize(("status", "requests"), [(403, 1), (503, 5)])
def test_a_backfill_gives_up_when_it_cannot_go_on(
    settings: pytest.MonkeyPatch, source: Cluster25, status: int, requests: int
) -> None:
    settings.setenv("CLUSTER25_RUN_BUDGET_SEC", "1")
    source.fault = answering(status)
    result = BackfillRuns(Connector.of(load_settings(), SystemClock()), LONG_AGO, wait_seconds=0.01).run()
    assert result.error is not None
    assert source.requests.total() >= requests
    assert len(result.state.runs) == requests


def test_a_backfill_that_is_stopped_goes_on_with_the_same_command(
    tmp_path: Path, environment: dict[str, str], sink: OpenCTI, state: ReadState
) -> None:
    arguments = [sys.executable, "-m", "cluster25", "backfill", "--since", "2026-01-01"]
    options: dict[str, Any] = {
        "cwd": tmp_path,
        "env": {**environment, "PYTHONPATH": str(ROOT), "CLUSTER25_CHUNK_OBJECTS": "100"},
    }
    sink.fault = slow_pushes(0.2)
    with subprocess.Popen(arguments, **options) as process:
        try:
            wait_until(lambda: sink.ingestion.distinct() >= 300)
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_SECONDS) == 3
        finally:
            process.kill()
    assert state().lease is None
    sink.fault = None
    assert subprocess.run(arguments, timeout=WAIT_SECONDS, check=False, **options).returncode == 0
    assert sink.ingestion.distinct() == FEED_SIZE
    assert sink.ingestion.sent_twice == 0


def test_rejected_objects_are_listed_shown_and_sent_again_once_they_can_be(
    command: Command, small_limit: OpenCTI
) -> None:
    command("run")
    key, _, object_id, reason = command("rejected", "list").out.strip().split("\t")
    assert object_id == too_large()["id"]
    assert "413" in reason
    shown = command("rejected", "show", key)
    assert str(too_large()["description"]) in shown.out
    assert "413" in shown.err
    small_limit.body_limit_bytes = 50_000
    retried = command("rejected", "retry", key)
    assert (retried.code, retried.fields["pushed"]) == (0, "1")
    assert (object_id, too_large()["modified"]) in small_limit.ingestion.received
    assert command("rejected", "list").out == ""


def test_sending_them_again_does_not_hide_that_imports_fail(
    command: Command, small_limit: OpenCTI, source: Cluster25, sink: OpenCTI
) -> None:
    command("run")
    source.fault = answering(403)
    assert command("run").code == 1
    told = len(sink.works.by_id)
    small_limit.body_limit_bytes = 50_000
    assert command("rejected", "retry").code == 0
    assert command("status").out.startswith("failing")
    assert len(sink.works.by_id) == told + 1  # the push of what was sent again


def test_what_is_rejected_again_stays_in_the_list_once(command: Command, small_limit: OpenCTI) -> None:
    command("run")
    command("reset")
    command("run")
    before = command("rejected", "list").out.splitlines()
    assert len(before) == 1
    retried = command("rejected", "retry")
    assert retried.fields["rejected"] == "1"
    after = command("rejected", "list").out.splitlines()
    assert len(after) == 1
    assert after[0].split("\t")[0] == before[0].split("\t")[0]


def test_a_retry_that_fails_keeps_everything(command: Command, small_limit: OpenCTI) -> None:
    command("run")
    before = command("rejected", "list").out
    small_limit.fault = answering(403)
    assert command("rejected", "retry").code == 1
    assert command("rejected", "list").out == before


def test_what_is_no_json_is_not_sent_again_and_does_not_hinder_the_rest(
    command: Command, small_limit: OpenCTI, source: Cluster25
) -> None:
    source.feed.add(b'{"type":"indicator","number":1e999999}')
    command("run")
    assert len(command("rejected", "list").out.splitlines()) == 2
    small_limit.body_limit_bytes = 50_000
    retried = command("rejected", "retry")
    assert (retried.code, retried.fields["pushed"]) == (0, "1")
    assert "stays rejected" in retried.err
    assert len(command("rejected", "list").out.splitlines()) == 1


def test_a_retry_leaves_a_backfill_and_the_watermark_alone(
    command: Command, small_limit: OpenCTI, connector: Connector, state: ReadState
) -> None:
    command("run")
    lease = acquire(connector.store, connector.clock, "backfill", 60)
    lease.begin_backfill(datetime(2026, 1, 1, tzinfo=UTC), ["url"])
    lease.release(summary("backfill", connector.clock.now()))
    before = state()
    small_limit.body_limit_bytes = 50_000
    assert command("rejected", "retry").fields["pushed"] == "1"
    assert state().backfill == before.backfill
    assert before.backfill is not None
    assert state().watermark == before.watermark


def test_a_key_that_is_nobodys_is_wrong_usage(command: Command) -> None:
    assert command("rejected", "show", "0123").code == 2


def on_terminal(name: str, folder: Path, environment: dict[str, str]) -> str:
    """What a command that succeeds shows on a terminal, control sequences included."""
    terminal, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "cluster25", name],
        stdin=child,
        stdout=child,
        stderr=child,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
    ) as process:
        os.close(child)
        shown = b""
        with contextlib.suppress(OSError):  # what reading ends with when the other side is closed
            while piece := os.read(terminal, 4096):
                shown += piece
        os.close(terminal)
        assert process.wait(WAIT_SECONDS) == 0
    return shown.decode()


def test_on_a_terminal_there_are_progress_and_tables(
    tmp_path: Path, environment: dict[str, str], sink: OpenCTI
) -> None:
    sink.fault = slow_pushes(1)
    shown = on_terminal("run", tmp_path, environment)
    assert "2,002 exported, 0 pushed, 0 known" in shown
    assert "pushed: 2000" in shown
    shown += on_terminal("status", tmp_path, environment)
    assert "\x1b[32mok" in shown
    assert not any(secret in shown for secret in SECRETS)
