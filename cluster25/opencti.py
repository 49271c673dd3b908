"""OpenCTI, the sink: register, ping, push. Only documents that every platform release from 6.3 on accepts.

pycti's own `connector.register` and `work.initiate_work` ask for fields that only the platform release of the
same date knows, and `query` loses the status of a refusal; so pycti gives the client (headers, proxies, TLS)
and the documents here are ours: the subset that the schemas of 6.8.10 and 7.260318 share.
"""

import logging
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import msgspec
import orjson

from cluster25.clock import Budget
from cluster25.errors import BundleTooLargeError, SinkRefusedError, SinkUnavailableError
from cluster25.graphql import ROLE_REMEDY, read_data
from cluster25.pycti_parts import OpenCTIApiClient
from cluster25.redaction import excerpt
from cluster25.settings import Settings
from cluster25.transport import Body, Peer

log = logging.getLogger(__name__)

ABOUT = "query About { about { version } }"
ME = "query Me { me { capabilities { name } } }"
REGISTER = """mutation Register($input: RegisterConnectorInput) {
  registerConnector(input: $input) { connector_state }
}"""
PING = """mutation Ping($id: ID!, $state: String, $info: ConnectorInfoInput) {
  pingConnector(id: $id, state: $state, connectorInfo: $info) {
    connector_state
    connector_queue_details { messages_size }
  }
}"""
PUSH = "mutation Push($id: String!, $bundle: String!) { stixBundlePush(connectorId: $id, bundle: $bundle) }"
ADD_WORK = (
    "mutation AddWork($id: String!, $name: String) { workAdd(connectorId: $id, friendlyName: $name) { id } }"
)
END_WORK = """mutation EndWork($id: ID!, $message: String, $inError: Boolean) {
  workEdit(id: $id) { toProcessed(message: $message, inError: $inError) }
}"""

T = TypeVar("T")


class _Version(msgspec.Struct):
    version: str


class _About(msgspec.Struct):
    about: _Version


class _Capability(msgspec.Struct):
    name: str


class _User(msgspec.Struct):
    capabilities: list[_Capability]


class _Me(msgspec.Struct):
    me: _User


class _Queue(msgspec.Struct):
    messages_size: float | None = None


class _Connector(msgspec.Struct):
    connector_state: str | None = None
    connector_queue_details: _Queue | None = None


class _Registered(msgspec.Struct):
    connector: _Connector = msgspec.field(name="registerConnector")


class _Pinged(msgspec.Struct):
    connector: _Connector = msgspec.field(name="pingConnector")


class _Pushed(msgspec.Struct):
    accepted: bool | None = msgspec.field(name="stixBundlePush")


class _Work(msgspec.Struct):
    id: str


class _WorkAdded(msgspec.Struct):
    work: _Work = msgspec.field(name="workAdd")


class _WorkEnded(msgspec.Struct):
    work: dict[str, Any] = msgspec.field(name="workEdit")


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

    def version(self, budget: Budget) -> str:
        """The platform's release, such as `6.8.10`."""
        return self._query(ABOUT, {}, _About, budget).about.version

    def capabilities(self, budget: Budget) -> frozenset[str]:
        """The names of what the token's user may do, where the release tells."""
        return frozenset(each.name for each in self._query(ME, {}, _Me, budget).me.capabilities)

    def register(self, budget: Budget) -> None:
        """Create the connector and its queue, or update its name and scope."""
        self._post(self._registration(), _Registered, budget)
        log.info("registered %s at OpenCTI", self._settings.connector_name)

    def ping(self, state: str, info: dict[str, Any], budget: Budget) -> Pong:
        """The heartbeat, with a `ConnectorInfoInput`. Raises `ConnectorUnknownError` when unregistered."""
        variables = {"id": str(self._settings.connector_id), "state": state, "info": info}
        body = orjson.dumps({"query": PING, "variables": variables})
        tries, was_reset = count(), False

        def attempt() -> Pong:
            nonlocal was_reset
            # The platform forgets that its reset button was pressed when it answers a ping. If that answer
            # was lost, the state it holds is still the empty one: look before it is overwritten.
            if next(tries) > 0:
                held = self._post_once(self._registration(), _Registered, budget).connector
                was_reset = was_reset or held.connector_state == ""
            connector = self._post_once(body, _Pinged, budget).connector
            queue = connector.connector_queue_details or _Queue()
            return Pong("" if was_reset else connector.connector_state, queue.messages_size or 0.0)

        with self._peer.bounded(budget):
            return self._peer.retry(budget, attempt)

    def push(self, escaped_bundle: list[bytes], budget: Budget) -> None:
        """Put a bundle into the ingestion queue; when this returns, OpenCTI has accepted it.

        `escaped_bundle` is the bundle's JSON in parts, escaped to stand inside a JSON string. No work is
        named: the platform makes one itself, and only then are its counters right. Raises
        `BundleTooLargeError` for 413.
        """
        query, connector_id = orjson.dumps(PUSH), orjson.dumps(str(self._settings.connector_id))
        start = b'{"query":%b,"variables":{"id":%b,"bundle":"' % (query, connector_id)
        body = Body([start, *escaped_bundle, b'"}}'])
        if not self._post(body, _Pushed, budget).accepted:
            raise SinkUnavailableError(
                "OpenCTI answered a push without an error, but did not accept it.",
                "Nothing is lost; the next run sends it again. If it lasts, read the platform's own log.",
            )

    def report(self, name: str, message: str, budget: Budget, *, in_error: bool) -> None:
        """Leave a finished work of that name with a message, which the connector's page shows."""
        adding = {"id": str(self._settings.connector_id), "name": name}
        work = self._query(ADD_WORK, adding, _WorkAdded, budget).work
        ending = {"id": work.id, "message": message, "inError": in_error}
        self._query(END_WORK, ending, _WorkEnded, budget)

    def _registration(self) -> bytes:
        connector = {
            "id": str(self._settings.connector_id),
            "name": self._settings.connector_name,
            "type": "EXTERNAL_IMPORT",
            "scope": [scope.strip() for scope in self._settings.connector_scope.split(",")],
        }
        return orjson.dumps({"query": REGISTER, "variables": {"input": connector}})

    def _query(self, document: str, variables: dict[str, Any], answers: type[T], budget: Budget) -> T:
        return self._post(orjson.dumps({"query": document, "variables": variables}), answers, budget)

    def _post(self, body: bytes | Body, answers: type[T], budget: Budget) -> T:
        with self._peer.bounded(budget):
            return self._peer.retry(budget, lambda: self._post_once(body, answers, budget))

    def _post_once(self, body: bytes | Body, answers: type[T], budget: Budget) -> T:
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
        return read_data(status, answer, answers)
