"""What only a file can do wrong."""

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from cluster25.errors import StateDamagedError, StateUnavailableError
from cluster25.state.lease import acquire, read_state
from cluster25.state.sqlite import SqliteStore
from cluster25.state.store import ConflictError, Rejected
from tests.clock import SimulatedClock
from tests.state.runs import LEASE_SECONDS

DOCUMENT = {"number": 1, "bytes": b"x"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def test_a_path_that_is_a_folder_is_unavailable_state(tmp_path: Path) -> None:
    with pytest.raises(StateUnavailableError, match="STATE_SQLITE_PATH"):
        SqliteStore(tmp_path, "c").read()


def test_a_folder_that_cannot_be_made_is_unavailable_state(path: Path) -> None:
    path.write_text("a file where a folder should be")
    with pytest.raises(StateUnavailableError, match="STATE_SQLITE_PATH"):
        SqliteStore(path / "state.db", "c").read()


def test_a_file_that_may_only_be_read_can_be_read_but_not_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = SqliteStore(path, "c").write(DOCUMENT, None)
    connect = sqlite3.connect

    # The rights on a file would not stop root, as whom tests often run in containers.
    def connect_for_reading(database: Path, **options: object) -> sqlite3.Connection:
        connection = connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)
        assert options["isolation_level"] is None
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_for_reading)
    assert SqliteStore(path, "c").read() == stored
    with pytest.raises(StateUnavailableError, match="readonly"):
        SqliteStore(path, "c").write({"number": 2}, stored)


@pytest.mark.parametrize("content", [b"this is no database, and never was one\n" * 200, b"\xff" * 4096])
def test_a_file_that_is_no_database_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StateDamagedError, match="Nothing was changed") as caught:
        acquire(SqliteStore(path, "c"), SimulatedClock(), "run-a", LEASE_SECONDS)
    assert str(path) in caught.value.remedy
    assert path.read_bytes() == content


def test_a_database_damaged_in_the_middle_is_refused(path: Path) -> None:
    store = SqliteStore(path, "c")
    store.write({"text": "x" * 100_000}, None)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\x00\xff" * ((len(whole) - 4096) // 2))
    with pytest.raises(StateDamagedError, match="Nothing was changed"):
        store.read()


def test_a_field_that_is_no_json_is_refused_and_kept(path: Path) -> None:
    SqliteStore(path, "c").write(DOCUMENT, None)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE fields SET value = '{' WHERE name = 'number'")
    with pytest.raises(StateDamagedError, match="no JSON"):
        SqliteStore(path, "c").read()


def test_a_document_without_fields_is_damage_not_a_first_run(path: Path) -> None:
    SqliteStore(path, "c").write(DOCUMENT, None)
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM fields")
    with pytest.raises(StateDamagedError, match="version None"):
        read_state(SqliteStore(path, "c"))


def test_a_file_locked_by_others_for_too_long_is_unavailable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster25.state.sqlite.BUSY_TIMEOUT_SECONDS", 0.1)
    store = SqliteStore(path, "c")
    stored = store.write(DOCUMENT, None)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateUnavailableError, match="locked"):
        store.write({"number": 2}, stored)
    other.execute("ROLLBACK")
    other.close()
    store.write({"number": 2}, stored)


def test_a_file_that_was_removed_is_a_lost_document(path: Path) -> None:
    store = SqliteStore(path, "c")
    stored = store.write(DOCUMENT, None)
    path.unlink()
    with pytest.raises(ConflictError):
        store.write({"number": 2}, stored)


CHILD = """
import sys
from pathlib import Path
from cluster25.clock import SystemClock
from cluster25.state.lease import acquire
from cluster25.state.sqlite import SqliteStore

held = acquire(SqliteStore(Path(sys.argv[1]), "c"), SystemClock(), sys.argv[2], 0.2)
number = held.state.pages
while True:
    held.record([number.to_bytes(11, "little")])
    number += 1
    print(number, flush=True)
"""


@pytest.mark.slow
def test_processes_killed_at_any_instant_leave_every_recorded_chunk(path: Path) -> None:
    store = SqliteStore(path, "c")
    for kill in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), f"run-{kill}"], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            time.sleep(0.003 * kill)
            child.send_signal(signal.SIGKILL)
            whole_lines = [first, *child.stdout.read().split("\n")[:-1]]
            recorded = int(whole_lines[-1])
        time.sleep(0.25)  # until the lease of the killed has expired
        state = read_state(store)
        assert state.fence == kill + 1
        # What was recorded is there, and at most the chunk whose record was cut off besides.
        assert recorded <= state.pages <= recorded + 1
        assert len(list(store.read_pages(0, state.pages))) == state.pages


def test_of_twenty_that_find_no_file_one_makes_it(path: Path) -> None:
    start = threading.Barrier(20)
    answers: list[str] = []

    def write_first() -> None:
        start.wait()
        try:
            SqliteStore(path, "c").write(DOCUMENT, None)
        except ConflictError:
            answers.append("late")
        else:
            answers.append("first")

    threads = [threading.Thread(target=write_first) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["first", *["late"] * 19]


def test_expired_rejected_objects_are_deleted(path: Path, clock: SimulatedClock) -> None:
    store = SqliteStore(path, "c")
    for _ in range(3):
        store.add_rejected(
            [
                Rejected.because(
                    "bad", object_id="indicator--1", content=b"{}", run_id="r", rejected_at=clock.now()
                )
            ]
        )
        clock.advance(timedelta(days=31).total_seconds())
    store.add_rejected([])
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM rejected").fetchone() == (1,)
