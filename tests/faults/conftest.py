"""The function under functions-framework, between the stand-ins, with state that nobody else uses."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import flask
import pytest
from functions_framework import create_app

from cluster25.clock import Clock
from local.cluster25 import Cluster25
from local.feed import Feed
from local.opencti import OpenCTI
from tests.faults.canaries import no_secret_shows
from tests.faults.function import (
    CLIENT_SECRET,
    CONNECTOR_ID,
    OPENCTI_TOKEN,
    ROOT,
    Function,
    NotedClock,
    add_new,
)

__all__ = ["no_secret_shows"]


@pytest.fixture(scope="session")
def app() -> flask.Flask:
    app: flask.Flask = create_app("cluster25_connector", str(ROOT / "main.py"))
    return app


@pytest.fixture
def clock() -> Clock:
    return NotedClock()


@pytest.fixture
def source(clock: Clock) -> Iterator[Cluster25]:
    with Cluster25(Feed(size=4, now=clock.now()), clock=clock) as cluster25:
        cluster25.client_secret = CLIENT_SECRET
        yield cluster25


@pytest.fixture
def sink(clock: Clock) -> Iterator[OpenCTI]:
    with OpenCTI(clock=clock, tokens={OPENCTI_TOKEN: frozenset({"CONNECTORAPI"})}) as opencti:
        yield opencti


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, source: Cluster25, sink: OpenCTI, tmp_path: Path
) -> pytest.MonkeyPatch:
    """The settings; a test may change them before the first call."""
    for name, value in {
        "OPENCTI_URL": sink.url,
        "OPENCTI_TOKEN": OPENCTI_TOKEN,
        "CONNECTOR_ID": CONNECTOR_ID,
        "CONNECTOR_LOG_LEVEL": "debug",
        "CLUSTER25_BASE_URL": source.base_url,
        "CLUSTER25_CLIENT_ID": source.client_id,
        "CLUSTER25_CLIENT_SECRET": CLIENT_SECRET,
        "CLUSTER25_RUN_BUDGET_SEC": "60",
        "CLUSTER25_LEASE_SEC": "90",
        "STATE_STORE": "sqlite",
        "STATE_SQLITE_PATH": str(tmp_path / "state.db"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


@pytest.fixture(params=["sqlite", "firestore"])
def either_store(request: pytest.FixtureRequest, environment: pytest.MonkeyPatch) -> str:
    """Keeps the state in a SQLite file, then in Firestore's emulator."""
    if request.param == "firestore":
        request.getfixturevalue("firestore_emulator")
        environment.setenv("STATE_STORE", "firestore")
        environment.setenv("FIRESTORE_PROJECT", "test-project")
        environment.setenv("FIRESTORE_COLLECTION", f"faults-{uuid.uuid4().hex}")
    store: str = request.param
    return store


@pytest.fixture
def function(
    app: flask.Flask, clock: Clock, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Function]:
    function = Function(app.test_client(), clock, capsys)
    environment.setattr(function.main, "SystemClock", lambda: clock)
    function.main.connector.cache_clear()
    yield function
    function.main.connector.cache_clear()


@pytest.fixture
def imported(function: Function, source: Cluster25, clock: NotedClock) -> Function:
    """A first run has been; since then there is something new."""
    assert function.call().outcome == "ok"
    clock.advance(600)
    add_new(source, clock.now() - timedelta(seconds=60))
    return function
