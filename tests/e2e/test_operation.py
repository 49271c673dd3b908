"""What OpenCTI's operators see and do: alive, reset, queue, failures; and what an idle call costs."""

import json
import sys
from datetime import datetime, timedelta

import pytest

from local.cluster25 import Cluster25
from local.connectors import Connector
from local.feed import Feed
from local.loopback import Exchange
from local.opencti import TOKEN, OpenCTI
from tests.clock import SimulatedClock
from tests.e2e.conftest import Function
from tests.state.test_firestore import CountedCalls

CONNECTORAPI = frozenset({"CONNECTORAPI"})


def connector_of(sink: OpenCTI) -> Connector:
    (connector,) = sink.connectors.by_id.values()
    return connector


def active(sink: OpenCTI) -> bool:
    (connector_id,) = sink.connectors.by_id
    return bool(sink.connectors.document(connector_id)["active"])


def forbid(exchange: Exchange) -> bool:
    exchange.answer(403, b"no")
    return True


def test_heartbeats_keep_it_alive_between_runs(
    function: Function, source: Cluster25, sink: OpenCTI, clock: SimulatedClock
) -> None:
    function.run()
    exports = source.requests.total()
    for _ in range(10):
        clock.advance(120)
        asked = sink.requests.total()
        assert function.heartbeat()["outcome"] == "ok"
        assert sink.requests.total() == asked + 1
        assert active(sink)
    assert source.requests.total() == exports
    clock.advance(300)
    assert not active(sink)


def test_the_platform_shows_state_runs_and_queue(
    function: Function, sink: OpenCTI, clock: SimulatedClock
) -> None:
    started = clock.now()
    sink.connectors.queue_messages_size_bytes = 12_500_000
    answer = function.run()
    connector = connector_of(sink)
    shown = json.loads(connector.state or "")
    assert (shown["version"], shown["watermark"]) == (2, answer["watermark"])
    assert (shown["last_run"]["outcome"], shown["last_run"]["pushed"]) == ("ok", 200)
    assert connector.info == {
        "run_and_terminate": False,
        "buffering": False,
        "queue_threshold": 500.0,
        "queue_messages_size": 12.5,
        "last_run_datetime": _moment(started),
        "next_run_datetime": _moment(started + timedelta(seconds=600)),
    }


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_a_full_queue_skips_the_run_before_anything_is_exported(
    function: Function, source: Cluster25, sink: OpenCTI, clock: SimulatedClock
) -> None:
    function.run()
    exports = len(source.exports)
    sink.connectors.queue_messages_size_bytes = 501_000_000
    clock.advance(600)
    answer = function.run()
    assert answer["outcome"] == "skipped"
    assert "CONNECTOR_QUEUE_THRESHOLD" in answer["reason"]
    assert len(source.exports) == exports
    info = connector_of(sink).info
    assert info
    assert info["buffering"] is True
    assert function.status()["skipped_since"] is not None
    sink.connectors.queue_messages_size_bytes = 0
    clock.advance(600)
    assert function.run()["outcome"] == "empty"
    assert function.status()["skipped_since"] is None


@pytest.mark.parametrize("caller", ["heartbeat", "run"])
def test_the_reset_button_starts_the_import_over_at_once(
    function: Function, feed: Feed, sink: OpenCTI, clock: SimulatedClock, caller: str
) -> None:
    function.run()
    clock.advance(600)
    sink.press_reset()
    answer = function.heartbeat() if caller == "heartbeat" else function.run()
    assert (answer["outcome"], answer["pushed"]) == ("ok", feed.size)
    clock.advance(120)
    assert function.heartbeat()["pushed"] == 0  # one press, one import


def test_a_reset_during_a_run_is_carried_out_by_the_next_heartbeat(
    function: Function, feed: Feed, sink: OpenCTI, clock: SimulatedClock
) -> None:
    pressed: list[bool] = []

    def press(exchange: Exchange) -> bool:
        if "stixBundlePush" in exchange.body().decode() and not pressed:
            pressed.append(True)
            sink.press_reset()
        return False

    sink.fault = press
    function.run()
    assert pressed
    sink.fault = None
    clock.advance(120)
    assert function.heartbeat()["pushed"] == feed.size


