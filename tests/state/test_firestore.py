"""What only Firestore can do wrong, and what a run costs there."""

import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from cluster25.errors import LeaseHeldError, SettingsError, StateDamagedError, StateUnavailableError
from cluster25.settings import Settings
from cluster25.state.document import COMPANIONS_BYTES, INLINE_LEDGER_BYTES, REMEMBERED_RUNS, State
from cluster25.state.firestore import FirestoreStore
from cluster25.state.lease import acquire, read_state
from cluster25.state.ledger import ENTRY_BYTES
from cluster25.state.store import ConflictError, Page, Rejected
from tests.clock import SimulatedClock
from tests.state.relay import relaying
from tests.state.runs import LEASE_SECONDS, Write, commit, entries, summary

Connect = Callable[..., FirestoreStore]


@pytest.fixture
def connect() -> Connect:
    """Opens one and the same state wherever FIRESTORE_EMULATOR_HOST points to."""
    collection = f"tests-{uuid.uuid4().hex}"
    return lambda timeout_seconds=10.0: FirestoreStore(
        "test-project", "(default)", collection, "connector", timeout_seconds
    )


class CountedCalls:
    """Stands before the library's generated client and writes down every call that goes out."""

    def __init__(self, store: FirestoreStore) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._api = store._client._firestore_api
        store._client._firestore_api_internal = self

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._api, name)

        def counted(request: Any, **options: Any) -> Any:
            self.calls.append((name, request))
            return method(request=request, **options)

        return counted


@pytest.mark.usefixtures("firestore_emulator")
def test_an_idle_run_costs_one_read_and_two_writes(connect: Connect, clock: SimulatedClock) -> None:
    commit(acquire(connect(), clock, "run-a", LEASE_SECONDS), clock)
    store = connect()
    counted = CountedCalls(store)
    clock.advance(600)
    commit(acquire(store, clock, "run-b", LEASE_SECONDS), clock)
    assert [name for name, _ in counted.calls] == ["batch_get_documents", "commit", "commit"]
    (_, read), (_, first), (_, second) = counted.calls
    assert len(read["documents"]) == len(first["writes"]) == len(second["writes"]) == 1


@pytest.mark.usefixtures("firestore_emulator")
def test_a_chunk_costs_one_request_that_carries_only_what_is_new(
    connect: Connect, clock: SimulatedClock
) -> None:
    held = acquire(connect(), clock, "run-a", LEASE_SECONDS)
    for number in range(40_000):
        held.ledger.add(number.to_bytes(8, "little"), 2**31)
    commit(held, clock)
    store = connect()
    held = acquire(store, clock, "run-b", LEASE_SECONDS)
    assert len(held.state.ledger) > 400_000
    counted = CountedCalls(store)
    held.record(entries(clock, "1"))
    [(name, request)] = counted.calls
    assert name == "commit"
    assert len(str(request)) < 2000


[LARGEST_CHUNK] = [
    bound.le for bound in Settings.model_fields["cluster25_chunk_objects"].metadata if hasattr(bound, "le")
]
LARGEST_PAGE_BYTES = LARGEST_CHUNK * ENTRY_BYTES


