"""Ways for a secret to get out that no fault of a peer opens. (For those: tests/faults/canaries.py.)"""

import json

import pytest

from cluster25.sync import Sync
from local.cluster25 import Cluster25
from local.loopback import Exchange
from local.opencti import OpenCTI
from tests.faults.function import (
    CLIENT_SECRET,
    EXPORT,
    OPENCTI_TOKEN,
    TOKEN,
    Function,
    answering,
    asking,
    at,
)


def test_the_debug_lines_of_the_libraries_are_among_those_that_show_no_secret(
    function: Function, source: Cluster25, sink: OpenCTI
) -> None:
    assert function.call().outcome == "ok"
    entries = [json.loads(line) for line in function.log.splitlines() if line.startswith("{")]
    loggers = {entry["logger"] for entry in entries}
    assert {"urllib3.connectionpool", "cluster25.client", "cluster25.opencti"} <= loggers


@pytest.mark.parametrize("secret", [CLIENT_SECRET, OPENCTI_TOKEN])
def test_an_error_that_nobody_foresaw(
    function: Function, environment: pytest.MonkeyPatch, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise RuntimeError({"headers": f"Authorization: Bearer {secret}"}) from error

    environment.setattr(Sync, "run", fail)
    response = function.client.post("/")
    printed = capsys.readouterr()
    assert response.status_code == 500
    assert "RuntimeError" in printed.out
    assert secret not in f"{response.headers}{response.text}{printed.out}{printed.err}"


def test_what_a_peer_repeats_is_not_shown_in_opencti_or_kept(
    function: Function, source: Cluster25, sink: OpenCTI
) -> None:
    """A failed run leaves a work with the reason in OpenCTI, and a summary in the state."""
    source.fault = answering(403, b"no, not with " + CLIENT_SECRET.encode())
    told: list[bytes] = []

    def note(exchange: Exchange) -> bool:
        told.append(exchange.body())
        return False

    sink.fault = note
    function.fails(500, "source")
    assert any(b"workAdd" in body for body in told)
    assert CLIENT_SECRET.encode() not in b"".join(told)


def test_a_bearer_token_that_does_not_look_like_one(function: Function, source: Cluster25) -> None:
    token = "canary-bearer-without-form"

    def repeat(exchange: Exchange) -> bool:
        given = exchange.path.endswith(TOKEN)
        exchange.answer(200 if given else 403, b'{"data": {"token": "%b"}}' % token.encode())
        return True

    source.fault = repeat
    answer = function.fails(500, "source")
    assert "403" in answer.error["what"]
    source.fault = at(EXPORT, answering(403, token.encode()))
    assert token not in str(function.fails(500, "source").document)


def test_a_secret_in_an_object_is_kept_as_the_source_sent_it_but_not_shown(
    function: Function, source: Cluster25, sink: OpenCTI
) -> None:
    """The status names rejected objects and reasons; both are made of what came."""
    kind = OPENCTI_TOKEN.lower()
    source.feed.add({"type": kind, "id": f"{kind}--00000000-0000-4000-8000-000000000000"})
    sink.fault = asking("workAdd", answering(500))
    assert function.call().document["rejected"] == 1
    for accepted in ("application/json", "text/html"):
        assert OPENCTI_TOKEN not in function.client.get("/", headers={"Accept": accepted}).text
