"""pycti's own calls against each release: what the real schemas take and refuse."""

from collections.abc import Callable, Iterator
from typing import Any

import pycti
import pytest
from pycti import OpenCTIApiClient, OpenCTIConnector

from local.opencti import TOKEN, OpenCTI
from tests.local.asking import ADD_WORK, CONNECTOR_ID, ask, register

BUNDLE = '{"type": "bundle", "objects": [{"type": "identity", "id": "identity--1"}]}'
INFO = {
    "run_and_terminate": False,
    "buffering": False,
    "queue_threshold": 500.0,
    "queue_messages_size": 0.0,
    "next_run_datetime": "2026-01-01T00:10:00+00:00",
    "last_run_datetime": "2026-01-01T00:00:00+00:00",
}

measured = pytest.mark.skipif(
    pycti.__version__ != "7.261026.0", reason="what other releases of pycti ask for was not measured"
)


@pytest.fixture(params=["6.8.10", "7.26"])
def sink(request: pytest.FixtureRequest) -> Iterator[OpenCTI]:
    tokens = {TOKEN: frozenset({"CONNECTORAPI", "MODULES"})}
    with OpenCTI(release=request.param, tokens=tokens) as opencti:
        register(opencti)
        yield opencti


@pytest.fixture
def client(sink: OpenCTI) -> OpenCTIApiClient:
    return OpenCTIApiClient(sink.url, TOKEN, log_level="error", json_logging=False, ssl_verify=True)


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(ValueError, match=r"GRAPHQL_VALIDATION_FAILED|BAD_USER_INPUT") as caught:
        call()
    return str(caught.value)


def test_the_health_check_passes(client: OpenCTIApiClient) -> None:
    assert client.health_check() is True


@measured
def test_register_is_refused_for_what_the_release_does_not_know(
    sink: OpenCTI, client: OpenCTIApiClient
) -> None:
    connector = OpenCTIConnector(
        CONNECTOR_ID,
        "Cluster25",
        "EXTERNAL_IMPORT",
        "cluster25",
        auto=False,
        only_contextual=False,
        playbook_compatible=False,
        auto_update=False,
        enrichment_resolution="none",
    )
    unknown = {"6.8.10": '"jwks"', "7.26": '"version"'}[sink.release]
    assert unknown in refused(lambda: client.connector.register(connector))


@measured
def test_initiate_work_is_refused(client: OpenCTIApiClient) -> None:
    assert '"isMultiPartWork"' in refused(lambda: client.work.initiate_work(CONNECTOR_ID, "run"))


def test_ping_is_accepted(client: OpenCTIApiClient) -> None:
    assert (
        client.connector.ping(CONNECTOR_ID, {"watermark": 1}, INFO)["connector_state"] == '{"watermark": 1}'
    )


def test_read_is_accepted(client: OpenCTIApiClient) -> None:
    assert client.connector.read(CONNECTOR_ID)["name"] == "Cluster25"


@measured
def test_the_calls_on_works_are_accepted(sink: OpenCTI, client: OpenCTIApiClient) -> None:
    work_id = ask(sink, ADD_WORK, {"id": CONNECTOR_ID, "name": "run"})["id"]
    client.work.to_received(work_id, "begun")
    assert client.work.add_expectations(work_id, 2) is True
    client.work.report_expectation(work_id, {"error": "Element(s) not found", "source": "x"})
    client.work.to_processed(work_id, "done")
    work = client.work.get_work(work_id)
    assert work["tracking"] == {"import_expected_number": 2, "import_processed_number": 1}
    assert [error["message"] for error in work["errors"]] == ["Element(s) not found"]


def test_a_push_is_accepted(sink: OpenCTI, client: OpenCTIApiClient) -> None:
    client.send_bundle_to_api(connector_id=CONNECTOR_ID, bundle=BUNDLE)
    assert len(sink.ingestion.pushed) == 1
