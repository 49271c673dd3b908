"""The tables of a state file."""

import sqlite3
import time
from contextlib import suppress

SCHEMA = """
CREATE TABLE documents (connector_id TEXT PRIMARY KEY, revision INTEGER NOT NULL);
-- One row for each field of a document: text is JSON, a blob is bytes. Only what has changed is written.
CREATE TABLE fields (
    connector_id TEXT NOT NULL, name TEXT NOT NULL, value NOT NULL,
    PRIMARY KEY (connector_id, name)
);
CREATE TABLE pages (
    connector_id TEXT NOT NULL, generation INTEGER NOT NULL, number INTEGER NOT NULL, entries BLOB NOT NULL,
    PRIMARY KEY (connector_id, generation, number)
);
CREATE TABLE rejected (
    connector_id TEXT NOT NULL, key TEXT NOT NULL, object_id TEXT NOT NULL, reason TEXT NOT NULL,
    run_id TEXT NOT NULL, rejected_at TEXT NOT NULL, expires_at TEXT NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (connector_id, key)
);
"""


def prepare(database: sqlite3.Connection, busy_timeout_seconds: float) -> None:
    """Make the tables of a new file; of many processes that find it new, one does.

    Raises sqlite3.Error.
    """
    if _schema_version(database):
        return
    # Switching to a write-ahead log does not wait for others as ordinary statements do.
    for _ in range(int(busy_timeout_seconds / 0.05)):
        with suppress(sqlite3.OperationalError):
            database.execute("PRAGMA journal_mode = WAL")
            break
        time.sleep(0.05)
    database.execute("BEGIN IMMEDIATE")
    with database:
        if not _schema_version(database):
            for statement in SCHEMA.split(";"):
                database.execute(statement)
            database.execute("PRAGMA user_version = 1")


def _schema_version(database: sqlite3.Connection) -> int:
    version: tuple[int] = database.execute("PRAGMA user_version").fetchone()
    return version[0]
