"""OpenCTI's connectors: registration, heartbeat, and the state that an operator can reset."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cluster25.clock import Clock, to_rfc3339
from local.refusals import refusal

ALIVE = timedelta(minutes=5)
"""A connector that was seen longer ago than this shows as inactive."""


@dataclass
class Connector:
    """What the platform keeps of a connector."""

    settings: dict[str, Any]
    created_at: datetime
    seen_at: datetime
    state: str | None = None
    state_reset: bool = False
    info: dict[str, Any] | None = None


class Connectors:
    """All connectors, and the depth of the queue, which is the same for each."""

    def __init__(self, clock: Clock) -> None:
        self.by_id: dict[str, Connector] = {}
        self.queue_messages_number = 0
        self.queue_messages_size_bytes = 0
        self._clock = clock

    def register(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Create the connector, or update it; its state stays."""
        now = self._clock.now()
        connector = self.by_id.setdefault(settings["id"], Connector(settings, now, now))
        connector.settings = settings
        connector.seen_at = now
        return self.document(settings["id"])

    def ping(self, connector_id: str, state: str | None, info: dict[str, Any] | None) -> dict[str, Any]:
        """Note that it is alive. After a reset the sent state is ignored and `''` answered, once."""
        connector = self.find(connector_id)
        connector.seen_at = self._clock.now()
        if connector.state_reset:
            connector.state_reset = False
        else:
            connector.state = state
        if info is not None:
            connector.info = info
        return self.document(connector_id)

    def reset(self) -> None:
        """What the button *Reset the connector state* does, on every connector: empty state and queue."""
        for connector in self.by_id.values():
            connector.state = ""
            connector.state_reset = True
        self.queue_messages_number = self.queue_messages_size_bytes = 0

    def find(self, connector_id: str) -> Connector:
        """The connector. Raises the platform's error if there is none."""
        connector = self.by_id.get(connector_id)
        if connector is None:
            raise refusal("FUNCTIONAL_ERROR", "No connector found with the specified ID", id=connector_id)
        return connector

    def document(self, connector_id: str) -> dict[str, Any]:
        """The connector in the fields of the GraphQL type."""
        connector = self.find(connector_id)
        return {
            **connector.settings,
            "active": self._clock.now() - connector.seen_at < ALIVE,
            "connector_type": connector.settings["type"],
            "connector_scope": connector.settings.get("scope") or [],
            "connector_state": connector.state,
            "connector_state_reset": connector.state_reset,
            "connector_user_id": "88ec0c6a-13ce-5e39-b486-354fe4a7084f",
            "connector_info": connector.info,
            "connector_queue_details": {
                "messages_number": self.queue_messages_number,
                "messages_size": self.queue_messages_size_bytes,
            },
            "created_at": to_rfc3339(connector.created_at),
            "updated_at": to_rfc3339(connector.seen_at),
            "config": _config(connector_id),
            "built_in": False,
            "jwks": '{"keys":[]}',
        }


def _config(connector_id: str) -> dict[str, Any]:
    """Where a connector that speaks to the queue and the object store itself would find them."""
    return {
        "connection": {
            "host": "rabbitmq",
            "vhost": "/",
            "use_ssl": False,
            "port": 5672,
            "user": "opencti",
            "pass": "not-real",
        },
        "s3": {
            "endpoint": "minio",
            "port": 9000,
            "use_ssl": False,
            "bucket_name": "opencti-bucket",
            "bucket_region": "us-east-1",
            "access_key": "not-real",
            "secret_key": "not-real",
        },
        "listen": f"listen_{connector_id}",
        "listen_routing": f"listen_routing_{connector_id}",
        "listen_exchange": "amqp.connector.exchange",
        "push": f"push_{connector_id}",
        "push_routing": f"push_routing_{connector_id}",
        "push_exchange": "amqp.worker.exchange",
    }
