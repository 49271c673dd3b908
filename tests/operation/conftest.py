"""A connector to be operated: between the stand-ins, with state in a file of its own, at real time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster25.clock import SystemClock
from cluster25.connector import Connector
from cluster25.operation.command_line import main
from cluster25.settings import load_settings
from cluster25.state.document import State
from cluster25.state.lease import read_state
from local.cluster25 import Cluster25
from local.feed import Feed
from local.opencti import OpenCTI
from tests.operation.app import App

CONNECTOR_ID = "5a1c6e0d-3f0b-4c57-9d3e-6b1f0a2c4d8e"
CLIENT_SECRET = "canary-client-secret-3Fd"
OPENCTI_TOKEN = "canary-opencti-token-8Hs"
SECRETS = (CLIENT_SECRET, OPENCTI_TOKEN, "eyJ")
"""The last is how each JSON Web Token begins."""

FEED_SIZE = 2_000


@pytest.fixture
def source() -> Iterator[Cluster25]:
    with Cluster25(Feed(size=FEED_SIZE)) as cluster25:
        cluster25.client_secret = CLIENT_SECRET
        yield cluster25


@pytest.fixture
def sink() -> Iterator[OpenCTI]:
    with OpenCTI(keep_bundles=False, tokens={OPENCTI_TOKEN: frozenset({"CONNECTORAPI"})}) as opencti:
        yield opencti


@pytest.fixture
def environment(source: Cluster25, sink: OpenCTI, tmp_path: Path) -> dict[str, str]:
    """The settings, for a process of its own or, through `settings`, for this one."""
    return {
        "OPENCTI_URL": sink.url,
        "OPENCTI_TOKEN": OPENCTI_TOKEN,
        "CONNECTOR_ID": CONNECTOR_ID,
        "CLUSTER25_BASE_URL": source.base_url,
        "CLUSTER25_CLIENT_ID": source.client_id,
        "CLUSTER25_CLIENT_SECRET": CLIENT_SECRET,
        "STATE_SQLITE_PATH": str(tmp_path / "state.db"),
    }


@pytest.fixture
def settings(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> pytest.MonkeyPatch:
    """This process's environment; a test may change it."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@dataclass(frozen=True)
class Said:
    """What a command ended with and printed."""

    code: int
    out: str
    err: str

    @property
    def fields(self) -> dict[str, str]:
        """The lines of the form `name: value`."""
        return dict(line.split(": ", 1) for line in self.out.splitlines() if ": " in line)


Command = Callable[..., Said]


@pytest.fixture
def command(settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Carries out a command line in this process; nothing that it prints may show a secret."""

    def carry_out(*arguments: str) -> Said:
        code = main(arguments)
        printed = capsys.readouterr()
        for secret in SECRETS:
            assert secret not in printed.out + printed.err
        return Said(code, printed.out, printed.err)

    return carry_out


@pytest.fixture
def connector(settings: pytest.MonkeyPatch) -> Connector:
    return Connector.of(load_settings(), SystemClock())


@pytest.fixture
def state(connector: Connector) -> Callable[[], State]:
    """Reads the state as it is stored at that moment."""
    return lambda: read_state(connector.store)


@pytest.fixture
def app(settings: pytest.MonkeyPatch) -> App:
    return App(settings)
