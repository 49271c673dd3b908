"""What Cluster25 is asked, and how long its token is used."""

from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster25.client import AccessToken, Cluster25Client
from cluster25.clock import Budget
from cluster25.errors import ConnectorError, SourceRefusedError
from local.cluster25 import CLIENT_ID, CLIENT_SECRET, Cluster25, Export
from local.feed import Feed
from local.loopback import Exchange
from tests.clock import SimulatedClock
from tests.faults.function import EXPORT, TOKEN, answering, at

TOKEN_URL, EXPORT_URL = f"POST /api/v1{TOKEN}", f"GET /api/v1{EXPORT}"


@pytest.fixture
def source(clock: SimulatedClock) -> Iterator[Cluster25]:
    with Cluster25(Feed(size=20, now=clock.now()), clock=clock, token_life_seconds=3600) as cluster25:
        yield cluster25


@pytest.fixture
def client(source: Cluster25) -> Cluster25Client:
    return Cluster25Client(source.base_url, CLIENT_ID, SecretStr(CLIENT_SECRET))


def export(client: Cluster25Client, clock: SimulatedClock) -> bytes:
    budget = Budget.of(clock, 60)
    with client.export_indicators(["ipv4", "url"], clock.now() - timedelta(days=7), budget) as body:
        return b"".join(body)


def tokens_asked_for(source: Cluster25) -> int:
    return source.requests[TOKEN_URL]


def test_the_question_and_the_answer(
    client: Cluster25Client, source: Cluster25, clock: SimulatedClock
) -> None:
    start = clock.now() - timedelta(days=7)
    assert export(client, clock) == b"".join(source.feed.encoded(["ipv4", "url"], start))
    assert source.exports == [Export(("ipv4", "url"), start, include_info=True)]


def test_two_clients_share_a_token_and_nothing_else(source: Cluster25, clock: SimulatedClock) -> None:
    kept = AccessToken()
    one, other = (
        Cluster25Client(source.base_url, CLIENT_ID, SecretStr(CLIENT_SECRET), kept) for _ in range(2)
    )
    everything = export(one, clock)
    with one.export_indicators(
        ["ipv4", "url"], clock.now() - timedelta(days=7), Budget.of(clock, 60)
    ) as body:
        assert export(other, clock) == everything
        other._peer._adapter.abort()  # as at the end of its budget
        assert b"".join(body) == everything
    assert tokens_asked_for(source) == 1


def test_the_question_as_it_is_written(
    client: Cluster25Client, source: Cluster25, clock: SimulatedClock
) -> None:
    asked: list[Exchange] = []

    def note(exchange: Exchange) -> bool:
        asked.append(exchange)
        return False

    source.fault = at(EXPORT, note)
    export(client, clock)
    assert parse_qs(urlsplit(asked[0].path).query) == {
        "export_format": ["stix2"],
        "types": ["ipv4", "url"],
        "start": ["2026-02-22T12:00:00.000000+00:00"],
        "include_info": ["True"],
    }
    assert asked[0].headers["User-Agent"].startswith("cluster25-opencti/")


def test_one_token_serves_many_exports(
    client: Cluster25Client, source: Cluster25, clock: SimulatedClock
) -> None:
    for _ in range(3):
        export(client, clock)
    assert source.requests == {TOKEN_URL: 1, EXPORT_URL: 3}


@pytest.mark.parametrize(
    ("life_seconds", "still_used_at", "renewed_at"),
    [(3600, 3539, 3540), (100, 89, 91)],
    ids=["a minute before its end", "or at nine tenths of a short life"],
)
def test_a_token_is_renewed_before_it_expires(
    client: Cluster25Client,
    source: Cluster25,
    clock: SimulatedClock,
    life_seconds: float,
    still_used_at: float,
    renewed_at: float,
) -> None:
    source.token_life_seconds = life_seconds
    export(client, clock)
    clock.advance(still_used_at)
    export(client, clock)
    assert tokens_asked_for(source) == 1
    clock.advance(renewed_at - still_used_at)
    export(client, clock)
    assert source.requests == {TOKEN_URL: 2, EXPORT_URL: 3}


def test_a_token_that_is_born_expired_is_not_asked_for_without_end(
    client: Cluster25Client, source: Cluster25, clock: SimulatedClock
) -> None:
    source.token_life_seconds = -1
    with pytest.raises(SourceRefusedError):
        export(client, clock)
    assert source.requests == {TOKEN_URL: 1, EXPORT_URL: 1}


def test_a_token_without_an_end_is_used_until_it_is_refused(
    client: Cluster25Client, source: Cluster25, clock: SimulatedClock
) -> None:
    bundle = answering(200, b'{"type": "bundle", "objects": []}')
    source.fault = at(TOKEN, answering(200, b'{"data": {"token": "not-a-jwt"}}'))
    with pytest.raises(SourceRefusedError):
        export(client, clock)
    source.fault = lambda exchange: (
        at(TOKEN, answering(200, b'{"data": {"token": "plain"}}'))(exchange) or at(EXPORT, bundle)(exchange)
    )
    export(client, clock)
    clock.advance(10**7)
    export(client, clock)
    assert tokens_asked_for(source) == 2


def test_after_403_the_next_call_asks_for_a_new_token(
    client: Cluster25Client, source: Cluster25, clock: SimulatedClock
) -> None:
    export(client, clock)
    source.fault = at(EXPORT, answering(403, b"{}"))
    with pytest.raises(SourceRefusedError):
        export(client, clock)
    source.fault = None
    export(client, clock)
    assert tokens_asked_for(source) == 2


def test_an_export_left_in_the_middle_does_not_disturb_the_next(
    client: Cluster25Client, source: Cluster25, clock: SimulatedClock
) -> None:
    source.feed = Feed(size=2_000, now=clock.now())
    with client.export_indicators(["ipv4"], clock.now() - timedelta(days=7), Budget.of(clock, 60)) as body:
        assert next(body)
    start = clock.now() - timedelta(days=7)
    assert export(client, clock) == b"".join(source.feed.encoded(["ipv4", "url"], start))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data", "token", "x"]), inner)
    ),
    max_leaves=8,
)


def test_whatever_json_answers_the_request_for_a_token_the_error_is_one_of_ours(
    client: Cluster25Client, source: Cluster25, clock: SimulatedClock
) -> None:
    @given(JSON)
    def check(answer: object) -> None:
        source.fault = at(TOKEN, answering(200, orjson.dumps(answer)))
        try:
            export(client, clock)
        except ConnectorError as error:
            told = str(error)
        else:
            told = "no error"
        assert told

    check()
