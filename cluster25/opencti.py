"""OpenCTI, the sink: register, ping, push. Only documents that every platform release from 6.3 on accepts.

pycti's own `connector.register` and `work.initiate_work` ask for fields that only the platform release of the
same date knows, and `query` loses the status of a refusal; so pycti gives the client (headers, proxies, TLS)
and the documents here are ours: the subset that the schemas of 6.8.10 and 7.260318 share.
"""

import logging
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import orjson
from pycti import OpenCTIApiClient

from cluster25.clock import Budget
from cluster25.errors import (
    BundleTooLargeError,
    ConnectorError,
    ConnectorUnknownError,
    SinkRefusedError,
    SinkUnavailableError,
)
from cluster25.settings import Settings
from cluster25.transport import Peer, excerpt

log = logging.getLogger(__name__)

REGISTER = "mutation Register($input: RegisterConnectorInput) { registerConnector(input: $input) { id } }"
PING = """mutation Ping($id: ID!, $state: String, $info: ConnectorInfoInput) {
  pingConnector(id: $id, state: $state, connectorInfo: $info) {
    connector_state
    connector_queue_details { messages_size }
  }
}"""
WORK_ADD = (
    "mutation Add($id: String!, $name: String) { workAdd(connectorId: $id, friendlyName: $name) { id } }"
)
WORK_END = """mutation End($id: ID!, $message: String, $inError: Boolean) {
  workEdit(id: $id) { toProcessed(message: $message, inError: $inError) }
}"""
PUSH = "mutation Push($id: String!, $bundle: String!) { stixBundlePush(connectorId: $id, bundle: $bundle) }"

ROLE_REMEDY = (
    "Check OPENCTI_TOKEN: its user needs the capability CONNECTORAPI, best by a user of its own in the group "
    "Connectors, with the role Connector."
)
RELEASE_REMEDY = (
    "The platform is older than release 6.3, or newer than this connector knows: upgrade the one or other."
)
LOG_REMEDY = "Read the platform's own log for the reason."
REFUSALS = {
    "AUTH_FAILURE": ROLE_REMEDY,
    "AUTH_REQUIRED": ROLE_REMEDY,
    "FORBIDDEN": ROLE_REMEDY,
    "FORBIDDEN_ACCESS": ROLE_REMEDY,
    "LTS_REQUIRED_ACTIVATION": "The platform's licence must be activated in its settings.",
    "OTP_REQUIRED": ROLE_REMEDY,
    "OTP_REQUIRED_ACTIVATION": ROLE_REMEDY,
    "PASSWORD_CHANGE_REQUIRED": "The user of OPENCTI_TOKEN must change its password in the platform.",
    "BAD_REQUEST": RELEASE_REMEDY,
    "BAD_USER_INPUT": RELEASE_REMEDY,
    "GRAPHQL_PARSE_FAILED": RELEASE_REMEDY,
    "GRAPHQL_VALIDATION_FAILED": RELEASE_REMEDY,
    "FUNCTIONAL_ERROR": LOG_REMEDY,
}
"""GraphQL error codes that the next run would meet again, and what to do about each."""

T = TypeVar("T")


class _Queue(msgspec.Struct):
    messages_size: float | None = None


class _Connector(msgspec.Struct):
    connector_state: str | None = None
    connector_queue_details: _Queue | None = None


class _Registered(msgspec.Struct):
    connector: dict[str, Any] = msgspec.field(name="registerConnector")


class _Pinged(msgspec.Struct):
    connector: _Connector = msgspec.field(name="pingConnector")


class _Pushed(msgspec.Struct):
    accepted: bool | None = msgspec.field(name="stixBundlePush")


@dataclass(frozen=True)
class Pong:
    """What the platform answers to a ping: the state it now holds, and the size of the connector's queue."""

    state: str | None
    queue_bytes: float


