"""A stand-in OpenCTI: GraphQL over HTTP with the rules of the real platform, in the part of one release."""

import os
from collections.abc import Mapping
from threading import RLock

from cluster25.clock import Clock, SystemClock
from local.connectors import Connectors
from local.ingestion import Ingestion, parse_json
from local.judgement import Judgement, judge_bundles, split_bundle
from local.loopback import Exchange, Loopback
from local.releases import Question, load_release
from local.resolvers import Resolvers
from local.works import Works

TOKEN = "2d6c0f4e-9b1a-4c57-8e03-a6f5d7b91c48"
BODY_LIMIT_BYTES = 50_000_000
"""The platform's default for `app:max_payload_body_size`."""


class OpenCTI(Loopback):
    """One platform with its connectors, works and ingestion queue, at `url`.

    `tokens` maps each known token to the capabilities of its user; by default only `TOKEN`, a connector's.
    `release` is one of `RELEASES`, by default what OPENCTI_RELEASE names, or the newest; without
    `keep_bundles` nothing can be judged; `port` 0 takes any free one.
    `ingestion` tells what was received, `works` the imports; `connectors` has the queue's depth to set.
    """

    def __init__(
        self,
        *,
        release: str | None = None,
        tokens: Mapping[str, frozenset[str]] | None = None,
        clock: Clock | None = None,
        body_limit_bytes: int = BODY_LIMIT_BYTES,
        keep_bundles: bool = True,
        port: int = 0,
    ) -> None:
        super().__init__(port)
        self.tokens = dict(tokens or {TOKEN: frozenset({"CONNECTORAPI"})})
        self.body_limit_bytes = body_limit_bytes
        clock = clock or SystemClock()
        self.connectors = Connectors(clock)
        self.works = Works(clock)
        self.ingestion = Ingestion(keep_bundles=keep_bundles)
        self.release = release or os.environ.get("OPENCTI_RELEASE", "7.26")
        self._release = load_release(self.release)
        self._resolvers = Resolvers(self._release.version, self.connectors, self.works, self.ingestion)
        self._lock = RLock()

    def press_reset(self) -> None:
        """Do what the button *Reset the connector state* does: empty the state, and purge the queue."""
        with self._lock:
            self.connectors.reset()
            self.ingestion.waiting.clear()

    def delete_connector(self, connector_id: str) -> None:
        """Do what the button *Delete* does."""
        with self._lock:
            del self.connectors.by_id[connector_id]

    def run_workers(self) -> None:
        """Let the workers import what waits: split it, tell the work what to expect, report each object."""
        with self._lock:
            while self.ingestion.waiting:
                pushed = self.ingestion.waiting.popleft()
                bundle = parse_json(pushed.bundle)
                expectations = 1
                if len(bundle["objects"]) > 1:
                    expectations, _ = split_bundle(bundle)
                    self.works.expect(pushed.work_id, expectations)
                for _ in range(expectations):
                    self.works.report(pushed.work_id)

    def judge(self) -> Judgement:
        """What the workers would make of every bundle received so far; half a second per 10,000 objects."""
        with self._lock:
            pushed = list(self.ingestion.pushed)
        return judge_bundles(parse_json(each.bundle) for each in pushed)

    def respond(self, exchange: Exchange) -> None:
        """Answer `POST /graphql`: 413 for a body above the limit, else 200 with data or errors in it."""
        if (exchange.command, exchange.path) != ("POST", "/graphql"):
            _answer_page(exchange, 404, "Not Found")
            return
        body = exchange.body()
        if len(body) > self.body_limit_bytes:
            _answer_page(exchange, 413, "Request Entity Too Large")
            return
        try:
            question = Question.read(parse_json(body))
        except ValueError as error:
            exchange.answer_json(
                400, {"errors": [{"message": str(error), "extensions": {"code": "BAD_REQUEST"}}]}
            )
            return
        scheme, _, token = exchange.headers.get("Authorization", "").partition(" ")
        capabilities = self.tokens.get(token) if scheme == "Bearer" else None
        with self._lock:
            answer = self._release.answer(question, self._resolvers.fields(capabilities, len(body)))
        exchange.answer_json(200, answer)


def _answer_page(exchange: Exchange, status: int, title: str) -> None:
    page = f"<html><head><title>{status} {title}</title></head><body><h1>{status} {title}</h1></body></html>"
    exchange.answer(status, page.encode(), {"Content-Type": "text/html"})
