"""A stand-in Cluster25: its token and export end points, strict in what it is asked."""

import base64
import hashlib
import hmac
import json
import secrets
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from cluster25.clock import Clock, SystemClock
from local.feed import Feed
from local.indicators import TYPES
from local.loopback import Exchange, Loopback

CLIENT_ID = "stand-in-client"
CLIENT_SECRET = "stand-in-secret"
BASE_PATH = "/api/v1"

Transform = Callable[[Iterator[bytes]], Iterator[bytes]]
"""Changes the pieces of an export on their way: cut, drip, append.

A `ConnectionError` raised in it resets the connection; an end before its time makes a whole HTTP answer with
half a bundle in it."""


@dataclass(frozen=True)
class Export:
    """What one export was asked for."""

    types: tuple[str, ...]
    start: datetime
    include_info: bool


class Cluster25(Loopback):
    """Serves a feed to whoever has the credentials.

    Tokens are valid for `token_life_seconds` of `clock`. With `compress`, exports are gzipped for clients
    that accept it; `port` 0 takes any free one. `exports` lists what was asked for and granted, oldest first.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        clock: Clock | None = None,
        token_life_seconds: float = 3600,
        compress: bool = False,
        port: int = 0,
    ) -> None:
        super().__init__(port)
        self.feed = feed
        self.client_id = CLIENT_ID
        self.client_secret = CLIENT_SECRET
        self.token_life_seconds = token_life_seconds
        self.compress = compress
        self.transform: Transform | None = None
        self.exports: list[Export] = []
        self.base_url = self.url + BASE_PATH
        self._clock = clock or SystemClock()
        self._expiry_of: dict[str, float] = {}
        self._signing_key = secrets.token_bytes(32)

    def revoke_tokens(self) -> None:
        """From now on 401 for every token given out so far, expired or not."""
        self._expiry_of.clear()

    def respond(self, exchange: Exchange) -> None:
        """Answer `/token` and `/export/indicators`; 404 and 405 for everything else."""
        endpoints = {
            f"{BASE_PATH}/token": ("POST", self._token),
            f"{BASE_PATH}/export/indicators": ("GET", self._export),
        }
        method, answer = endpoints.get(urlsplit(exchange.path).path, (exchange.command, _not_found))
        if exchange.command == method:
            answer(exchange)
        else:
            exchange.answer_json(405, {"error": "Method not allowed"})

    def _token(self, exchange: Exchange) -> None:
        try:
            sent = json.loads(exchange.body())
        except ValueError:
            exchange.answer_json(400, {"error": "The body is not JSON"})
            return
        if sent != {"client_id": self.client_id, "client_secret": self.client_secret}:
            exchange.answer_json(401, {"error": "Invalid client credentials"})
            return
        now = self._clock.now().timestamp()
        expiry = int(now + self.token_life_seconds)
        token = self._signed(
            {"sub": self.client_id, "iat": int(now), "exp": expiry, "jti": secrets.token_hex(8)}
        )
        self._expiry_of[token] = expiry
        exchange.answer_json(200, {"data": {"token": token}})

    def _signed(self, claims: dict[str, Any]) -> str:
        parts = (orjson.dumps({"alg": "HS256", "typ": "JWT"}), orjson.dumps(claims))
        signed = b".".join(map(_base64url, parts))
        return (signed + b"." + _base64url(hmac.digest(self._signing_key, signed, hashlib.sha256))).decode()

    def _export(self, exchange: Exchange) -> None:
        scheme, _, token = exchange.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or self._expiry_of.get(token, 0) <= self._clock.now().timestamp():
            exchange.answer_json(401, {"error": "The token is missing, unknown or has expired"})
            return
        try:
            export = _parse(urlsplit(exchange.path).query)
        except ValueError as error:
            exchange.answer_json(400, {"error": str(error)})
            return
        self.exports.append(export)
        pieces = self.feed.encoded(export.types, export.start)
        if self.transform:
            pieces = self.transform(pieces)
        headers = {"Content-Type": "application/json"}
        if self.compress and "gzip" in exchange.headers.get("Accept-Encoding", ""):
            pieces, headers = _gzipped(pieces), headers | {"Content-Encoding": "gzip"}
        exchange.stream(pieces, headers)


def _not_found(exchange: Exchange) -> None:
    exchange.answer_json(404, {"error": "Not found"})


def _parse(query: str) -> Export:
    """What the query asks for. Raises `ValueError` for a missing, unknown, repeated or wrong parameter."""
    asked = parse_qs(query, keep_blank_values=True)
    types = tuple(asked.pop("types", []))
    if not types or not set(types) <= set(TYPES):
        raise ValueError(f"types must be one or more of {', '.join(TYPES)}")
    repeated = [name for name, values in asked.items() if len(values) > 1]
    if repeated:
        raise ValueError(f"{repeated[0]} is given more than once")
    single = {name: values[0] for name, values in asked.items()}
    if single.pop("export_format", None) != "stix2":
        raise ValueError("export_format must be stix2")
    info = single.pop("include_info", "False")
    if info not in {"True", "False"}:
        raise ValueError("include_info must be True or False")
    start = datetime.fromisoformat(single.pop("start", ""))
    if start.tzinfo is None:
        raise ValueError("start must have an offset from UTC")
    if single:
        raise ValueError(f"{next(iter(single))} is no parameter of this end point")
    return Export(types, start, info == "True")


def _gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    # Level 1 and a flush after each piece: what a web server in front of an application does.
    packer = zlib.compressobj(level=1, wbits=31)
    for piece in pieces:
        yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
