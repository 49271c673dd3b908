"""What is said to OpenCTI, on every release that is supported, and what its answers mean."""

import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from cluster25.clock import Budget, SystemClock, to_rfc3339
from cluster25.errors import (
    BundleTooLargeError,
    ConnectorError,
    ConnectorUnknownError,
    SinkRefusedError,
    SinkUnavailableError,
)
from cluster25.graphql import read_data
from cluster25.opencti import OpenCTI
from cluster25.settings import Settings
from cluster25.stix import escape
from local.loopback import Exchange
from local.opencti import TOKEN
from local.opencti import OpenCTI as Platform
from local.releases import SUPPORTED_RELEASES
from tests.clock import SimulatedClock
from tests.faults.function import drip

CONNECTOR_ID = "5f3a2b1c-9d8e-4f70-8a6b-1c2d3e4f5a6b"
MOMENT = to_rfc3339(datetime(2026, 3, 4, tzinfo=UTC))
INFO = {
    "run_and_terminate": False,
    "buffering": False,
    "queue_threshold": 500.0,
    "queue_messages_size": 0.0,
    "last_run_datetime": MOMENT,
    "next_run_datetime": MOMENT,
}
BUNDLE = '{"type":"bundle","objects":[{"type":"identity","id":"identity--1","name":"Gr\u00fcne \\"V\\""}]}'


@pytest.fixture(params=SUPPORTED_RELEASES)
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    with Platform(release=request.param) as platform:
        yield platform


@pytest.fixture
def budget(clock: SimulatedClock) -> Budget:
    return Budget.of(clock, 60)


def connect(url: str, **settings: Any) -> OpenCTI:
    return OpenCTI(
        Settings(
            opencti_url=url,
            opencti_token=TOKEN,
            connector_id=CONNECTOR_ID,
            cluster25_client_id="client",
            cluster25_client_secret="secret-of-the-opencti-test",
            **settings,
        )
    )


def test_registering_twice_updates_name_and_scope(platform: Platform, budget: Budget) -> None:
    connect(platform.url).register(budget)
    connect(platform.url, connector_name="Another", connector_scope="a, b").register(budget)
    (connector,) = platform.connectors.by_id.values()
    assert connector.settings["name"] == "Another"
    assert connector.settings["scope"] == ["a", "b"]


def test_a_ping_brings_the_state_and_the_size_of_the_queue(platform: Platform, budget: Budget) -> None:
    sink = connect(platform.url)
    sink.register(budget)
    platform.connectors.queue_messages_size_bytes = 12_345
    pong = sink.ping('{"a": 1}', INFO, budget)
    assert (pong.state, pong.queue_bytes) == ('{"a": 1}', 12_345.0)
    assert platform.connectors.by_id[CONNECTOR_ID].info == INFO
    platform.press_reset()
    assert sink.ping('{"a": 1}', INFO, budget).state == ""


def test_a_ping_of_a_connector_that_was_deleted(platform: Platform, budget: Budget) -> None:
    with pytest.raises(ConnectorUnknownError):
        connect(platform.url).ping("{}", INFO, budget)


def test_a_bundle_arrives_as_it_was_and_in_a_work_of_its_own(platform: Platform, budget: Budget) -> None:
    sink = connect(platform.url)
    sink.register(budget)
    sink.push([escape(BUNDLE)], budget)
    platform.run_workers()
    (pushed,) = platform.ingestion.pushed
    assert pushed.bundle == BUNDLE
    (work,) = platform.works.by_id.values()
    assert (work.status, work.expected, work.processed) == ("complete", 1, 1)


@pytest.mark.parametrize("in_error", [True, False])
def test_a_report_is_a_finished_work_with_a_message(
    platform: Platform, budget: Budget, in_error: bool
) -> None:
    sink = connect(platform.url)
    sink.register(budget)
    sink.report("Import failed", "Cluster25 is down.", budget, in_error=in_error)
    (work,) = platform.works.by_id.values()
    assert (work.name, work.status) == ("Import failed", "complete")
    notes = work.errors if in_error else work.messages
    assert [note["message"] for note in notes] == ["Cluster25 is down."]


