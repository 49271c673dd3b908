"""What the GraphQL fields of the stand-in OpenCTI do, and who may have them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from graphql import GraphQLResolveInfo

from local.connectors import Connectors
from local.ingestion import Ingestion, Pushed, parse_json
from local.refusals import refusal
from local.works import Works

Arguments = dict[str, Any]
Field = Callable[..., Any]

_CAPABILITY_OF = {
    "about": None,
    "me": None,
    "work": None,
    "connector": "MODULES",
    "registerConnector": "CONNECTORAPI",
    "pingConnector": "CONNECTORAPI",
    "stixBundlePush": "CONNECTORAPI",
    "workAdd": "CONNECTORAPI",
    "workEdit": "CONNECTORAPI",
}
"""What a user needs to have a field; None: being a user is enough."""


class Resolvers:
    """The fields of Query and Mutation over the platform's connectors, works and ingestion queue.

    `version` is what `about` tells.
    """

    def __init__(self, version: str, connectors: Connectors, works: Works, ingestion: Ingestion) -> None:
        self._version = version
        self._connectors = connectors
        self._works = works
        self._ingestion = ingestion

    def fields(self, capabilities: frozenset[str] | None, body_bytes: int) -> dict[str, Field]:
        """The root value for a request of that size, by a user with these capabilities or (None) nobody."""
        resolve_of: dict[str, Callable[[Arguments], Any]] = {
            "about": lambda _: {"version": self._version},
            "me": lambda _: _user(capabilities or frozenset()),
            "connector": lambda asked: self._connectors.document(asked["id"]),
            "work": self._work,
            "registerConnector": lambda asked: self._connectors.register(asked["input"]),
            "pingConnector": lambda asked: self._connectors.ping(
                asked["id"], asked.get("state"), asked.get("connectorInfo")
            ),
            "stixBundlePush": partial(self._push, body_bytes),
            "workAdd": self._add_work,
            "workEdit": self._edit_work,
        }
        return {name: partial(_guarded, name, capabilities, resolve) for name, resolve in resolve_of.items()}

    def _push(self, body_bytes: int, asked: Arguments) -> bool:
        try:
            bundle = parse_json(asked["bundle"])
            objects = bundle["objects"] if bundle["type"] == "bundle" else []
        except (ValueError, TypeError, KeyError):
            objects = []
        # The platform has the same words for a bundle it cannot use and for a connector it does not know.
        connector = self._connectors.by_id.get(asked["connectorId"])
        if not objects or connector is None:
            raise refusal("UNSUPPORTED_ERROR", "Invalid bundle")
        work_id = asked.get("work_id")
        if not work_id:
            work_id = self._works.open(asked["connectorId"], connector.settings["name"], None).id
            self._works.receive(work_id)
            if len(objects) == 1:
                self._works.expect(work_id, 1)  # of larger bundles the workers tell what to expect
        self._ingestion.accept(Pushed(work_id, asked["bundle"]), objects, body_bytes)
        return True

    def _work(self, asked: Arguments) -> dict[str, Any] | None:
        work = self._works.by_id.get(asked["id"])
        return work.document() if work else None

    def _add_work(self, asked: Arguments) -> dict[str, Any]:
        connector = self._connectors.find(asked["connectorId"])
        work = self._works.open(asked["connectorId"], connector.settings["name"], asked.get("friendlyName"))
        return work.document()

    def _edit_work(self, asked: Arguments) -> dict[str, Field]:
        """The fields of WorkEditMutations; each answers the work's id."""
        work_id: str = asked["id"]

        def edit(change: Callable[[Arguments], None]) -> Field:
            def resolve(_: GraphQLResolveInfo, **asked: Any) -> str:
                change(asked)
                return work_id

            return resolve

        return {
            "toReceived": edit(lambda asked: self._works.receive(work_id, asked.get("message"))),
            "toProcessed": edit(
                lambda asked: self._works.process(
                    work_id, asked.get("message"), in_error=bool(asked.get("inError"))
                )
            ),
            "addExpectations": edit(lambda asked: self._expect(work_id, asked.get("expectations") or 0)),
            "reportExpectation": edit(
                lambda asked: self._works.report(work_id, (asked.get("error") or {}).get("error"))
            ),
            "delete": edit(lambda _: self._works.delete(work_id)),
            "ping": edit(lambda _: None),
        }

    def _expect(self, work_id: str, number: int) -> None:
        if not self._works.expect(work_id, number):
            raise refusal("WORK_NOT_ALIVE", "This work does not exist")


def _guarded(
    name: str,
    capabilities: frozenset[str] | None,
    resolve: Callable[[Arguments], Any],
    _: GraphQLResolveInfo,
    **asked: Any,
) -> Any:
    """Resolve a field if the user may have it; `BYPASS` is what administrators have."""
    if capabilities is None:
        raise refusal("AUTH_REQUIRED", "You must be logged in to do this.")
    needed = _CAPABILITY_OF[name]
    if needed and not capabilities & {needed, "BYPASS"}:
        raise refusal("FORBIDDEN_ACCESS", "You are not allowed to do this.")
    return resolve(asked)


def _user(capabilities: frozenset[str]) -> dict[str, Any]:
    return {
        "id": "88ec0c6a-13ce-5e39-b486-354fe4a7084f",
        "name": "[C] Cluster25",
        "capabilities": [{"name": name} for name in sorted(capabilities)],
    }
