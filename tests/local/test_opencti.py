"""The platform at its edge: tokens, capabilities, limits, and what each release knows."""

import json

import pytest
import requests

from local.opencti import TOKEN, OpenCTI
from local.releases import RELEASES, SUPPORTED_RELEASES, load_release
from tests.local.asking import CONNECTOR_ID, PING, PUSH, REGISTER, ask, ping, post, push, refusal, register

ABOUT = "query { about { version } }"
CONNECTOR = "query C($id: String!) { connector(id: $id) { name } }"
INFO = {"run_and_terminate": False, "buffering": False, "queue_threshold": 500, "queue_messages_size": 0.5}
BUNDLE = json.dumps({"type": "bundle", "objects": [{"type": "identity", "id": "identity--1"}]})


def test_about_tells_the_version_of_the_release() -> None:
    versions = []
    for release in RELEASES:
        with OpenCTI(release=release) as sink:
            versions.append(ask(sink, ABOUT)["version"])
    assert versions == ["6.2.18", "6.3.13", "6.8.10", "7.260318.0"]


def test_an_unknown_token_must_log_in(sink: OpenCTI) -> None:
    assert refusal(sink, ABOUT, token="guess") == ("AUTH_REQUIRED", "You must be logged in to do this.")
    response = requests.post(f"{sink.url}/graphql", json={"query": ABOUT}, timeout=10)
    assert response.json()["errors"][0]["extensions"]["code"] == "AUTH_REQUIRED"


def test_a_user_without_the_capability_is_forbidden_what_needs_it() -> None:
    tokens = {
        "reader": frozenset({"KNOWLEDGE"}),
        "admin": frozenset({"BYPASS"}),
        TOKEN: frozenset({"CONNECTORAPI"}),
    }
    with OpenCTI(tokens=tokens) as sink:
        register(sink)
        for document, variables in (
            (REGISTER, {"input": {"id": CONNECTOR_ID, "name": "Cluster25", "type": "EXTERNAL_IMPORT"}}),
            (PING, {"id": CONNECTOR_ID}),
            (PUSH, {"id": CONNECTOR_ID, "bundle": BUNDLE}),
            ('mutation { workAdd(connectorId: "x") { id } }', {}),
            ('mutation { workEdit(id: "x") { ping } }', {}),
        ):
            code, message = refusal(sink, document, variables, token="reader")
            assert (code, message) == ("FORBIDDEN_ACCESS", "You are not allowed to do this.")
        assert ask(sink, ABOUT, token="reader")["version"]
        assert refusal(sink, CONNECTOR, {"id": CONNECTOR_ID})[0] == "FORBIDDEN_ACCESS"
        assert ask(sink, CONNECTOR, {"id": CONNECTOR_ID}, token="admin") == {"name": "Cluster25"}


def test_a_user_can_ask_for_its_own_capabilities(sink: OpenCTI) -> None:
    assert ask(sink, "{ me { capabilities { name } } }") == {"capabilities": [{"name": "CONNECTORAPI"}]}


def test_one_unknown_field_refuses_the_whole_document(sink: OpenCTI) -> None:
    document = PING.replace("active", "active invented")
    code, message = refusal(sink, document, {"id": CONNECTOR_ID, "state": "kept?"})
    assert code == "GRAPHQL_VALIDATION_FAILED"
    assert message == 'Cannot query field "invented" on type "Connector".'
    assert sink.connectors.by_id[CONNECTOR_ID].state is None


def test_one_unknown_input_key_refuses_the_whole_request(sink: OpenCTI) -> None:
    settings = {"id": "new", "name": "Cluster25", "type": "EXTERNAL_IMPORT", "slug": "cluster25"}
    code, message = refusal(sink, REGISTER, {"input": settings})
    assert code == "BAD_USER_INPUT"
    assert 'Field "slug" is not defined by type "RegisterConnectorInput"' in message
    assert list(sink.connectors.by_id) == [CONNECTOR_ID]


@pytest.mark.parametrize(
    "wrong",
    [
        {"next_run_datetime": "tomorrow"},
        {"next_run_datetime": "2026-01-01T00:00:00"},
        {"queue_threshold": "500"},
        {"buffering": None},
    ],
    ids=str,
)
def test_values_of_the_wrong_kind_are_refused(sink: OpenCTI, wrong: dict[str, object]) -> None:
    assert refusal(sink, PING, {"id": CONNECTOR_ID, "info": INFO | wrong})[0] == "BAD_USER_INPUT"
    assert sink.connectors.by_id[CONNECTOR_ID].info is None


@pytest.mark.parametrize("release", SUPPORTED_RELEASES)
def test_every_supported_release_takes_the_common_subset(release: str) -> None:
    with OpenCTI(release=release) as sink:
        register(sink)
        assert (
            ping(sink, "{}", INFO | {"next_run_datetime": "2026-01-01T00:00:00Z"})["connector_state"] == "{}"
        )
        assert push(sink, BUNDLE) is True


@pytest.mark.parametrize(
    ("key", "value", "known_from"),
    [
        ("playbook_compatible", False, "6.8.10"),
        ("listen_callback_uri", "http://x", "6.8.10"),
        ("version", "1", None),
        ("slug", "x", None),
    ],
)
def test_input_keys_are_known_from_their_release_on(key: str, value: object, known_from: str | None) -> None:
    settings = {"id": CONNECTOR_ID, "name": "Cluster25", "type": "EXTERNAL_IMPORT", key: value}
    accepting = []
    for release in RELEASES:
        with OpenCTI(release=release) as sink:
            if "errors" not in post(sink, REGISTER, {"input": settings}).json():
                accepting.append(release)
    assert accepting == list(RELEASES[RELEASES.index(known_from) :] if known_from else ())


def test_a_release_that_is_too_old_does_not_know_the_push() -> None:
    with OpenCTI(release="6.2") as sink:
        register(sink)
        code, message = refusal(sink, PUSH, {"id": CONNECTOR_ID, "bundle": BUNDLE})
    assert code == "GRAPHQL_VALIDATION_FAILED"
    assert message == 'Cannot query field "stixBundlePush" on type "Mutation".'


def test_a_body_above_the_limit_is_answered_413_by_a_page() -> None:
    with OpenCTI(body_limit_bytes=2_000) as sink:
        register(sink)
        response = post(sink, PUSH, {"id": CONNECTOR_ID, "bundle": " " * 2_000})
        assert response.status_code == 413
        assert response.headers["Content-Type"] == "text/html"
        assert push(sink, BUNDLE) is True


def test_what_is_no_graphql_is_refused(sink: OpenCTI) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert requests.post(f"{sink.url}/graphql", data=b"{", headers=headers, timeout=10).status_code == 400
    assert requests.post(f"{sink.url}/graphql", json={"q": 1}, headers=headers, timeout=10).status_code == 400
    assert requests.get(f"{sink.url}/graphql", timeout=10).status_code == 404
    assert refusal(sink, "mutation {")[0] == "GRAPHQL_PARSE_FAILED"


def test_a_chunked_body_is_read_like_any_other(sink: OpenCTI) -> None:
    body = json.dumps({"query": ABOUT}).encode()
    pieces = (body[start : start + 7] for start in range(0, len(body), 7))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = requests.post(f"{sink.url}/graphql", data=pieces, headers=headers, timeout=10)
    assert answer.json() == {"data": {"about": {"version": load_release(sink.release).version}}}
