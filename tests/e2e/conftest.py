"""The function as functions-framework serves it, between the two stand-ins, on each platform release."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from functions_framework import create_app
from werkzeug.test import Client

from local.cluster25 import Cluster25
from local.feed import Feed
from local.opencti import OpenCTI
from tests.clock import SimulatedClock
from tests.faults.world import environment_of

ROOT = Path(__file__).parents[2]
RELEASES = ("6.3", "6.8.10", "7.26")


class Function:
    """Calls the function as Scheduler or a person would; `configure` does what a new revision would."""

    def __init__(self, environment: pytest.MonkeyPatch, clock: SimulatedClock) -> None:
        self._environment = environment
        self._clock = clock

    def configure(self, **settings: object) -> None:
        for name, value in settings.items():
            self._environment.setenv(name.upper(), str(value))
        # Loads main.py anew, as a new revision would.
        self._client: Client = create_app("cluster25_connector", str(ROOT / "main.py")).test_client()
        self._environment.setattr(sys.modules["main"], "SystemClock", lambda: self._clock)

    def call(self, path: str = "/", method: str = "POST", **options: Any) -> tuple[int, dict[str, Any]]:
        response = self._client.open(path, method=method, **options)
        assert response.json is not None
        return response.status_code, response.json

    def run(self, **body: object) -> dict[str, Any]:
        status, answer = self.call(json=body) if body else self.call()
        assert status == 200, answer
        return answer

    def reset(self) -> dict[str, Any]:
        return self.call("/reset")[1]

    def heartbeat(self) -> dict[str, Any]:
        status, answer = self.call("/heartbeat")
        assert status == 200, answer
        return answer

    def status(self) -> dict[str, Any]:
        status, answer = self.call(method="GET")
        assert status == 200, answer
        return answer


@pytest.fixture
def feed(clock: SimulatedClock) -> Feed:
    return Feed(size=200, now=clock.now())


@pytest.fixture
def source(feed: Feed, clock: SimulatedClock) -> Iterator[Cluster25]:
    with Cluster25(feed, clock=clock) as cluster25:
        yield cluster25


@pytest.fixture(params=RELEASES)
def sink(request: pytest.FixtureRequest, clock: SimulatedClock) -> Iterator[OpenCTI]:
    with OpenCTI(release=request.param, clock=clock) as opencti:
        yield opencti


@pytest.fixture
def function(
    source: Cluster25,
    sink: OpenCTI,
    clock: SimulatedClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Function:
    monkeypatch.chdir(tmp_path)
    function = Function(monkeypatch, clock)
    function.configure(**environment_of(source, sink))
    return function