@pytest.mark.usefixtures("firestore_emulator")
def test_the_fullest_document_fits(connect: Connect, clock: SimulatedClock) -> None:
    failed = summary(clock, "failed").model_copy(
        update={
            "error": {"what": "ü" * 500, "side": "source", "remedy": "x" * 300},
            "by_type": {"email": 1_000_000, "ipv4": 1_000_000, "filename": 1_000_000},
        }
    )
    state = State(ledger=b"x" * INLINE_LEDGER_BYTES, companions=["y" * (COMPANIONS_BYTES // 16)] * 16)
    for _ in range(REMEMBERED_RUNS):
        state = state.with_run(failed)
    store = connect()
    store.write(state.to_document(), None, Page(0, 0, b"z" * LARGEST_PAGE_BYTES))
    assert read_state(connect()) == state
    with pytest.raises(SettingsError, match="maximum"):
        store.write({"too": b"x" * 600_000, "large": b"x" * 600_000}, store.read())


def test_where_nothing_names_a_project_the_message_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = tmp_path / "person.json"
    names = ("type", "client_id", "client_secret", "refresh_token")
    person.write_text(json.dumps(dict.fromkeys(names, "x") | {"type": "authorized_user"}))
    for name in ("FIRESTORE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(person))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(SettingsError) as caught:
        read_state(FirestoreStore(None, "(default)", "tests", "connector"))
    assert "project" in caught.value.what
    assert "FIRESTORE_PROJECT" in caught.value.remedy


@pytest.mark.usefixtures("firestore_emulator")
def test_a_page_that_holds_no_bytes_is_damage(connect: Connect, clock: SimulatedClock) -> None:
    store = connect()
    held = acquire(store, clock, "run-a", LEASE_SECONDS)
    held.record(entries(clock, "1"))
    held.release(summary(clock, "partial"))
    store._ledger.document("00000000-000000").set({"entries": "text"})
    with pytest.raises(StateDamagedError, match="00000000-000000"):
        acquire(connect(), clock, "run-b", LEASE_SECONDS)


@pytest.mark.usefixtures("firestore_emulator")
def test_rejected_objects_carry_the_field_that_a_ttl_policy_needs(
    connect: Connect, clock: SimulatedClock
) -> None:
    one = Rejected.because("bad", object_id="x", content=b"{}", run_id="r", rejected_at=clock.now())
    store = connect()
    store.add_rejected([one])
    [found] = store._rejected.stream()
    assert found.get("expires_at") == one.expires_at


def test_nothing_is_opened_before_the_first_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    store = FirestoreStore(None, "(default)", "c", "connector")
    assert "c/connector" in store.location
    with pytest.raises(SettingsError, match="credentials"):
        store.read()


def test_a_closed_port_is_unavailable_state(
    connect: Connect, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{closed.getsockname()[1]}")
    began = time.monotonic()
    with pytest.raises(StateUnavailableError):
        acquire(connect(timeout_seconds=2.0), clock, "run-a", LEASE_SECONDS)
    assert time.monotonic() - began < 4


def test_a_server_that_never_answers_is_given_up_in_time(
    connect: Connect, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        store = connect(timeout_seconds=1.0)
        for call in (store.read, lambda: list(store.read_pages(0, 1)), lambda: store.write({"a": 1}, None)):
            began = time.monotonic()
            with pytest.raises(StateUnavailableError):
                call()
            assert time.monotonic() - began < 3


class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every call with one and the same status."""

    def __init__(self, status: grpc.StatusCode) -> None:
        self._status = status

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def refuse(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            context.abort(self._status, "said the server")
            yield request

        return grpc.unary_stream_rpc_method_handler(refuse)


@contextmanager
def refusing_server(status: grpc.StatusCode) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[Refusing(status)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


@pytest.mark.parametrize(
    ("status", "expected", "advice"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, SettingsError, r"roles/datastore\.user"),
        (grpc.StatusCode.UNAUTHENTICATED, SettingsError, r"roles/datastore\.user"),
        (grpc.StatusCode.NOT_FOUND, SettingsError, "FIRESTORE_DATABASE"),
        (grpc.StatusCode.FAILED_PRECONDITION, SettingsError, "FIRESTORE_DATABASE"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, StateUnavailableError, "said the server"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, StateUnavailableError, "said the server"),
        (grpc.StatusCode.INTERNAL, StateUnavailableError, "said the server"),
        (grpc.StatusCode.UNAVAILABLE, StateUnavailableError, "said the server"),
    ],
)
def test_refusals_say_what_to_do(
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    status: grpc.StatusCode,
    expected: type[Exception],
    advice: str,
) -> None:
    with refusing_server(status) as address:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", address)
        store = connect(timeout_seconds=1.0)
        with pytest.raises(expected, match=advice):
            store.read()


def test_an_aborted_write_shows_as_a_conflict(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_server(grpc.StatusCode.ABORTED) as address:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", address)
        with pytest.raises(ConflictError):
            connect().write({"a": 1}, None)


def test_a_database_that_does_not_exist_is_no_conflict(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing_server(grpc.StatusCode.NOT_FOUND) as address:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", address)
        with pytest.raises(SettingsError):
            connect().write({"a": 1}, None)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda held, clock: held.record(entries(clock, "1")), id="record"),
        pytest.param(commit, id="commit"),
        pytest.param(lambda held, clock: held.release(summary(clock, "partial")), id="release"),
    ],
)
def test_an_answer_lost_on_the_network_is_noticed_and_the_write_counts_once(
    firestore_emulator: str,
    connect: Connect,
    clock: SimulatedClock,
    monkeypatch: pytest.MonkeyPatch,
    write: Write,
) -> None:
    observer = connect()
    observer.read()
    with relaying(firestore_emulator) as relay:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", relay.address)
        held = acquire(connect(), clock, "run-a", LEASE_SECONDS)
        clock.advance(1)
        before = observer.read()
        relay.lose_answer_to(b"connector", lambda: observer.read() != before)
        write(held, clock)
        assert relay.answers_lost == 1
        state = read_state(observer)
        assert state == held.state
        assert state.pages in {0, 1}
        assert len(state.runs) in {0, 1}


def test_a_lease_whose_answer_was_lost_on_the_network_is_ours(
    firestore_emulator: str, connect: Connect, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer = connect()
    assert observer.read() is None
    with relaying(firestore_emulator) as relay:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", relay.address)
        relay.lose_answer_to(b"run-a", lambda: observer.read() is not None)
        held = acquire(connect(), clock, "run-a", LEASE_SECONDS)
        assert relay.answers_lost == 1
        assert held.state.fence == 1
        commit(held, clock)


@pytest.mark.usefixtures("firestore_emulator")
def test_a_transaction_of_others_that_holds_locks_does_not_hold_up_a_run_for_long(
    connect: Connect, clock: SimulatedClock
) -> None:
    commit(acquire(connect(), clock, "run-a", LEASE_SECONDS), clock)
    store = connect(timeout_seconds=1.0)
    transaction = store._client.transaction()
    transaction._begin()
    store._document.get(transaction=transaction)
    began = time.monotonic()
    try:
        with pytest.raises((LeaseHeldError, StateUnavailableError)):
            acquire(store, clock, "run-b", LEASE_SECONDS)
    finally:
        transaction._rollback()
    assert time.monotonic() - began < 20
    # The write may have been applied after it was given up; then its lease has to run out.
    clock.advance(LEASE_SECONDS)
    acquire(connect(), clock, "run-c", LEASE_SECONDS)
