"""Both stores, each under the same tests."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster25.state.store import Store

OpenStore = Callable[[], Store]


@pytest.fixture(params=["sqlite", "firestore"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Opens the same, at first empty, state again and again, as separate processes would."""
    connector_id = str(uuid.uuid4())
    if request.param == "sqlite":
        from cluster25.state.sqlite import SqliteStore

        return lambda: SqliteStore(tmp_path / "state" / "cluster25.db", connector_id)
    request.getfixturevalue("firestore_emulator")
    from cluster25.state.firestore import FirestoreStore

    collection = f"tests-{uuid.uuid4().hex}"
    return lambda: FirestoreStore("test-project", "(default)", collection, connector_id)


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    return open_store()
