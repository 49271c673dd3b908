"""Asking the stand-in OpenCTI over real HTTP, as any GraphQL client would."""

from typing import Any

import requests

from local.opencti import TOKEN, OpenCTI

CONNECTOR_ID = "5f3a2b1c-9d8e-4f70-8a6b-1c2d3e4f5a6b"
REGISTER = (
    "mutation R($input: RegisterConnectorInput) { registerConnector(input: $input) { id connector_state } }"
)
PING = """mutation P($id: ID!, $state: String, $info: ConnectorInfoInput) {
  pingConnector(id: $id, state: $state, connectorInfo: $info) {
    connector_state connector_state_reset active
    connector_info { buffering queue_threshold next_run_datetime }
    connector_queue_details { messages_number messages_size }
  } }"""
PUSH = """mutation B($id: String!, $bundle: String!, $work: String) {
  stixBundlePush(connectorId: $id, bundle: $bundle, work_id: $work) }"""
ADD_WORK = "mutation A($id: String!, $name: String) { workAdd(connectorId: $id, friendlyName: $name) { id } }"
WORK = """query W($id: ID!) { work(id: $id) {
  name status errors { message } tracking { import_expected_number import_processed_number } } }"""


def post(
    sink: OpenCTI, document: str, variables: dict[str, Any] | None = None, token: str = TOKEN
) -> requests.Response:
    return requests.post(
        f"{sink.url}/graphql",
        json={"query": document, "variables": variables},
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )


def ask(sink: OpenCTI, document: str, variables: dict[str, Any] | None = None, token: str = TOKEN) -> Any:
    """The data of an answer that must have no errors; of several fields the only one."""
    answer = post(sink, document, variables, token).json()
    assert "errors" not in answer, answer
    (value,) = answer["data"].values()
    return value


def refusal(
    sink: OpenCTI, document: str, variables: dict[str, Any] | None = None, token: str = TOKEN
) -> tuple[str, str]:
    """Code and message of an answer that must be a refusal, which OpenCTI gives with HTTP 200."""
    response = post(sink, document, variables, token)
    assert response.status_code == 200
    error = response.json()["errors"][0]
    return error["extensions"]["code"], error["message"]


def register(sink: OpenCTI) -> None:
    settings = {"id": CONNECTOR_ID, "name": "Cluster25", "type": "EXTERNAL_IMPORT", "scope": ["cluster25"]}
    ask(sink, REGISTER, {"input": settings})


def ping(sink: OpenCTI, state: str | None = None, info: dict[str, Any] | None = None) -> Any:
    return ask(sink, PING, {"id": CONNECTOR_ID, "state": state, "info": info})


def push(sink: OpenCTI, bundle: str, work: str | None = None) -> Any:
    return ask(sink, PUSH, {"id": CONNECTOR_ID, "bundle": bundle, "work": work})
