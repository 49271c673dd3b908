import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest
import requests

from local.cluster25 import CLIENT_ID, CLIENT_SECRET, Cluster25, Export
from local.feed import Feed
from local.indicators import TYPES
from local.loopback import Exchange
from tests.clock import SimulatedClock

QUESTION = {"export_format": "stix2", "types": ["ipv4", "url"], "start": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def source() -> Iterator[Cluster25]:
    with Cluster25(Feed(size=300)) as cluster25:
        yield cluster25


def token_of(source: Cluster25) -> str:
    credentials = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    answer = requests.post(f"{source.base_url}/token", json=credentials, timeout=10)
    assert answer.status_code == 200
    token: str = answer.json()["data"]["token"]
    return token


def export(source: Cluster25, question: dict[str, Any], token: str | None = None) -> requests.Response:
    headers = {"Authorization": f"Bearer {token or token_of(source)}"}
    return requests.get(f"{source.base_url}/export/indicators", params=question, headers=headers, timeout=10)


def test_a_token_is_a_jwt_that_tells_when_it_expires(clock: SimulatedClock) -> None:
    with Cluster25(Feed(), clock=clock, token_life_seconds=90) as source:
        claims = token_of(source).split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["exp"] == clock.now().timestamp() + 90


def test_wrong_credentials_get_no_token(source: Cluster25) -> None:
    wrong = {"client_id": CLIENT_ID, "client_secret": "guess"}
    assert requests.post(f"{source.base_url}/token", json=wrong, timeout=10).status_code == 401
    assert requests.post(f"{source.base_url}/token", data="client_id=x", timeout=10).status_code == 400


def test_an_export_brings_what_was_asked_for_and_is_remembered(source: Cluster25) -> None:
    answer = export(source, QUESTION | {"include_info": "True"})
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert answer.content == b"".join(source.feed.encoded(("ipv4", "url"), start))
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert source.exports == [Export(("ipv4", "url"), start, include_info=True)]
    assert source.requests == {"POST /api/v1/token": 1, "GET /api/v1/export/indicators": 1}


def test_without_a_valid_token_there_is_no_export(clock: SimulatedClock) -> None:
    with Cluster25(Feed(size=1), clock=clock, token_life_seconds=90) as source:
        token = token_of(source)
        assert export(source, QUESTION, token).status_code == 200
        assert export(source, QUESTION, "made.up.token").status_code == 401
        clock.advance(90)
        assert export(source, QUESTION, token).status_code == 401


def test_revoked_tokens_are_refused_before_they_expire(source: Cluster25) -> None:
    token = token_of(source)
    source.revoke_tokens()
    assert export(source, QUESTION, token).status_code == 401
    assert export(source, QUESTION).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"export_format": "csv"},
        {"export_format": None},
        {"types": []},
        {"types": ["ipv4", "mutex"]},
        {"types": ["ipv4,url"]},
        {"start": "yesterday"},
        {"start": "2026-01-01T00:00:00"},
        {"start": None},
        {"start": ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]},
        {"include_info": "yes"},
        {"end": "2026-01-02T00:00:00Z"},
    ],
    ids=str,
)
def test_a_wrong_question_is_refused_with_a_reason(source: Cluster25, wrong: dict[str, Any]) -> None:
    answer = export(source, QUESTION | wrong)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert source.exports == []


def test_gzip_only_when_it_is_told_to_and_the_client_takes_it(source: Cluster25) -> None:
    plain = export(source, QUESTION)
    source.compress = True
    packed = export(source, QUESTION)
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.content == plain.content
    headers = {"Authorization": f"Bearer {token_of(source)}", "Accept-Encoding": "identity"}
    unpacked = requests.get(
        f"{source.base_url}/export/indicators", params=QUESTION, headers=headers, timeout=10, stream=True
    )
    assert unpacked.raw.read() == plain.content


def test_gzip_can_be_read_before_the_end(source: Cluster25) -> None:
    """Each piece is flushed, or a client would see nothing of a dripping export."""
    read = threading.Event()

    def hold(pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield b"first"
        yield b"second" if read.wait(10) else b"too late"

    source.compress, source.transform = True, hold
    headers = {"Authorization": f"Bearer {token_of(source)}"}
    answer = requests.get(
        f"{source.base_url}/export/indicators", params=QUESTION, headers=headers, timeout=10, stream=True
    )
    pieces = answer.iter_content(None)
    assert next(pieces) == b"first"
    read.set()
    assert b"".join(pieces) == b"second"


def test_a_transform_changes_the_bytes_on_their_way(source: Cluster25) -> None:
    source.transform = lambda pieces: (piece.replace(b"bundle", b"basket") for piece in pieces)
    assert export(source, QUESTION).json()["type"] == "basket"


def test_a_transform_that_ends_early_leaves_a_whole_answer_with_half_a_bundle(source: Cluster25) -> None:
    source.transform = lambda pieces: (piece[:100] for piece in islice(pieces, 1))
    assert len(export(source, QUESTION).content) == 100


def test_a_transform_can_cut_the_connection(source: Cluster25) -> None:
    def cut(pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield next(pieces)[:100]
        raise ConnectionResetError

    source.transform = cut
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        export(source, QUESTION)


def test_a_fault_comes_first_and_counts_as_a_request(source: Cluster25) -> None:
    def overloaded(exchange: Exchange) -> bool:
        exchange.answer(503, b"<html>", {"Retry-After": "7"})
        return True

    token = token_of(source)
    source.fault = overloaded
    assert export(source, QUESTION, token).headers["Retry-After"] == "7"
    source.fault = lambda _: False
    assert export(source, QUESTION, token).status_code == 200
    assert source.requests["GET /api/v1/export/indicators"] == 2


def test_other_paths_and_methods_are_refused(source: Cluster25) -> None:
    assert requests.get(f"{source.base_url}/actors", timeout=10).status_code == 404
    assert requests.get(f"{source.base_url}/token", timeout=10).status_code == 405


def test_all_nine_types_can_be_asked_for(source: Cluster25) -> None:
    assert len(export(source, QUESTION | {"types": list(TYPES)}).json()["objects"]) == 300 + 2