def test_a_reset_by_http_starts_over_with_the_next_heartbeat(
    function: Function, feed: Feed, clock: SimulatedClock
) -> None:
    function.run()
    clock.advance(60)
    assert function.reset()["watermark"] is None
    assert function.status()["watermark"] is None
    assert function.heartbeat()["pushed"] == feed.size


def test_a_connector_deleted_in_the_interface_registers_itself_again(
    function: Function, sink: OpenCTI, clock: SimulatedClock
) -> None:
    function.run()
    (connector_id,) = sink.connectors.by_id
    for call in (function.heartbeat, function.run):
        sink.delete_connector(connector_id)
        clock.advance(60)
        call()
        assert active(sink)


def test_a_new_name_is_registered(function: Function, sink: OpenCTI, clock: SimulatedClock) -> None:
    function.run()
    function.configure(connector_name="Cluster25 Europe")
    function.heartbeat()
    assert connector_of(sink).settings["name"] == "Cluster25 Europe"


def test_the_first_failure_of_a_row_leaves_one_work_in_error_and_its_end_is_visible(
    function: Function, source: Cluster25, sink: OpenCTI, clock: SimulatedClock
) -> None:
    function.run()
    sink.works.by_id.clear()
    source.fault = forbid
    reasons = []
    for _ in range(3):
        clock.advance(600)
        status, answer = function.call()
        assert (status, answer["outcome"]) == (500, "failed")
        reasons.append(answer["error"]["what"])
    (work,) = sink.works.by_id.values()
    assert "failed" in work.name
    assert reasons[0] in work.errors[0]["message"]
    assert function.status()["failing_since"] is not None
    source.fault = None
    clock.advance(600)
    function.run()
    _, recovered = sink.works.by_id.values()
    assert "works again" in recovered.name
    assert not recovered.errors
    clock.advance(600)
    function.run()
    assert len(sink.works.by_id) == 2


@pytest.mark.parametrize(
    "tokens", [{"another": CONNECTORAPI}, {TOKEN: frozenset()}], ids=["wrong token", "no capability"]
)
def test_a_token_that_may_not_names_the_role_to_give(
    function: Function, sink: OpenCTI, tokens: dict[str, frozenset[str]]
) -> None:
    sink.tokens = tokens
    status, answer = function.call()
    assert (status, answer["error"]["side"]) == (500, "sink")
    assert "Connector" in answer["error"]["remedy"]
    assert "CONNECTORAPI" in answer["error"]["remedy"]
    assert TOKEN not in json.dumps(answer)


def test_a_platform_too_old_is_told_so(function: Function, clock: SimulatedClock, source: Cluster25) -> None:
    with OpenCTI(release="6.2", clock=clock) as old:
        function.configure(opencti_url=old.url)
        status, answer = function.call()
    assert (status, answer["error"]["side"]) == (500, "sink")
    assert "6.3" in answer["error"]["remedy"]


@pytest.mark.usefixtures("firestore_emulator")
def test_an_idle_call_costs_next_to_nothing(
    function: Function, source: Cluster25, sink: OpenCTI, clock: SimulatedClock
) -> None:
    function.configure(state_store="firestore", firestore_project="idle")
    function.run()
    clock.advance(1000)  # the first import is out of the overlap
    function.run()
    source.requests.clear()
    sink.requests.clear()
    clock.advance(600)
    counted = CountedCalls(sys.modules["main"].connector().store)
    assert function.run()["outcome"] == "empty"
    assert source.requests.total() == 1  # the export: the token is warm
    assert sink.requests.total() == 2
    assert [name for name, _ in counted.calls] == ["batch_get_documents", "commit", "commit"]
    counted.calls.clear()
    function.heartbeat()
    assert [name for name, _ in counted.calls] == ["batch_get_documents"]
