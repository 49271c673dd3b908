"""What reaches the function through functions-framework and its server, as broken as a socket can make it."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from cluster25.request import BODY_BYTES
from local.function import FunctionProcess
from tests.faults.function import CLIENT_SECRET, CONNECTOR_ID, OPENCTI_TOKEN

pytestmark = pytest.mark.slow

MEGABYTE = b"x" * 1_000_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionProcess]:
    """The function as Google Cloud serves it. No peer is there: whatever runs fails, and is remembered."""
    folder = tmp_path_factory.mktemp("served")
    environment = {
        "PATH": os.environ["PATH"],
        "OPENCTI_URL": "http://127.0.0.1:9",
        "OPENCTI_TOKEN": OPENCTI_TOKEN,
        "CONNECTOR_ID": CONNECTOR_ID,
        "CONNECTOR_LOG_LEVEL": "debug",
        "CLUSTER25_BASE_URL": "http://127.0.0.1:9",
        "CLUSTER25_CLIENT_ID": "client",
        "CLUSTER25_CLIENT_SECRET": CLIENT_SECRET,
    }
    with FunctionProcess(environment, folder, folder / "log") as process:
        yield process


def said(served: FunctionProcess, *parts: bytes, closing: bool = False) -> bytes:
    """What comes back for these bytes; with `closing`, nothing more will be sent."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):  # who refuses a body need not read it
            for part in parts:
                connection.sendall(part)
        if closing:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                answer += piece
    return answer


def runs(served: FunctionProcess) -> int:
    url = f"http://127.0.0.1:{served.port}/"
    with requests.Session() as session:
        session.trust_env = False
        return len(session.get(url, timeout=30).json()["runs"])


POST = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (len(MEGABYTE), MEGABYTE)

REFUSED: dict[str, tuple[bytes, ...]] = {
    "no HTTP": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",),
    "header injection": (
        POST + b"X-CloudScheduler: true\r\nX-CloudScheduler-ScheduleTime: 1\r\n\tX: 1\r\n\r\n",
    ),
    "NUL in a header": (POST + b"X-A: a\0b\r\n\r\n",),
    "header without a name": (POST + b": a\r\n\r\n",),
    "huge header": (POST + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",),
    "thousands of headers": (POST + b"X-A: a\r\n" * 5_000 + b"\r\n",),
    "huge path": (POST.replace(b"/ ", b"/" + b"a" * 100_000 + b" ") + b"\r\n",),
    "length that is none": (POST + b"Content-Length: -1\r\n\r\n",),
    "two lengths": (POST + b"Content-Length: 0\r\nContent-Length: 2\r\n\r\n{}",),
    "length and chunks": (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",),
    "chunks that are none": (CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",),
    "100 MB": (POST + b"Content-Length: 100000000\r\n\r\n", *(MEGABYTE,) * 100),
    "100 MB in chunks": (CHUNKED, *(CHUNK,) * 100, b"0\r\n\r\n"),
    "100 MB in chunks, to nowhere": (CHUNKED.replace(b"/ ", b"/x ", 1), *(CHUNK,) * 100, b"0\r\n\r\n"),
    "tick": (POST + b"X-CloudScheduler: true\r\nX-CloudScheduler-ScheduleTime: caf\xe9\r\n\r\n",),
}


@pytest.mark.parametrize("parts", REFUSED.values(), ids=REFUSED)
def test_what_is_no_call_is_refused_and_nothing_runs(
    served: FunctionProcess, parts: tuple[bytes, ...]
) -> None:
    before = runs(served)
    answer = said(served, *parts)
    assert not answer or answer.startswith(b"HTTP/1.1 4"), answer[:300]
    assert runs(served) == before


@pytest.mark.parametrize("body", [b"{}", b"", b'{"dry_run": true}'])
def test_a_body_shorter_than_its_length(served: FunctionProcess, body: bytes) -> None:
    before = runs(served)
    answer = said(served, POST + b"Content-Length: 100\r\n\r\n" + body, closing=True)
    assert not answer or answer.startswith(b"HTTP/1.1 4"), answer[:300]
    assert runs(served) == before


def test_a_huge_body_is_not_held(served: FunctionProcess) -> None:
    before = memory_bytes(served)
    for path in (b"/ ", b"/reset ", b"/x "):
        said(served, CHUNKED.replace(b"/ ", path, 1), *(CHUNK,) * 100, b"0\r\n\r\n")
    assert memory_bytes(served) - before < 30_000_000


def test_a_body_as_large_as_allowed_in_chunks(served: FunctionProcess) -> None:
    before = runs(served)
    body = b"{}".ljust(BODY_BYTES)
    answer = said(served, CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert answer.startswith(b"HTTP/1.1 503"), answer[:300]
    assert runs(served) == before + 1


def test_no_secret_in_what_others_on_the_machine_can_see(served: FunctionProcess) -> None:
    for process in family(served):
        assert b"canary" not in (process / "cmdline").read_bytes()


def family(served: FunctionProcess) -> list[Path]:
    """The folders in /proc of the server and its workers, which are in its session."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[3]) == served.pid:
                found.append(stat.parent)
    assert len(found) > 1
    return found


def memory_bytes(served: FunctionProcess) -> int:
    """The most that the server and its workers have held in memory so far."""
    peaks = [
        line.split()[1]
        for process in family(served)
        for line in (process / "status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return 1024 * sum(map(int, peaks))