class OpenCTI:
    """The platform, on behalf of one connector.

    Every method raises `SinkUnavailableError` or `SinkRefusedError`. Errors come with HTTP 200 and an
    `errors` list, with 400 for documents it does not understand, or from a proxy in front of it.
    """

    def __init__(self, settings: Settings) -> None:
        verify = settings.opencti_ssl_verify
        self._client = OpenCTIApiClient(
            settings.opencti_url,
            settings.opencti_token.get_secret_value(),
            log_level=settings.connector_log_level,
            ssl_verify=verify if isinstance(verify, bool) else str(verify),
            perform_health_check=False,
        )
        self._settings = settings
        self._peer = Peer(
            "OpenCTI",
            "OPENCTI_URL",
            self._client.session,
            unavailable=SinkUnavailableError,
            refused=SinkRefusedError,
        )

    def register(self, budget: Budget) -> None:
        """Create the connector and its queue, or update its name and scope."""
        connector = {
            "id": str(self._settings.connector_id),
            "name": self._settings.connector_name,
            "type": "EXTERNAL_IMPORT",
            "scope": [scope.strip() for scope in self._settings.connector_scope.split(",")],
        }
        self._query(REGISTER, {"input": connector}, _Registered, budget)
        log.info("registered %s at OpenCTI", self._settings.connector_name)

    def ping(self, state: str, info: dict[str, Any], budget: Budget) -> Pong:
        """The heartbeat, with a `ConnectorInfoInput`. Raises `ConnectorUnknownError` when unregistered."""
        variables = {"id": str(self._settings.connector_id), "state": state, "info": info}
        connector = self._query(PING, variables, _Pinged, budget).connector
        queue = connector.connector_queue_details or _Queue()
        return Pong(connector.connector_state, queue.messages_size or 0.0)

    def push(self, escaped_bundle: bytes, budget: Budget) -> None:
        """Put a bundle into the ingestion queue; when this returns, OpenCTI has accepted it.

        `escaped_bundle` is the bundle's JSON, escaped to stand inside a JSON string. No work is named: the
        platform makes one itself, and only then are its counters right. Raises `BundleTooLargeError` for 413.
        """
        body = b"".join(
            (
                b'{"query":',
                orjson.dumps(PUSH),
                b',"variables":{"id":',
                orjson.dumps(str(self._settings.connector_id)),
                b',"bundle":"',
                escaped_bundle,
                b'"}}',
            )
        )
        if not self._post(body, _Pushed, budget).accepted:
            raise SinkUnavailableError(
                "OpenCTI answered a push without an error, but did not accept it.",
                "Nothing is lost; the next run sends it again. If it lasts, read the platform's own log.",
            )

    def _query(self, document: str, variables: dict[str, Any], answers: type[T], budget: Budget) -> T:
        return self._post(orjson.dumps({"query": document, "variables": variables}), answers, budget)

    def _post(self, body: bytes, answers: type[T], budget: Budget) -> T:
        with self._peer.bounded(budget):
            return self._peer.retry(budget, lambda: self._post_once(body, answers, budget))

    def _post_once(self, body: bytes, answers: type[T], budget: Budget) -> T:
        response = self._peer.send(
            "POST",
            self._client.api_url,
            budget,
            data=body,
            headers={**self._client.request_headers, "Content-Type": "application/json"},
            verify=self._client.ssl_verify,
        )
        status, answer = response.status_code, self._peer.read(response)
        if status == 413:
            raise BundleTooLargeError(
                f"OpenCTI, or a proxy before it, refused a body of {len(body)} bytes as too large (413).",
                "Lower CLUSTER25_CHUNK_BYTES, or raise app:max_payload_body_size or the proxy's limit.",
            )
        if status in (401, 403):
            raise SinkRefusedError(f"OpenCTI answered {status}: {excerpt(answer)}", ROLE_REMEDY)
        data = _data(status, answer)
        try:
            return msgspec.convert(data, answers)
        except msgspec.ValidationError as error:
            raise _not_graphql(status, answer) from error


def _data(status: int, answer: bytes) -> dict[str, Any]:
    """The `data` of a GraphQL answer. Raises the error it carries instead."""
    try:
        content = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        if status != 200:
            raise _not_graphql(status, answer) from error
        raise SinkUnavailableError(
            f"OpenCTI's answer is no JSON, or was cut short: {excerpt(answer)}",
            "Nothing is lost; the next run goes on. If it lasts, check OPENCTI_URL and proxies.",
        ) from error
    if not isinstance(content, dict):
        raise _not_graphql(status, answer)
    if errors := content.get("errors"):
        raise _graphql_error(status, errors[0] if isinstance(errors, list) else errors)
    data = content.get("data")
    if status != 200 or not isinstance(data, dict):
        raise _not_graphql(status, answer)
    return data


def _not_graphql(status: int, answer: bytes) -> SinkRefusedError:
    return SinkRefusedError(
        f"OpenCTI answered {status} with something that is no GraphQL answer: {excerpt(answer)}",
        "Check OPENCTI_URL: it is the platform's address without /graphql.",
    )


def _graphql_error(status: int, error: Any) -> ConnectorError:
    error = error if isinstance(error, dict) else {"message": str(error)}
    message = excerpt(str(error.get("message", "")).encode())
    extensions = error.get("extensions")
    code = str((extensions.get("code") if isinstance(extensions, dict) else None) or error.get("name") or "")
    if "No connector found" in message:
        return ConnectorUnknownError(
            "OpenCTI knows no connector with this CONNECTOR_ID.", "It is registered again."
        )
    if code in REFUSALS or status != 200:
        return SinkRefusedError(
            f"OpenCTI refused the request ({code or status}): {message}", REFUSALS.get(code, LOG_REMEDY)
        )
    return SinkUnavailableError(
        f"OpenCTI reported an error ({code or 'without a code'}): {message}",
        "Nothing is lost; the next run goes on. If it lasts, read the platform's own log.",
    )
