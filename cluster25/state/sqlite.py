"""State in one SQLite file: for containers and plain machines, for any number of processes on one machine.

Each call opens the file anew. That costs some tenths of a millisecond, needs no care with threads and
forks, and a file that was removed or restored meanwhile is seen at once.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cluster25.clock import to_rfc3339
from cluster25.errors import StateDamagedError, StateUnavailableError
from cluster25.state.sqlite_schema import prepare
from cluster25.state.store import ConflictError, Page, Rejected, Stored

BUSY_TIMEOUT_SECONDS = 10.0


class SqliteStore:
    """The store of one connector in the file at `path`, which is made when needed, with its folder."""

    def __init__(self, path: Path, connector_id: str) -> None:
        """Nothing is opened yet."""
        self._path = path
        self._connector_id = connector_id

    @property
    def location(self) -> str:
        """The file and the key in it."""
        return f"connector {self._connector_id} in the SQLite file {self._path}"

    def read(self) -> Stored | None:
        """See `Store.read`."""
        with self._transaction("DEFERRED") as database:
            revision = self._revision(database)
            rows = database.execute(
                "SELECT name, value FROM fields WHERE connector_id = ?", (self._connector_id,)
            ).fetchall()
        if revision is None:
            return None
        try:
            return Stored({name: _from_column(value) for name, value in rows}, revision)
        except ValueError as error:
            raise self._damaged(f"is no JSON: {error}") from None

    def write(self, document: dict[str, Any], replaces: Stored | None, page: Page | None = None) -> Stored:
        """See `Store.write`."""
        before = replaces.document if replaces else {}
        with self._transaction() as database:
            revision = self._revision(database)
            if revision != (replaces.revision if replaces else None):
                raise ConflictError
            revision = (revision or 0) + 1
            database.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (self._connector_id, revision))
            database.executemany(
                "DELETE FROM fields WHERE connector_id = ? AND name = ?",
                [(self._connector_id, name) for name in before.keys() - document.keys()],
            )
            database.executemany(
                "INSERT OR REPLACE INTO fields VALUES (?, ?, ?)",
                [
                    (self._connector_id, name, _to_column(value))
                    for name, value in document.items()
                    if name not in before or before[name] != value
                ],
            )
            if page is not None:
                self._put_page(database, page)
        return Stored(document, revision)

    def read_pages(self, generation: int, count: int) -> Iterator[bytes]:
        """See `Store.read_pages`."""
        for number in range(count):
            with self._transaction("DEFERRED") as database:
                row = database.execute(
                    "SELECT entries FROM pages WHERE connector_id = ? AND generation = ? AND number = ?",
                    (self._connector_id, generation, number),
                ).fetchone()
            if row is None:
                raise self._damaged(f"lacks ledger page {number} of {count}, generation {generation}")
            yield row[0]

    def write_page(self, page: Page) -> None:
        """See `Store.write_page`."""
        with self._transaction() as database:
            self._put_page(database, page)

    def sweep_pages(self, before_generation: int) -> None:
        """See `Store.sweep_pages`."""
        with self._transaction() as database:
            database.execute(
                "DELETE FROM pages WHERE connector_id = ? AND generation < ?",
                (self._connector_id, before_generation),
            )

    def add_rejected(self, rejected: list[Rejected]) -> None:
        """See `Store.add_rejected`; what has expired by then is deleted."""
        with self._transaction() as database:
            database.executemany(
                "INSERT OR REPLACE INTO rejected VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        self._connector_id,
                        one.key,
                        one.object_id,
                        one.reason,
                        one.run_id,
                        to_rfc3339(one.rejected_at),
                        to_rfc3339(one.expires_at),
                        one.content,
                    )
                    for one in rejected
                ],
            )
            database.executemany(
                "DELETE FROM rejected WHERE connector_id = ? AND expires_at <= ?",
                [(self._connector_id, to_rfc3339(max(one.rejected_at for one in rejected)))]
                if rejected
                else [],
            )

    def read_rejected(self, now: datetime, limit: int) -> list[Rejected]:
        """See `Store.read_rejected`."""
        with self._transaction("DEFERRED") as database:
            rows = database.execute(
                "SELECT object_id, reason, run_id, rejected_at, expires_at, content FROM rejected"
                " WHERE connector_id = ? AND expires_at > ? ORDER BY expires_at DESC LIMIT ?",
                (self._connector_id, to_rfc3339(now), limit),
            ).fetchall()
        return [
            Rejected(
                found, reason, run_id, datetime.fromisoformat(at), datetime.fromisoformat(until), content
            )
            for found, reason, run_id, at, until, content in rows
        ]

    def remove_rejected(self, rejected: list[Rejected]) -> None:
        """See `Store.remove_rejected`."""
        with self._transaction() as database:
            database.executemany(
                "DELETE FROM rejected WHERE connector_id = ? AND key = ?",
                [(self._connector_id, one.key) for one in rejected],
            )

    def _revision(self, database: sqlite3.Connection) -> int | None:
        row: tuple[int] | None = database.execute(
            "SELECT revision FROM documents WHERE connector_id = ?", (self._connector_id,)
        ).fetchone()
        return row[0] if row else None

    def _put_page(self, database: sqlite3.Connection, page: Page) -> None:
        database.execute(
            "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?)",
            (self._connector_id, page.generation, page.number, page.entries),
        )

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(
                sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
            ) as database:
                prepare(database, BUSY_TIMEOUT_SECONDS)
                database.execute(f"BEGIN {kind}")
                with database:
                    yield database
        except (sqlite3.OperationalError, OSError) as error:
            raise StateUnavailableError(
                f"The SQLite file {self._path} cannot be used: {error}.",
                "Check STATE_SQLITE_PATH, the rights on its folder, and the space on its disk.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(f"cannot be read: {error}") from error

    def _damaged(self, what: str) -> StateDamagedError:
        return StateDamagedError(
            f"The stored state {what}.",
            f"Nothing was changed in {self.location}. Restore it from a backup, or delete it to start over.",
        )


def _to_column(value: Any) -> str | bytes:
    return value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False)


def _from_column(value: str | bytes) -> Any:
    return value if isinstance(value, bytes) else json.loads(value)
