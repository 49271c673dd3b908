"""The world around the connector: a feed, both stand-ins, one clock for all, and runs in this process."""

from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from uuid import uuid4

from cluster25.client import Cluster25Client
from cluster25.opencti import OpenCTI as Sink
from cluster25.run import RunRequest, RunResult
from cluster25.settings import Settings
from cluster25.state.document import State
from cluster25.state.lease import read_state
from cluster25.state.ledger import digest_of
from cluster25.state.sqlite import SqliteStore
from cluster25.state.store import Store
from cluster25.sync import Sync
from local.cluster25 import CLIENT_ID, CLIENT_SECRET, Cluster25
from local.feed import Feed
from local.indicators import stix_time
from local.ingestion import Version, is_companion
from local.opencti import TOKEN, OpenCTI
from tests.clock import SimulatedClock
from tests.faults.mortal import Fuse, Mortal

OVERLAP = timedelta(seconds=900)
CALL = RunRequest("call")
CONNECTOR_ID = "5a1c6e0d-3f0b-4c57-9d3e-6b1f0a2c4d8e"


def environment_of(source: Cluster25, sink: OpenCTI, **settings: object) -> dict[str, str]:
    """The settings of a new connector between the two, as environment variables."""
    return {
        "OPENCTI_URL": sink.url,
        "OPENCTI_TOKEN": TOKEN,
        "CONNECTOR_ID": str(uuid4()),
        "CONNECTOR_LOG_LEVEL": "error",
        "CLUSTER25_BASE_URL": source.base_url,
        "CLUSTER25_CLIENT_ID": CLIENT_ID,
        "CLUSTER25_CLIENT_SECRET": CLIENT_SECRET,
        **{name.upper(): str(value) for name, value in settings.items()},
    }


def offered_by(feed: Feed) -> set[Version]:
    """Every object of the feed, companions apart."""
    entries = [entry for entry in feed.objects() if isinstance(entry, dict)]
    return {(entry["id"], entry.get("modified")) for entry in entries if not is_companion(entry["id"])}


def received_by(sink: OpenCTI) -> set[Version]:
    """Every object that was pushed, companions apart."""
    return {version for version in sink.ingestion.received if not is_companion(version[0])}


class World:
    """To be entered. `arrived_at`: what the feed offers now, since when; `version_of`: all it ever did."""

    def __init__(self, folder: Path, clock: SimulatedClock, **settings: object) -> None:
        self.clock = clock
        self.feed = Feed(now=clock.now())
        self.source = Cluster25(self.feed, clock=clock)
        self.sink = OpenCTI(clock=clock, keep_bundles=False)
        self.arrived_at: dict[Version, datetime] = {}
        self.version_of: dict[bytes, Version] = {}
        self._newest: dict[int, Version] = {}
        self.configure(state_sqlite_path=folder / "state.db", **settings)
        self.store: Store = SqliteStore(self.settings.state_sqlite_path, str(self.settings.connector_id))

    def __enter__(self) -> Self:
        self.source.__enter__()
        self.sink.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.__exit__(kind, error, trace)
        self.sink.__exit__(kind, error, trace)

    def configure(self, **settings: object) -> None:
        """The settings of the next runs; those not named are the defaults."""
        environment = environment_of(self.source, self.sink, connector_id=CONNECTOR_ID, **settings)
        values: dict[str, Any] = {name.lower(): value for name, value in environment.items()}
        self.settings = Settings(**values)
        self.restart()

    def restart(self) -> None:
        """What a new process would have: no token, no connection."""
        self._client = Cluster25Client(
            self.settings.cluster25_base_url,
            self.settings.cluster25_client_id,
            self.settings.cluster25_client_secret,
        )

    def arrive(self, number: int = 1, *, late_seconds: float = 0.0) -> None:
        """So many new indicators appear, modified that long ago."""
        for _ in range(number):
            self._appear(self.known, late_seconds)

    def change(self, number: int, *, late_seconds: float = 0.0) -> None:
        """A newer version of a known indicator appears, unless it has been modified later already."""
        modified = self.clock.now() - timedelta(seconds=late_seconds)
        if stix_time(modified) > str(self._newest[number][1]):
            self._appear(number, late_seconds)

    @property
    def known(self) -> int:
        """How many indicators there are."""
        return len(self._newest)

    def run(self, *, life: Fuse | None = None, state: Fuse | None = None) -> RunResult:
        """One run in this process. `life` burns with calls of the store and OpenCTI, `state` of the store."""
        store, sink = self.store, Sink(self.settings)
        for fuse in (life, state):
            store = cast("Store", Mortal(store, fuse)) if fuse else store
        sink = cast("Sink", Mortal(sink, life)) if life else sink
        return Sync(self.settings, self._client, sink, store, self.clock).run(uuid4().hex, CALL)

    def state(self) -> State:
        """The state as it is stored."""
        return read_state(self.store)

    def _appear(self, number: int, late_seconds: float) -> None:
        entry = self.feed.indicator(number, self.clock.now() - timedelta(seconds=late_seconds))
        version = entry["id"], entry["modified"]
        if number in self._newest:
            del self.arrived_at[self._newest[number]]
        self._newest[number] = version
        self.version_of[digest_of(*version)] = version
        self.feed.add(entry)
        self.arrived_at[version] = self.clock.now()