def test_413_is_an_error_of_its_own(budget: Budget) -> None:
    with Platform(body_limit_bytes=1_000) as platform:
        sink = connect(platform.url)
        sink.register(budget)
        with pytest.raises(BundleTooLargeError, match="413"):
            sink.push([b"x" * 2_000], budget)


def test_every_request_carries_the_token_and_nothing_unasked_for_is_asked(budget: Budget) -> None:
    """pycti's client asks the platform for its health when it is made; every run would pay for that."""
    seen: list[str] = []

    def note(exchange: Exchange) -> bool:
        seen.append(exchange.headers["Authorization"])
        return False

    with Platform() as platform:
        platform.fault = note
        connect(platform.url).register(budget)
    assert seen == [f"Bearer {TOKEN}"]


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def over_tls(authority: trustme.CA) -> Iterator[Platform]:
    """A platform whose certificate a private authority has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Platform() as platform:
        listener = platform._server.socket
        platform._server.socket = context.wrap_socket(listener, server_side=True)
        platform.url = platform.url.replace("http:", "https:")
        yield platform


def test_a_private_authority_is_trusted_when_its_file_is_named(
    over_tls: Platform, authority: trustme.CA, tmp_path: Path, budget: Budget
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    connect(over_tls.url, opencti_ssl_verify=str(tmp_path / "ca.pem")).register(budget)


def test_a_private_authority_is_not_trusted_by_itself(
    over_tls: Platform, budget: Budget, clock: SimulatedClock
) -> None:
    with pytest.raises(SinkRefusedError, match="certificate") as raised:
        connect(over_tls.url).register(budget)
    assert "OPENCTI_SSL_VERIFY" in raised.value.remedy
    assert clock.monotonic() == 0  # another try would see the same certificate


def test_another_authority_is_not_trusted(over_tls: Platform, tmp_path: Path, budget: Budget) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    with pytest.raises(SinkRefusedError, match="certificate"):
        connect(over_tls.url, opencti_ssl_verify=str(tmp_path / "other.pem")).register(budget)


def test_a_certificate_for_another_name_is_not_trusted(
    over_tls: Platform, authority: trustme.CA, tmp_path: Path, budget: Budget
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    named = over_tls.url.replace("127.0.0.1", "localhost")
    with pytest.raises(SinkRefusedError, match="certificate"):
        connect(named, opencti_ssl_verify=str(tmp_path / "ca.pem")).register(budget)


def test_dripping_bytes_end_with_the_budget_over_tls_too(
    over_tls: Platform, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    over_tls.fault = drip(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    started = time.monotonic()
    with pytest.raises(SinkUnavailableError):
        connect(over_tls.url, opencti_ssl_verify=str(tmp_path / "ca.pem")).register(
            Budget.of(SystemClock(), 0.5)
        )
    assert 0.5 <= time.monotonic() - started < 5


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verification_can_be_switched_off(over_tls: Platform, budget: Budget) -> None:
    connect(over_tls.url, opencti_ssl_verify=False).register(budget)


def test_https_to_a_port_that_speaks_plain_http_may_pass(budget: Budget) -> None:
    with Platform() as platform, pytest.raises(SinkUnavailableError, match="TLS"):
        connect(platform.url.replace("http:", "https:")).register(budget)


KEYS = st.sampled_from(["data", "errors", "message", "extensions", "code", "name", "field"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from([200, 400, 404, 422]), st.dictionaries(KEYS, JSON, max_size=3) | JSON)
def test_whatever_json_answers_it_is_data_or_an_error_of_ours(status: int, answer: Any) -> None:
    try:
        data = read_data(status, orjson.dumps(answer), dict[str, Any])
    except ConnectorError as error:
        assert error.what  # noqa: PT017 - data is as good an end
    else:
        assert status == 200
        assert data == answer["data"]
        assert not answer.get("errors")
