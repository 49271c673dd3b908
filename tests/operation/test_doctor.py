"""The doctor, against each kind of wrong setting and peer: it names the culprit and the remedy."""

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from functions_framework import create_app

from cluster25.clock import SystemClock
from cluster25.connector import Connector
from cluster25.settings import load_settings
from cluster25.state.document import State
from local.cluster25 import Cluster25
from local.loopback import Fault
from local.opencti import OpenCTI
from local.releases import SUPPORTED_RELEASES, load_release
from tests.operation.conftest import OPENCTI_TOKEN, SECRETS, Command
from tests.operation.peers import answering

ROOT = Path(__file__).parents[2]
SUBJECTS = ["settings", "Cluster25 token", "Cluster25 export", "OpenCTI", "OpenCTI role", "state store"]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster25.operation.doctor.CHECK_SECONDS", 2.0)


def examined(command: Command) -> dict[str, tuple[str, str]]:
    """By subject: the mark, and what was found with its remedy."""
    said = command("doctor")
    remedies = dict(line.split(": ", 1) for line in said.err.splitlines() if ": " in line)
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert said.code == (0 if all(mark != "✗" for mark, _, _ in rows) else 2 if len(rows) == 1 else 1)
    return {subject: (mark, f"{what} {remedies.get(subject, '')}") for mark, subject, what in rows}


def test_all_is_well(command: Command, source: Cluster25, sink: OpenCTI, state: Callable[[], State]) -> None:
    found = examined(command)
    assert list(found) == SUBJECTS
    assert {mark for mark, _ in found.values()} == {"✓"}
    assert load_release(sink.release).version in found["OpenCTI"][1]
    assert "gives objects" in found["Cluster25 export"][1]
    assert sink.connectors.by_id == {}  # nothing is registered, and no ping takes a pending reset away
    assert state() == State()


def test_it_changes_no_state_and_takes_no_reset_away(
    command: Command, sink: OpenCTI, connector: Connector, state: Callable[[], State]
) -> None:
    command("run")
    sink.press_reset()
    before = connector.store.read()
    assert examined(command)["state store"][0] == "✓"
    assert connector.store.read() == before
    assert command("run").fields["pushed"] == "2000"


