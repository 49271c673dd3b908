"""What Cloud Logging, a terminal and a curious reader find in the connector's log."""

import io
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster25.logs import Trace, configure, run_context, trace_of, with_context
from cluster25.redaction import hide

ROOT = Path(__file__).parents[1]
SECRET = "s3cret-of-the-logs-test"
TRACE_ID = "105445aa7843bc8bf206b12000100000"
log = logging.getLogger("cluster25.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stream() -> io.StringIO:
    hide(SECRET)
    stream = io.StringIO()
    configure("info", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def run_python(program: str, **environment: str) -> list[dict[str, Any]]:
    """Run it in a process of its own, as logging is the process's; returns the lines it wrote."""
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_a_line_is_one_json_object_with_what_cloud_logging_reads(stream: io.StringIO) -> None:
    with run_context("run-1", Trace("projects/p/traces/t", "00000000000000ab")):
        log.warning("two\nlines of %d", 7, extra={"event": "run", "by_type": {"ipv4": 3}})
    (line,) = lines(stream)
    time = datetime.fromisoformat(line.pop("time"))
    assert datetime.now(UTC) - time < timedelta(minutes=1)
    assert line == {
        "severity": "WARNING",
        "message": "two\nlines of 7",
        "logger": "cluster25.test",
        "run_id": "run-1",
        "logging.googleapis.com/trace": "projects/p/traces/t",
        "logging.googleapis.com/spanId": "00000000000000ab",
        "event": "run",
        "by_type": {"ipv4": 3},
    }


def test_lines_outside_a_run_belong_to_none(stream: io.StringIO) -> None:
    with run_context("run-1"):
        log.info("inside")
    log.info("outside")
    inside, outside = lines(stream)
    assert inside["run_id"] == "run-1"
    assert "run_id" not in outside
    assert "logging.googleapis.com/trace" not in inside


def test_a_worker_thread_belongs_to_the_run_that_started_it(stream: io.StringIO) -> None:
    with run_context("run-1"):
        workers = [threading.Thread(target=with_context(log.info), args=(f"worker {n}",)) for n in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert [line["run_id"] for line in lines(stream)] == ["run-1", "run-1"]


def test_an_exception_is_one_line_that_error_reporting_understands(stream: io.StringIO) -> None:
    try:
        raise ValueError(f"refused {SECRET}")
    except ValueError:
        log.exception("It failed.")
    (line,) = lines(stream)
    assert line["severity"] == "ERROR"
    assert line["message"] == "It failed."
    assert line["stack_trace"].startswith("Traceback (most recent call last):\n")
    assert "ValueError: refused ***" in line["stack_trace"]


def test_no_secret_gets_through_by_any_way_into_a_line(stream: io.StringIO) -> None:
    class Answer:
        def __str__(self) -> str:
            return f"<answer {SECRET}>"

    log.info("message %s %r", SECRET, {"key": SECRET})
    log.info(f"formatted {SECRET}")  # noqa: G004
    log.info("extra", extra={"a": SECRET, "b": {"c": [SECRET, (SECRET,)], SECRET: 1}, "d": Answer()})
    assert len(lines(stream)) == 3
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("***") == 8


def test_extra_fields_of_any_kind_make_valid_json(stream: io.StringIO) -> None:
    moment = datetime(2026, 1, 31, 8, tzinfo=UTC)
    log.info(
        "odd",
        extra={
            "lag": 1.5,
            "nan": float("nan"),
            "lone": "\ud800",
            "at": moment,
            "path": Path("x"),
            "time": "mine",
        },
    )
    (line,) = lines(stream)
    assert (line["lag"], line["nan"], line["lone"], line["path"]) == (1.5, "nan", "\ud800", "x")
    assert line["at"] == "2026-01-31T08:00:00.000000Z"
    assert line["time"] != "mine"


def test_a_line_that_cannot_be_written_stops_nothing_and_leaks_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.getLogger().handlers.clear()  # pytest's own handler raises where logging would report
    stream = io.StringIO()
    configure("info", stream)
    log.info("%d objects", SECRET)
    log.info("next")
    assert [line["message"] for line in lines(stream)] == ["next"]
    reported = capsys.readouterr().err
    assert "test_logs.py" in reported
    assert SECRET not in reported


def test_a_giant_message_stays_below_cloud_loggings_limit(stream: io.StringIO) -> None:
    log.error("x" * 1_000_000)
    assert len(stream.getvalue()) < 256 * 1024


@pytest.mark.parametrize(
    ("level", "own", "foreign"),
    [
        ("debug", {"DEBUG", "INFO", "WARNING", "ERROR"}, {"DEBUG", "INFO", "WARNING", "ERROR"}),
        ("info", {"INFO", "WARNING", "ERROR"}, {"WARNING", "ERROR"}),
        ("warn", {"WARNING", "ERROR"}, {"WARNING", "ERROR"}),
        ("error", {"ERROR"}, {"ERROR"}),
    ],
)
def test_the_level_is_ours_and_libraries_are_heard_from_warning_on(
    level: str, own: set[str], foreign: set[str]
) -> None:
    stream = io.StringIO()
    configure(level, stream)
    for name in ("cluster25.sync", "main", "some_library"):
        for severity in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(severity, "x")
    heard: dict[str, set[str]] = {name: set() for name in ("cluster25.sync", "main", "some_library")}
    for line in lines(stream):
        heard[line["logger"]].add(line["severity"])
    assert heard == {"cluster25.sync": own, "main": own, "some_library": foreign}


def test_a_librarys_own_level_becomes_one_that_cloud_logging_knows(stream: io.StringIO) -> None:
    log.log(25, "between info and warning")
    log.log(99, "beyond critical")
    assert [line["severity"] for line in lines(stream)] == ["INFO", "CRITICAL"]


def test_configuring_again_replaces_and_never_doubles(stream: io.StringIO) -> None:
    newer = io.StringIO()
    configure("info", newer)
    configure("info", newer)
    log.info("once")
    assert lines(stream) == []
    assert len(lines(newer)) == 1


def test_a_terminal_shows_readable_text_without_secrets() -> None:
    hide(SECRET)
    terminal = Terminal()
    configure("info", terminal)
    with run_context("run-1"):
        log.info("pushed %d with %s", 3, SECRET, extra={"work": "w-1"})
        try:
            raise ValueError(SECRET)
        except ValueError:
            log.exception("failed")
    first, *rest = terminal.getvalue().splitlines()
    assert first[8:] == " INFO     pushed 3 with ***  work=w-1"
    assert rest[-1] == "ValueError: ***"
    assert SECRET not in terminal.getvalue()


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        (
            {"X-Cloud-Trace-Context": f"{TRACE_ID}/171;o=1"},
            Trace(f"projects/p/traces/{TRACE_ID}", "00000000000000ab"),
        ),
        ({"X-Cloud-Trace-Context": TRACE_ID.upper()}, Trace(f"projects/p/traces/{TRACE_ID}")),
        (
            {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"},
            Trace(f"projects/p/traces/{TRACE_ID}", "00f067aa0ba902b7"),
        ),
        ({"X-Cloud-Trace-Context": "made up"}, None),
        ({"traceparent": f"00-{TRACE_ID}-short-01"}, None),
        ({}, None),
    ],
)
def test_a_requests_trace_is_read_from_either_header(headers: dict[str, str], trace: Trace | None) -> None:
    assert trace_of(headers, "p") == trace
    assert trace_of(headers, None) is None


def test_pyctis_own_lines_take_the_same_way() -> None:
    written = run_python(
        """
        import logging
        from cluster25.logs import configure
        configure("info")
        from pycti import OpenCTIApiClient
        client = OpenCTIApiClient("http://127.0.0.1:9", "token", log_level="info", json_logging=False,
                                  perform_health_check=False)
        client.app_logger.info("chatter")
        client.app_logger.error("refused: Bearer abc", {"id": 1})
        logging.getLogger("urllib3.connectionpool").debug("chatter")
        logging.getLogger("urllib3.connectionpool").warning("retrying")
        logging.getLogger("cluster25").info("ours")
        """
    )
    assert [line["message"] for line in written] == ["refused: Bearer ***", "retrying", "ours"]
    assert written[0]["attributes"] == {"id": 1}
    assert "stack_trace" not in written[0]


def test_functions_framework_labels_our_lines_with_its_execution_id(tmp_path: Path) -> None:
    source = tmp_path / "main.py"
    source.write_text(
        textwrap.dedent(
            """
            import logging
            from cluster25.logs import configure, run_context, trace_of, with_context
            from threading import Thread

            def function(request):
                configure("info")
                with run_context("run-1", trace_of(request.headers, "p")):
                    logging.getLogger("main").info("in the request")
                    worker = with_context(lambda: logging.getLogger("main").info("in a worker"))
                    thread = Thread(target=worker)
                    thread.start()
                    thread.join()
                return "ok"
            """
        )
    )
    written = run_python(
        f"""
        from functions_framework import create_app
        client = create_app("function", {str(source)!r}).test_client()
        headers = {{"x-cloud-trace-context": "{TRACE_ID}/171;o=1", "function-execution-id": "e-1"}}
        client.post("/", headers=headers)
        """,
        LOG_EXECUTION_ID="true",
    )
    assert [line["message"] for line in written] == ["in the request", "in a worker"]
    for line in written:
        assert line["logging.googleapis.com/labels"] == {"execution_id": "e-1"}
        assert line["logging.googleapis.com/trace"] == f"projects/p/traces/{TRACE_ID}"
        assert line["run_id"] == "run-1"
