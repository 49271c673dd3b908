"""Cluster25, the source: a token, and the export as a stream of bytes."""

import binascii
import logging
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec
import requests
from pydantic import SecretStr

from cluster25 import __version__
from cluster25.clock import Budget, to_rfc3339
from cluster25.errors import SourceRefusedError, SourceUnavailableError
from cluster25.redaction import excerpt, hide_token
from cluster25.transport import Peer

log = logging.getLogger(__name__)

RENEWAL_MARGIN_SECONDS = 60.0
"""A token is renewed this long before it expires, or at a tenth of its life where that is shorter."""


class Source(Protocol):
    """Where indicators come from."""

    def export_indicators(
        self, types: Sequence[str], start: datetime, budget: Budget
    ) -> AbstractContextManager[Iterator[bytes]]:
        """A STIX bundle with what was modified since `start`, as an iterator over its bytes, in any pieces.

        Raises `SourceUnavailableError` and `SourceRefusedError`, here and while the bytes are read.
        """


class _Token(msgspec.Struct):
    token: str


class _TokenAnswer(msgspec.Struct):
    data: _Token


class _Claims(msgspec.Struct):
    exp: float | None = None


@dataclass
class AccessToken:
    """A token, if there is one, and when it is to be renewed, in epoch seconds."""

    value: str | None = None
    renew_at: float = math.inf


class Cluster25Client:
    """Asks Cluster25 on behalf of one account. For one thread at a time; its token may be shared."""

    def __init__(
        self, base_url: str, client_id: str, client_secret: SecretStr, token: AccessToken | None = None
    ) -> None:
        """`token` is used while it is good, and then replaced."""
        self._base_url = base_url
        self._client_id = client_id
        self._client_secret = client_secret
        self._token = token or AccessToken()
        session = requests.Session()
        # Plain http is taken for loopback addresses only, where nobody listens: a proxy would.
        session.trust_env = base_url.startswith("https:")
        session.headers["User-Agent"] = f"cluster25-opencti/{__version__}"
        self._peer = Peer(
            "Cluster25",
            "CLUSTER25_BASE_URL",
            session,
            unavailable=SourceUnavailableError,
            refused=SourceRefusedError,
        )

    @contextmanager
    def export_indicators(
        self, types: Sequence[str], start: datetime, budget: Budget
    ) -> Iterator[Iterator[bytes]]:
        """The export of what was modified since `start`, one STIX bundle, as an iterator over its bytes.

        Raises `SourceUnavailableError` (network, 408, 429, 5xx, HTML, a cut body, the end of the budget)
        and `SourceRefusedError` (credentials, a question it does not take), both here and while the bytes
        are read. Request and answer as in Cluster25's `GET /export/indicators`.
        """
        log.info("asking Cluster25 for %s modified since %s", ", ".join(types), to_rfc3339(start))
        parameters = {
            "export_format": "stix2",
            "types": list(types),
            "start": start.isoformat(timespec="microseconds"),
            "include_info": "True",
        }
        # The retried part ends when the answer's head is there: an export that breaks later is not
        # started again, the ledger lets the next run go on instead.
        with (
            self._peer.bounded(budget),
            self._peer.retry(budget, lambda: self._open_export(parameters, budget)) as response,
        ):
            yield self._peer.stream(response)

    def renew_token(self, budget: Budget) -> None:
        """Ask for a token, whether there is one or not. Raises like `export_indicators`."""
        with self._peer.bounded(budget):
            self._peer.retry(budget, lambda: self._renew_token(budget))

    def _open_export(self, parameters: Mapping[str, object], budget: Budget) -> requests.Response:
        token, fresh = self._token.value, False
        if token is None or budget.clock.now().timestamp() >= self._token.renew_at:
            token, fresh = self._renew_token(budget), True
        response = self._send_export(token, parameters, budget)
        if response.status_code == 401 and not fresh:
            response.close()
            log.debug("Cluster25 no longer takes the token; asking for a new one")
            response = self._send_export(self._renew_token(budget), parameters, budget)
        if response.status_code != 200:
            raise self._refusal(response)
        return response

    def _send_export(self, token: str, parameters: Mapping[str, object], budget: Budget) -> requests.Response:
        return self._peer.send(
            "GET",
            f"{self._base_url}/export/indicators",
            budget,
            params=parameters,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
        )

    def _refusal(self, response: requests.Response) -> SourceRefusedError:
        status, body = response.status_code, excerpt(self._peer.read(response))
        if status in (401, 403):
            self._token.value = None
            return SourceRefusedError(
                f"Cluster25 answered {status} to the export with a token it had just given: {body}",
                "The account may not export indicators; ask Cluster25 about its rights.",
            )
        return SourceRefusedError(
            f"Cluster25 answered {status} to the export: {body}",
            "Check CLUSTER25_BASE_URL and CLUSTER25_INDICATOR_TYPES.",
        )

    def _renew_token(self, budget: Budget) -> str:
        """`POST /token`; returns the token, and keeps it. Raises like `export_indicators`."""
        self._token.value = None
        credentials = {"client_id": self._client_id, "client_secret": self._client_secret.get_secret_value()}
        response = self._peer.send("POST", f"{self._base_url}/token", budget, json=credentials)
        status, body = response.status_code, self._peer.read(response)
        if status in (400, 401, 403):
            raise SourceRefusedError(
                f"Cluster25 refused the credentials ({status}): {excerpt(body)}",
                "Check CLUSTER25_CLIENT_ID and CLUSTER25_CLIENT_SECRET.",
            )
        if status != 200:
            raise SourceRefusedError(
                f"Cluster25 answered {status} to the request for a token: {excerpt(body)}",
                "Check CLUSTER25_BASE_URL: it ends in /api/v1 for the public API.",
            )
        token = _token(body)
        hide_token(token)
        now = budget.clock.now().timestamp()
        expires_at = _expiry(token)
        life_seconds = max(0.0, expires_at - now)
        self._token.value = token
        self._token.renew_at = expires_at - min(RENEWAL_MARGIN_SECONDS, life_seconds / 10)
        log.debug(
            "Cluster25 gave a token (life %s s)",
            "unknown" if expires_at == math.inf else int(life_seconds),
        )
        return token


def _token(body: bytes) -> str:
    """The token in an answer, which is never quoted: it may hold it under another name.

    Raises `SourceUnavailableError` and `SourceRefusedError`.
    """
    try:
        token = msgspec.json.decode(body, type=_TokenAnswer).data.token
    except msgspec.ValidationError:
        token = ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SourceUnavailableError(
            "Cluster25 answered the request for a token with something that is no JSON, or was cut short.",
            "Nothing is lost; the next run goes on. If it lasts, check CLUSTER25_BASE_URL and proxies.",
        ) from error
    if not re.fullmatch(r"[!-~]+", token):  # what else a header cannot carry
        raise SourceRefusedError(
            "Cluster25 answered the request for a token with something that holds none.",
            "Check CLUSTER25_BASE_URL: it ends in /api/v1 for the public API.",
        )
    return token


def _expiry(token: str) -> float:
    """The `exp` of a JWT in epoch seconds, or infinity where there is none to read (RFC 7519, unverified)."""
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims)
    except (IndexError, binascii.Error, msgspec.DecodeError, ValueError, RecursionError):
        return math.inf
    return math.inf if claims.exp is None else claims.exp