def test_the_look_at_the_export_ends_early(command: Command, source: Cluster25) -> None:
    source.feed.size = 200_000
    sent = []

    def count(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            sent.append(len(piece))
            yield piece

    source.transform = count
    assert examined(command)["Cluster25 export"][0] == "✓"
    assert sum(sent) < 10_000_000


def test_an_empty_export_is_fine(command: Command, source: Cluster25) -> None:
    source.feed.size = 0
    mark, what = examined(command)["Cluster25 export"]
    assert mark == "✓"
    assert "nothing was modified" in what


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("CLUSTER25_CLIENT_ID", ""),
        ("CONNECTOR_ID", "seven"),
        ("OPENCTI_URL", "opencti.example.org"),
        ("CLUSTER25_BASE_URL", "http://cluster25.example.org"),
        ("CLUSTER25_INDICATOR_TYPES", "ipv5"),
        ("CLUSTER25_LEASE_SEC", "1"),
    ],
)
def test_a_wrong_setting_is_named(
    command: Command, settings: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    settings.setenv(setting, value)
    found = examined(command)
    assert list(found) == ["settings"]
    assert found["settings"][0] == "✗"
    assert setting in found["settings"][1]


PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.mark.parametrize(
    ("setting", "value", "culprit", "remedy"),
    [
        ("CLUSTER25_CLIENT_SECRET", "canary-client-secret-old", "Cluster25 token", "CLUSTER25_CLIENT_SECRET"),
        ("CLUSTER25_CLIENT_ID", "somebody", "Cluster25 token", "CLUSTER25_CLIENT_ID"),
        ("CLUSTER25_BASE_URL", "http://127.0.0.1:9/api/v1", "Cluster25 token", "CLUSTER25_BASE_URL"),
        ("OPENCTI_TOKEN", "canary-opencti-token-old", "OpenCTI", "OPENCTI_TOKEN"),
        ("OPENCTI_URL", "http://127.0.0.1:9", "OpenCTI", "OPENCTI_URL"),
        ("STATE_SQLITE_PATH", "/proc/no/state.db", "state store", "STATE_SQLITE_PATH"),
    ],
)
def test_a_setting_that_fits_nobody_is_the_culprit(
    command: Command, settings: pytest.MonkeyPatch, setting: str, value: str, culprit: str, remedy: str
) -> None:
    settings.setenv(setting, value)
    found = examined(command)
    assert [subject for subject, (mark, _) in found.items() if mark == "✗"] == [culprit]
    assert remedy in found[culprit][1]


def at_export(fault: Fault) -> Fault:
    return lambda exchange: "/export/" in exchange.path and fault(exchange)


@pytest.mark.parametrize(
    ("fault", "culprit", "remedy"),
    [
        (answering(404, b"{}"), "Cluster25 token", "CLUSTER25_BASE_URL"),
        (answering(200, PAGE), "Cluster25 token", "CLUSTER25_BASE_URL"),
        (answering(503), "Cluster25 token", "ask whoever runs it"),
        (at_export(answering(403, b"TLP")), "Cluster25 export", "rights"),
        (at_export(answering(422, b"types")), "Cluster25 export", "CLUSTER25_INDICATOR_TYPES"),
        (at_export(answering(200, b'{"error": "no"}')), "Cluster25 export", "Cluster25"),
    ],
    ids=["no API", "a login page", "overloaded", "no rights", "a refused question", "no bundle"],
)
def test_a_cluster25_that_is_wrong_is_the_culprit(
    command: Command, source: Cluster25, fault: Fault, culprit: str, remedy: str
) -> None:
    source.fault = fault
    found = examined(command)
    assert [subject for subject, (mark, _) in found.items() if mark == "✗"] == [culprit]
    assert remedy in found[culprit][1]


@pytest.mark.parametrize(
    ("capabilities", "mark", "word"),
    [
        (frozenset({"KNOWLEDGE"}), "✗", "CONNECTORAPI"),
        (frozenset(), "✗", "CONNECTORAPI"),
        (frozenset({"BYPASS"}), "✓", "safer"),
    ],
)
def test_the_tokens_rights_are_looked_at(
    command: Command, sink: OpenCTI, capabilities: frozenset[str], mark: str, word: str
) -> None:
    sink.tokens = {OPENCTI_TOKEN: capabilities}
    found = examined(command)
    assert found["OpenCTI role"][0] == mark
    assert word in found["OpenCTI role"][1]


def test_a_release_that_tells_no_rights_is_not_blamed(command: Command, sink: OpenCTI) -> None:
    refusal = b'{"errors":[{"message":"no field me","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}'
    sink.fault = lambda exchange: b"capabilities" in exchange.body() and answering(200, refusal)(exchange)
    found = examined(command)
    assert found["OpenCTI role"][0] == "?"


@pytest.mark.parametrize("release", SUPPORTED_RELEASES)
def test_every_supported_release_answers(
    command: Command, settings: pytest.MonkeyPatch, release: str
) -> None:
    with OpenCTI(release=release, tokens={OPENCTI_TOKEN: frozenset({"CONNECTORAPI"})}) as platform:
        settings.setenv("OPENCTI_URL", platform.url)
        found = examined(command)
    assert release in found["OpenCTI"][1]
    assert {found[subject][0] for subject in ("OpenCTI", "OpenCTI role")} == {"✓"}


def test_a_release_that_is_too_old_is_to_be_upgraded(command: Command, settings: pytest.MonkeyPatch) -> None:
    with OpenCTI(release="6.2", tokens={OPENCTI_TOKEN: frozenset({"CONNECTORAPI"})}) as old:
        settings.setenv("OPENCTI_URL", old.url)
        mark, what = examined(command)["OpenCTI"]
    assert mark == "✗"
    assert "Upgrade OpenCTI to release 6.3" in what


@pytest.mark.parametrize("body", [PAGE, b"[]", b""], ids=["a login page", "no GraphQL", "nothing"])
def test_what_is_no_opencti_is_the_culprit(command: Command, sink: OpenCTI, body: bytes) -> None:
    sink.fault = answering(200, body)
    found = examined(command)
    assert found["OpenCTI"][0] == "✗"
    assert "OPENCTI_URL" in found["OpenCTI"][1]


def test_a_state_that_is_not_understood_is_told_and_kept(
    command: Command, environment: dict[str, str]
) -> None:
    command("run")
    with sqlite3.connect(environment["STATE_SQLITE_PATH"]) as database:
        database.execute("UPDATE fields SET value = '7' WHERE name = 'version'")
    mark, what = examined(command)["state store"]
    assert mark == "✗"
    assert "version 7" in what


def test_a_state_file_that_cannot_be_written_is_told(command: Command, environment: dict[str, str]) -> None:
    command("run")
    with sqlite3.connect(environment["STATE_SQLITE_PATH"], isolation_level=None) as database:
        database.execute("BEGIN IMMEDIATE")  # others may read, but nobody may write
        with pytest.MonkeyPatch.context() as impatient:
            impatient.setattr("cluster25.state.sqlite.BUSY_TIMEOUT_SECONDS", 0.1)
            mark, what = examined(command)["state store"]
    assert mark == "✗"
    assert "STATE_SQLITE_PATH" in what


@pytest.mark.parametrize("ran_before", [False, True])
def test_firestore_is_read_and_tried_without_a_change(
    command: Command, settings: pytest.MonkeyPatch, firestore_emulator: str, ran_before: bool
) -> None:
    settings.setenv("STATE_STORE", "firestore")
    settings.setenv("FIRESTORE_PROJECT", "test-project")
    settings.setenv("FIRESTORE_COLLECTION", f"doctor-{uuid.uuid4().hex}")
    if ran_before:
        command("run")
    store = Connector.of(load_settings(), SystemClock()).store
    before = store.read()
    assert (before is not None) == ran_before
    mark, what = examined(command)["state store"]
    assert mark == "✓"
    assert "Firestore document" in what
    assert store.read() == before


def test_a_firestore_that_is_away_is_the_culprit(command: Command, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("STATE_STORE", "firestore")
    settings.setenv("FIRESTORE_PROJECT", "test-project")
    settings.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:9")
    assert examined(command)["state store"][0] == "✗"


@pytest.mark.parametrize(
    ("fault", "status"),
    [(None, 200), (answering(403), 500), (answering(503), 503)],
    ids=["well", "refused", "away"],
)
def test_it_can_be_called(
    settings: pytest.MonkeyPatch, source: Cluster25, fault: Fault | None, status: int
) -> None:
    source.fault = fault
    client = create_app("cluster25_connector", str(ROOT / "main.py")).test_client()
    response = client.post("/doctor")
    answer = response.get_json()
    assert response.status_code == status
    assert answer["outcome"] == ("ok" if status == 200 else "failed")
    assert [check["subject"] for check in answer["checks"] if check["passed"] is False] == (
        [] if status == 200 else ["Cluster25 token"]
    )
    assert not any(secret in response.text for secret in SECRETS)
