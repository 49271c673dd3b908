"""Heartbeat, reset button and queue, as an operator sees them."""

from local.opencti import TOKEN, OpenCTI
from tests.clock import SimulatedClock
from tests.local.asking import CONNECTOR_ID, PING, ask, ping, push, refusal, register

READ = "query C($id: String!) { connector(id: $id) { name active connector_state } }"
BUNDLE = '{"type": "bundle", "objects": [{"type": "identity", "id": "identity--1"}]}'
INFO = {"run_and_terminate": False, "buffering": True, "queue_threshold": 250.0, "queue_messages_size": 1.5}


def test_a_ping_stores_the_state_and_answers_it(sink: OpenCTI) -> None:
    assert ping(sink, '{"watermark": 1}')["connector_state"] == '{"watermark": 1}'
    assert ping(sink, '{"watermark": 2}')["connector_state"] == '{"watermark": 2}'


def test_registering_again_updates_and_keeps_the_state(sink: OpenCTI) -> None:
    ping(sink, "kept")
    register(sink)
    assert sink.connectors.by_id[CONNECTOR_ID].state == "kept"


def test_after_a_reset_one_ping_is_ignored_and_answered_with_an_empty_state(sink: OpenCTI) -> None:
    ping(sink, "old")
    sink.press_reset()
    answer = ping(sink, "old")
    assert (answer["connector_state"], answer["connector_state_reset"]) == ("", False)
    assert ping(sink, "new")["connector_state"] == "new"


def test_a_reset_purges_the_queue(sink: OpenCTI) -> None:
    push(sink, BUNDLE)
    sink.connectors.queue_messages_number, sink.connectors.queue_messages_size_bytes = 7, 1_000
    sink.press_reset()
    assert ping(sink)["connector_queue_details"] == {"messages_number": 0, "messages_size": 0}
    sink.run_workers()
    assert [work.status for work in sink.works.by_id.values()] == ["progress"]


def test_the_queue_is_as_deep_as_it_is_set(sink: OpenCTI) -> None:
    sink.connectors.queue_messages_number, sink.connectors.queue_messages_size_bytes = 12, 600_000_000
    assert ping(sink)["connector_queue_details"] == {"messages_number": 12, "messages_size": 600_000_000}


def test_a_deleted_connector_must_register_again(sink: OpenCTI) -> None:
    sink.delete_connector(CONNECTOR_ID)
    code, message = refusal(sink, PING, {"id": CONNECTOR_ID})
    assert (code, message) == ("FUNCTIONAL_ERROR", "No connector found with the specified ID")
    register(sink)
    assert ping(sink, "again")["connector_state"] == "again"


def test_the_interface_shows_what_the_connector_told(sink: OpenCTI) -> None:
    shown = ping(sink, None, INFO | {"next_run_datetime": "2026-03-04T05:06:07Z"})["connector_info"]
    assert shown == {"buffering": True, "queue_threshold": 250, "next_run_datetime": "2026-03-04T05:06:07Z"}


def test_a_connector_is_active_for_five_minutes(clock: SimulatedClock) -> None:
    with OpenCTI(clock=clock, tokens={TOKEN: frozenset({"CONNECTORAPI", "MODULES"})}) as sink:
        register(sink)
        ping(sink)
        clock.advance(299)
        assert ask(sink, READ, {"id": CONNECTOR_ID})["active"] is True
        clock.advance(1)
        assert ask(sink, READ, {"id": CONNECTOR_ID})["active"] is False
        assert ping(sink)["active"] is True
