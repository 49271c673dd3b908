"""To whom the connector talks, and who can listen."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from local.cluster25 import Cluster25
from local.loopback import Exchange, Loopback
from local.opencti import OpenCTI
from tests.faults.function import CLIENT_SECRET, EXPORT, TOKEN, Function, answering, at, at_sink, in_feed
from tests.security.proxy import Proxy, running_proxy


@pytest.fixture(autouse=True)
def no_proxy_or_authority_of_this_machine(environment: pytest.MonkeyPatch) -> None:
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "requests_ca_bundle",
        "curl_ca_bundle",
    ):
        environment.delenv(name, raising=False)
        environment.delenv(name.upper(), raising=False)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with running_proxy() as running:
        yield running


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def over_tls(source: Cluster25, authority: trustme.CA, environment: pytest.MonkeyPatch) -> Cluster25:
    """Cluster25 under the name `localhost`, with a certificate that a private authority has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    source._server.socket = context.wrap_socket(source._server.socket, server_side=True)
    environment.setenv("CLUSTER25_BASE_URL", source.base_url.replace("http://127.0.0.1", "https://localhost"))
    return source


@pytest.fixture
def trusted(
    over_tls: Cluster25, authority: trustme.CA, environment: pytest.MonkeyPatch, tmp_path: Path
) -> Cluster25:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    environment.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return over_tls


@pytest.mark.usefixtures("trusted")
def test_cluster25_by_a_private_authority(function: Function) -> None:
    assert function.call().outcome == "ok"


@pytest.mark.usefixtures("over_tls")
def test_an_unknown_authority_is_not_trusted_with_the_secret(function: Function, source: Cluster25) -> None:
    answer = function.fails(500, "source")
    assert "certificate" in answer.error["what"]
    assert not source.requests


def test_a_certificate_for_another_name_is_not_trusted_with_the_secret(
    function: Function, trusted: Cluster25, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("CLUSTER25_BASE_URL", f"https://127.0.0.1:{trusted.port}/api/v1")
    function.fails(500, "source")
    assert not trusted.requests


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_no_tls_before_1_2(
    function: Function, trusted: Cluster25, authority: trustme.CA, sink: OpenCTI
) -> None:
    context = trusted._server.socket.context  # type: ignore[attr-defined]
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    function.fails(503, "source")
    assert not trusted.requests


def test_a_proxy_of_the_environment_gets_a_tunnel_and_reads_no_secret(
    function: Function, trusted: Cluster25, proxy: Proxy, environment: pytest.MonkeyPatch, sink: OpenCTI
) -> None:
    environment.setenv("HTTPS_PROXY", proxy.url)
    assert function.call().outcome == "ok"
    targets = {request.rpartition(" HTTP/")[0] for request in proxy.requests}  # 1.0 up to Python 3.11
    assert targets == {f"CONNECT localhost:{trusted.port}"}
    assert b"canary" not in proxy.read
    assert at_sink(sink) == in_feed(trusted)


def test_a_proxy_may_stand_before_an_opencti_without_tls(
    function: Function, source: Cluster25, sink: OpenCTI, proxy: Proxy, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("HTTP_PROXY", proxy.url)
    assert function.call().outcome == "ok"
    assert {line.split(" ")[1] for line in proxy.requests} == {f"{sink.url}/graphql"}
    assert at_sink(sink) == in_feed(source)


def test_what_is_on_this_machine_is_asked_by_no_proxy(
    function: Function, source: Cluster25, proxy: Proxy, environment: pytest.MonkeyPatch
) -> None:
    """Plain http is allowed to a loopback address because nobody listens there; a proxy would."""
    environment.setenv("ALL_PROXY", proxy.url)
    environment.setenv("HTTP_PROXY", proxy.url)
    assert function.call().outcome == "ok"
    assert source.requests
    assert CLIENT_SECRET.encode() not in proxy.read
    assert b"/token" not in proxy.read


def test_no_proxy_is_honoured(
    function: Function, trusted: Cluster25, proxy: Proxy, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("HTTPS_PROXY", proxy.url)
    environment.setenv("HTTP_PROXY", proxy.url)
    environment.setenv("NO_PROXY", "localhost,127.0.0.1")
    assert function.call().outcome == "ok"
    assert not proxy.requests


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nno no",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n",
        b"",
    ],
)
def test_a_proxy_that_refuses(function: Function, environment: pytest.MonkeyPatch, answer: bytes) -> None:
    with running_proxy("user:canary-bearer-of-the-proxy@") as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url)
        proxy.refuses = answer
        function.fails(503, "source")  # where the password of the proxy would be found, too
        assert b"Proxy-Authorization: Basic" in proxy.read


class Elsewhere(Loopback):
    """Where a peer points to; nobody should ever come here."""

    def respond(self, exchange: Exchange) -> None:
        exchange.answer(200, b"{}")


def test_no_answer_of_a_peer_says_whom_to_ask_next(
    function: Function, source: Cluster25, sink: OpenCTI
) -> None:
    with Elsewhere() as elsewhere:
        there = elsewhere.url.encode()
        pointers = {
            "Link": f'<{elsewhere.url}/next>; rel="next"',
            "Refresh": f"0; url={elsewhere.url}",
            "Content-Location": elsewhere.url,
            "Alt-Svc": f'h2="127.0.0.1:{elsewhere.port}"',
            "Set-Cookie": "a=b; Domain=127.0.0.1",
        }
        bundle = b'{"next":"%b","type":"bundle","objects":[{"type":"url","id":"url--%b","value":"%b"}]}' % (
            there,
            b"00000000-0000-4000-8000-000000000000",
            there,
        )

        def answer(exchange: Exchange) -> bool:
            exchange.answer(200, bundle, pointers)
            return True

        source.fault = at(EXPORT, answer)
        assert function.call().outcome == "ok"
        source.fault = at(TOKEN, answering(401, b'{"token_url": "%b"}' % there, WWW_Authenticate="Basic"))
        function.main.connector.cache_clear()
        function.fails(500, "source")
        assert not elsewhere.requests
    assert len(at_sink(sink)) == 1


def test_no_credentials_are_sent_that_are_not_in_the_settings(
    function: Function, source: Cluster25, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password something")
    environment.setenv("NETRC", str(tmp_path / "netrc"))
    assert function.call().outcome == "ok"
    assert function.call("/heartbeat").outcome == "ok"
