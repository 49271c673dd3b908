"""The demo as a user runs it: a process, its output, its exit code, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from local.cluster25 import CLIENT_ID, CLIENT_SECRET, Cluster25
from local.feed import Feed
from local.function import ROOT
from local.opencti import TOKEN, OpenCTI

PATIENCE_SECONDS = 120
ROW = re.compile(
    r"^(\d \w+) +(\w+) +([\d,-]+) +([\d,-]+) +([\d,-]+) +([\d,-]+) +[\d.]+ +([\d,-]+) +([\d,-]+) ",
    re.MULTILINE,
)


def start_demo(**variables: str) -> subprocess.Popen[str]:
    """Empty credentials win over those that a `.env` here might have."""
    environment = (
        os.environ | {"CLUSTER25_CLIENT_ID": "", "CLUSTER25_CLIENT_SECRET": "", "FEED": ""} | variables
    )
    return subprocess.Popen(
        [sys.executable, "-m", "local.demo"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_demo(**variables: str) -> tuple[int, str]:
    with start_demo(**variables) as demo:
        output, _ = demo.communicate(timeout=PATIENCE_SECONDS)
    return demo.returncode, output


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """A process that ended but that nobody has collected yet (`Z`) runs no more."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@contextmanager
def services(folder: Path) -> Iterator[tuple[Cluster25, OpenCTI, dict[str, str]]]:
    """Both services, and the settings that lead to them as to real ones."""
    with Cluster25(Feed(size=30)) as source, OpenCTI() as sink:
        yield (
            source,
            sink,
            {
                "OPENCTI_URL": sink.url,
                "OPENCTI_TOKEN": TOKEN,
                "CONNECTOR_ID": str(uuid4()),
                "CLUSTER25_BASE_URL": source.base_url,
                "CLUSTER25_CLIENT_ID": CLIENT_ID,
                "CLUSTER25_CLIENT_SECRET": CLIENT_SECRET,
                "STATE_STORE": "sqlite",
                "STATE_SQLITE_PATH": str(folder / "state.db"),
            },
        )


def test_without_credentials_ten_thousand_indicators_go_in_then_none_then_the_late_one() -> None:
    code, output = run_demo()
    assert code == 0, output
    first, again, late = ROW.findall(output)
    assert first == ("1 import", "ok", "10,002", "10,000", "0", "0", "10,000", "0")
    assert (again[:2], again[3], again[6:]) == (("2 again", "empty"), "0", ("10,000", "0"))
    assert (late[:2], late[3], late[6:]) == (("3 late", "ok"), "1", ("10,001", "0"))


def test_where_there_is_no_terminal_the_output_is_plain_and_fits_80_columns(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    path.write_bytes(b"".join(Feed(size=20, seed=7).encoded()))
    code, output = run_demo(FEED=str(path))
    assert code == 0, output
    assert ROW.findall(output)[0][3] == "20"
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) <= 80


def test_a_proxy_for_the_world_outside_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    path.write_bytes(b"".join(Feed(size=5).encoded()))
    code, output = run_demo(FEED=str(path), HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9")
    assert code == 0, output


def test_a_file_that_is_no_bundle_ends_the_demo_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"type": "report"}))
    code, output = run_demo(FEED=str(path))
    assert code == 1
    assert "no STIX bundle" in output


@pytest.mark.slow
def test_with_credentials_only_the_function_is_started_and_called_twice(tmp_path: Path) -> None:
    with services(tmp_path) as (_, sink, settings):
        code, output = run_demo(**settings)
        assert code == 0, output
        first, again = ROW.findall(output)
        assert (first[1], first[3], first[6]) == ("ok", "30", "-")
        assert again[1] == "empty"
        assert sink.ingestion.distinct() == 30


@pytest.mark.slow
def test_with_wrong_credentials_the_demo_says_so_and_fails(tmp_path: Path) -> None:
    with services(tmp_path) as (_, _, settings):
        code, output = run_demo(**settings | {"CLUSTER25_CLIENT_SECRET": "guessed-wrongly"})
    assert code == 1
    assert "WRONG" in output
    assert "CLUSTER25_CLIENT_SECRET" in output
    assert "guessed-wrongly" not in output


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_what_it_started(tmp_path: Path, how: signal.Signals) -> None:
    def endless(pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield next(pieces)[:50]
        for _ in range(PATIENCE_SECONDS * 10):
            time.sleep(0.1)
            yield b" "

    with services(tmp_path) as (source, _, settings):
        source.transform = endless
        with start_demo(**settings) as demo:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not source.exports and demo.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            function = children_of(demo.pid)
            workers = [worker for pid in function for worker in children_of(pid)]
            demo.send_signal(how)
            output, _ = demo.communicate(timeout=PATIENCE_SECONDS)
    assert demo.returncode == 1
    assert "Interrupted" in output
    assert len(function) == len(workers) == 1
    assert not [pid for pid in function + workers if is_running(pid)]
