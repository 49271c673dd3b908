"""Both stores, each under the same tests."""

import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.cloud import firestore

from cluster25.state.firestore import FirestoreStore
from cluster25.state.sqlite import SqliteStore
from cluster25.state.store import Store

OpenStore = Callable[[], Store]


@dataclass(frozen=True)
class SqliteState:
    """A file that does not exist yet."""

    path: Path

    def open(self, connector_id: str) -> Store:
        return SqliteStore(self.path, connector_id)

    def delete_document(self, connector_id: str) -> None:
        with sqlite3.connect(self.path) as database:
            database.execute("DELETE FROM documents WHERE connector_id = ?", (connector_id,))


@dataclass(frozen=True)
class FirestoreState:
    """A collection that nobody else uses, in the emulator."""

    collection: str

    def open(self, connector_id: str) -> Store:
        return FirestoreStore("test-project", "(default)", self.collection, connector_id)

    def delete_document(self, connector_id: str) -> None:
        firestore.Client(project="test-project").collection(self.collection).document(connector_id).delete()


@pytest.fixture(params=["sqlite", "firestore"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteState | FirestoreState:
    """Somewhere to keep state, with nothing in it."""
    if request.param == "sqlite":
        return SqliteState(tmp_path / "state" / "cluster25.db")
    request.getfixturevalue("firestore_emulator")
    return FirestoreState(f"tests-{uuid.uuid4().hex}")


@pytest.fixture
def connector_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def open_store(place: SqliteState | FirestoreState, connector_id: str) -> OpenStore:
    """Opens the same state again and again, as separate processes would."""
    return lambda: place.open(connector_id)


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    return open_store()


@pytest.fixture
def open_other_connector(place: SqliteState | FirestoreState) -> OpenStore:
    other_id = str(uuid.uuid4())
    return lambda: place.open(other_id)


@pytest.fixture
def delete_document(place: SqliteState | FirestoreState, connector_id: str) -> Callable[[], None]:
    """Removes the document as an operator would, behind the store's back."""
    return lambda: place.delete_document(connector_id)
