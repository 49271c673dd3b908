"""What both stand-ins share: faults on purpose, and an end that is one."""

import socket
import struct
from collections.abc import Iterator

import pytest
import requests

from local.loopback import Exchange, Loopback


class Echo(Loopback):
    def respond(self, exchange: Exchange) -> None:
        exchange.answer(200, exchange.body())


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server


def test_a_kept_connection_is_used_again_and_again(echo: Echo) -> None:
    with requests.Session() as session:
        answers = [session.post(echo.url, data=text, timeout=10).text for text in ("a", "", "b" * 100_000)]
    assert answers == ["a", "", "b" * 100_000]


def test_a_fault_that_leaves_the_body_unread_does_not_confuse_the_next_request(echo: Echo) -> None:
    def refuse(exchange: Exchange) -> bool:
        exchange.send_response(503)
        exchange.send_header("Content-Length", "0")
        exchange.end_headers()
        return True

    with requests.Session() as session:
        echo.fault = refuse
        assert session.post(echo.url, data="first" * 1_000, timeout=10).status_code == 503
        echo.fault = None
        assert session.post(echo.url, data="second", timeout=10).text == "second"


def test_a_connection_can_be_broken_off(echo: Echo) -> None:
    def crash(exchange: Exchange) -> bool:
        exchange.break_off()
        return True

    echo.fault = crash
    with socket.create_connection(("127.0.0.1", echo.port), timeout=10) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert echo.requests == {"POST /": 1}


def test_a_stopped_peer_does_not_answer_on_kept_connections_either() -> None:
    with requests.Session() as session:
        with Echo() as server:
            session.post(server.url, data="x", timeout=10)
        with pytest.raises(requests.ConnectionError):
            session.post(server.url, data="x", timeout=10)


def test_a_peer_can_come_back_on_its_port() -> None:
    with Echo() as server:
        requests.post(server.url, data="x", timeout=10)
    with Echo(port=server.port) as again:
        assert again.url == server.url
        assert requests.post(server.url, data="back", timeout=10).text == "back"


def test_a_client_that_goes_away_does_not_disturb_the_next(
    echo: Echo, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", echo.port)) as rude:
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        rude.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    assert requests.post(echo.url, data="x", timeout=10).text == "x"
    assert capfd.readouterr().err == ""
