"""`GET /`: what it says about health, to whom it speaks HTML, and what it costs."""

import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from cluster25.connector import Connector
from cluster25.operation.health import health_of, spoken
from cluster25.state.document import RETRY, RunSummary, State
from cluster25.state.store import Store
from local.cluster25 import Cluster25
from local.opencti import OpenCTI
from tests.operation import histories
from tests.operation.app import App
from tests.operation.conftest import SECRETS
from tests.operation.histories import INTERVAL, NOW, run


def ended(summary: RunSummary, ago: timedelta) -> State:
    """A state after one run that ended so long ago."""
    took = summary.ended_at - summary.started_at
    return State().with_run(
        summary.model_copy(update={"ended_at": NOW - ago, "started_at": NOW - ago - took})
    )


SECOND, BUDGET = timedelta(seconds=1), timedelta(seconds=480)


@pytest.mark.parametrize(
    ("state", "condition"),
    [
        (histories.NEVER_RUN, "never run"),
        (histories.STARTING, "starting"),
        (histories.HEALTHY, "healthy"),
        (histories.BUSY, "healthy"),
        (ended(run(0, "partial", 5), 3 * INTERVAL), "healthy"),
        (ended(run(0, "empty"), 3 * INTERVAL + SECOND), "overdue"),
        (ended(run(0, "empty"), 3 * INTERVAL + BUDGET).changed(lease=histories.BUSY.lease), "healthy"),
        (
            ended(run(0, "empty"), 3 * INTERVAL + BUDGET + SECOND).changed(lease=histories.BUSY.lease),
            "overdue",
        ),
        (ended(run(0, "ok").model_copy(update={"trigger": RETRY}), SECOND), "overdue"),
        (ended(run(0, "failed"), SECOND), "failing"),
        (ended(run(0, "failed"), SECOND).with_run(run(0, "skipped")), "failing"),
        (ended(run(0, "failed"), SECOND).with_run(run(0, "empty")), "healthy"),
        (histories.HEALTHY.changed(skipped_since=NOW - 2 * INTERVAL), "healthy"),
        (histories.HEALTHY.changed(skipped_since=NOW - 2 * INTERVAL - SECOND), "skipping"),
    ],
)
def test_it_is_healthy_or_it_says_why_not(state: State, condition: str) -> None:
    health = health_of(state, INTERVAL.total_seconds(), BUDGET.total_seconds(), NOW)
    assert health.condition == condition
    assert health.is_healthy == (condition in {"healthy", "starting"})
    assert health.reasons
    assert health.is_healthy == (health.remedy is None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (59, "59 s"),
        (61, "1 min"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (47 * 3600, "47 h"),
        (90_000 * 3, "3 d 3 h"),
    ],
)
def test_spans_are_told_in_two_units_at_most(seconds: int, words: str) -> None:
    assert spoken(timedelta(seconds=seconds)) == words


@pytest.fixture
def store(connector: Connector) -> Store:
    connector.store.write(histories.FAILING.to_document(), None)
    connector.store.add_rejected(histories.REJECTED)
    return connector.store


def test_scripts_get_json(app: App, store: Store) -> None:
    response = app.get()
    status: dict[str, Any] = response.get_json()
    assert response.status_code == 200
    assert (status["healthy"], status["condition"]) == (False, "failing")
    assert status["remedy"] == histories.ERROR["remedy"]
    assert status["lag_seconds"] == 44 * 60
    assert len(status["runs"]) == 50
    assert [entry["reason"] for entry in status["rejected"]] == [one.reason for one in histories.REJECTED]
    assert status["settings"]["OPENCTI_TOKEN"] == "***"
    assert not any(secret in response.text for secret in SECRETS)


def test_browsers_get_a_page_that_may_do_nothing_but_be_shown(app: App, store: Store) -> None:
    response = app.get(html=True)
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    headers = response.headers
    directives = dict(one.strip().split(" ", 1) for one in headers["Content-Security-Policy"].split(";"))
    assert directives["default-src"] == directives["frame-ancestors"] == directives["form-action"] == "'none'"
    assert set(directives) == {
        "default-src",
        "style-src",
        "img-src",
        "base-uri",
        "form-action",
        "frame-ancestors",
    }
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Vary"] == "Accept"


@pytest.mark.parametrize("html", [False, True])
def test_a_head_request_is_answered_without_a_body(app: App, store: Store, html: bool) -> None:
    response = app.get(html=html, method="HEAD")
    assert (response.status_code, response.data) == (200, b"")


class Counting:
    """A store that counts what it is asked for."""

    def __init__(self, store: Store) -> None:
        self.calls: Counter[str] = Counter()
        self._store = store

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self._store, name)


@pytest.mark.parametrize("html", [False, True])
def test_it_reads_the_state_and_asks_nobody(
    app: App,
    settings: pytest.MonkeyPatch,
    connector: Connector,
    store: Store,
    source: Cluster25,
    sink: OpenCTI,
    html: bool,
) -> None:
    counting = Counting(store)
    counted = replace(connector, store=cast("Store", counting))
    settings.setattr(sys.modules["main"], "connector", lambda: counted)
    assert app.get(html=html).status_code == 200
    assert counting.calls == {"location": 1, "read": 1, "read_rejected": 1}
    assert source.requests.total() + sink.requests.total() == 0


@pytest.mark.parametrize("html", [False, True])
def test_wrong_settings_are_told(app: App, settings: pytest.MonkeyPatch, html: bool) -> None:
    settings.setenv("CONNECTOR_ID", "seven")
    response = app.get(html=html)
    assert response.status_code == 500
    assert "CONNECTOR_ID must be a UUID" in response.text
