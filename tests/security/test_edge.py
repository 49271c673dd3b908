"""Whatever a caller sends that is no call: 4xx, no run, nothing of it in the answer."""

from collections.abc import Iterator

import pytest

from cluster25.request import BODY_BYTES
from local.cluster25 import Cluster25
from local.opencti import OpenCTI
from tests.faults.function import Function

MARKUP = "<script>alert('canary-input')</script>"


def send(function: Function, method: str, path: str, **options: object) -> tuple[int, str]:
    response = function.client.open(path, method=method, **options)  # type: ignore[arg-type]
    return response.status_code, response.text


@pytest.fixture
def nothing_runs(source: Cluster25, sink: OpenCTI) -> Iterator[None]:
    """Neither peer is asked, and so nothing is imported."""
    yield
    assert not source.requests
    assert not sink.requests


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/{MARKUP}", 404),
        ("POST", "/reset/", 404),
        ("POST", "/RESET", 404),
        ("POST", "/reset%00", 404),
        ("POST", "/../reset", 404),
        ("POST", "/%2e%2e/reset", 404),
        ("POST", "/%ff%fe", 404),
        ("POST", f"/{'a' * 5000}", 404),
        ("POST", "/robots.txt", 404),
        ("GET", "/reset", 405),
        ("GET", "/heartbeat", 405),
        ("PUT", "/", 405),
        ("DELETE", "/", 405),
        ("PATCH", "/reset", 405),
        ("OPTIONS", "/", 405),
        ("TRACE", "/", 405),
        (MARKUP, "/", 405),
        ("POST", "/?dry_run=true", 400),
        ("POST", f"/reset?{MARKUP}", 400),
        ("POST", "/heartbeat?", 200),
    ],
)
def test_paths_methods_and_queries(
    function: Function, sink: OpenCTI, method: str, path: str, status: int
) -> None:
    answered, text = send(function, method, path)
    assert answered == status
    assert "canary" not in text
    sink.requests.clear()  # of the heartbeat


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "body",
    [
        f'{{"{MARKUP}": 1}}',
        f'{{"since": "{MARKUP}"}}',
        f'{{"types": ["{MARKUP}"]}}',
        f'{{"dry_run": "{MARKUP}"}}',
        '{"since": "0001-01-01T00:00:00+23:59"}',
        '{"since": "1969-12-31"}',
        '{"since": "9999-12-31T23:59:59-23:59"}',
        '{"since": 1e999}',
        '{"since": null, "types": []}',
        '{"dry_run": true, "dry_run": 0}',
        "null",
        "[]",
        '"text"',
        "{",
        "\0",
        "[" * 10_000,
        b"\xff\xfe{\0}\0",
        b'{"\xed\xa0\x80": 1}',
        '{"\\ud800": 1}',
        b"canary-input')" * 6_000,
        b" " * (BODY_BYTES + 1),
        b"{}" + b" " * 10_000_000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_bodies(function: Function, body: str | bytes) -> None:
    status, text = send(function, "POST", "/", data=body)
    assert status == 400
    assert "<" not in text
    assert "canary-input')" not in text


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "tick",
    [
        "x" * 100_000,
        "2026-03-01T12:00:00." + "0" * 100 + "Z",
        MARKUP,
        "0001-01-01T00:00:00+23:59",
        "2026-13-01T12:00:00Z",
        "caf\xe9",
        "\x00",
        "{}",
    ],
    ids=lambda tick: repr(tick[:25]),
)
def test_a_tick_that_is_no_time_is_not_taken(function: Function, tick: str) -> None:
    headers = {"X-CloudScheduler": "true", "X-CloudScheduler-ScheduleTime": tick}
    status, text = send(function, "POST", "/", headers=headers)
    assert status == 400
    assert "canary" not in text
    assert function.checkpoint()[0].last_tick is None


def test_a_tick_is_served_once_however_it_is_written(function: Function, source: Cluster25) -> None:
    for tick, outcome in (
        ("2026-03-01T12:00:00Z", "ok"),
        ("2026-03-01T13:00:00.000+01:00", "skipped"),
        ("2026-03-01T12:10:00Z", "empty"),
    ):
        assert function.call(tick=tick).outcome == outcome


@pytest.mark.parametrize(
    "headers",
    [
        {"X-CloudScheduler-ScheduleTime": "x" * 100_000},
        {"X-CloudScheduler": MARKUP, "X-CloudScheduler-ScheduleTime": "2026-03-01T12:00:00Z"},
        {"X-Cloud-Trace-Context": MARKUP + "/" + "9" * 5_000},
        {"traceparent": "00-" + "0" * 100_000},
        {"Host": "evil.example"},
        {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"},
        {"Content-Type": MARKUP},
        {"Accept": MARKUP},
    ],
    ids=", ".join,
)
def test_other_headers_mean_nothing(
    function: Function, environment: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    environment.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    response = function.client.post("/", headers=headers)
    assert response.json is not None
    assert (response.status_code, response.json["outcome"]) == (200, "ok")
    for echoed in ("canary", "evil.example", "xxxx"):
        assert echoed not in f"{response.headers}{response.text}"
    assert function.checkpoint()[0].last_tick is None


def test_no_answer_is_taken_for_anything_but_what_it_is(function: Function) -> None:
    for method, path in (("GET", "/"), ("POST", "/"), ("GET", "/x"), ("PUT", "/"), ("POST", "/?x")):
        response = function.client.open(path, method=method)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.mimetype == "application/json"


def test_the_page_may_load_nothing_and_be_framed_by_nobody(function: Function) -> None:
    response = function.client.get("/", headers={"Accept": "text/html"})
    policy = response.headers["Content-Security-Policy"]
    assert response.mimetype == "text/html"
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"


def test_the_page_shows_what_a_source_sent_as_text(
    function: Function, source: Cluster25, sink: OpenCTI
) -> None:
    source.feed.add({"type": "note", "id": f"note--{'0' * 8}-0000-4000-8000-{'0' * 12}", f"{MARKUP}_ref": 1})
    assert function.call().document["rejected"] == 1
    text = function.client.get("/", headers={"Accept": "text/html"}).text
    assert "alert(" in text
    assert "<script" not in text
