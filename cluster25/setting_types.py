"""What a value of a setting may be, where a plain number or text does not say it.

Every check raises `ValueError` with a text that follows the variable's name ("must be ...") and never repeats
a value that may hold a secret.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, SecretStr, TypeAdapter, ValidationError
from pydantic_settings import NoDecode

from cluster25.clock import SystemClock

IndicatorType = Literal["ipv4", "domain", "md5", "sha1", "sha256", "url", "email", "ipv6", "filename"]
INDICATOR_TYPES: tuple[IndicatorType, ...] = get_args(IndicatorType)

_EARLIEST_START = datetime(1970, 1, 1, tzinfo=UTC)


def _connector_id(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError("must be a UUID: make one with `python3 -m uuid -u uuid4` or `uuidgen`") from None


def _header_token(value: SecretStr) -> SecretStr:
    token = value.get_secret_value()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError(
            "must be one line of ASCII letters, digits and signs without blanks: it is sent in a header"
        )
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in value):
        raise ValueError("must be a URL such as https://host.example.org")
    if "@" in parts.netloc:
        raise ValueError("must not carry credentials, there are settings for them")
    if "?" in value or "#" in value:
        raise ValueError("must not carry a query or a fragment")
    return value.rstrip("/")


def _https_unless_loopback(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise ValueError(
            "must use https: the client secret is sent there (http is for this very machine only)"
        )
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls_verify(value: str | bool | Path) -> bool | Path:
    text = str(value)
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if not Path(text).is_file():
        raise ValueError(
            "must be true, false, or the path of a file with CA certificates; there is no such file"
        )
    return Path(text)


def _log_level(value: str) -> str:
    level = value.lower()
    return "warn" if level == "warning" else level


def _lower(value: str) -> str:
    return value.lower()


def _indicator_types(value: str | Iterable[str]) -> tuple[str, ...]:
    listed = value.split(",") if isinstance(value, str) else value
    types = tuple(dict.fromkeys(name.strip().lower() for name in listed if name.strip()))
    unknown = [name for name in types if name not in INDICATOR_TYPES]
    if unknown or not types:
        found = f"unknown: {', '.join(unknown)}" if unknown else "none is given"
        raise ValueError(f"must list one or more of {', '.join(INDICATOR_TYPES)}; {found}")
    return types


def _import_start(value: str | datetime | timedelta) -> datetime | timedelta:
    try:
        start = _read_start(value) if isinstance(value, str) else value
    except (ValueError, ValidationError):
        raise ValueError(
            "must be an ISO 8601 date, date-time or duration, such as 2026-01-31, 2026-01-31T08:00:00Z or P7D"
        ) from None
    now = SystemClock().now()
    age = start if isinstance(start, timedelta) else now - start
    if age < timedelta():
        raise ValueError("must not lie in the future")
    if age > now - _EARLIEST_START:
        raise ValueError(f"must not reach back beyond {_EARLIEST_START:%Y}")
    return start


def _read_start(text: str) -> datetime | timedelta:
    if text.lstrip("+-").upper().startswith("P"):
        return TypeAdapter(timedelta).validate_python(text.upper())
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


ConnectorId = Annotated[str, AfterValidator(_connector_id)]
HeaderToken = Annotated[SecretStr, AfterValidator(_header_token)]
Url = Annotated[str, AfterValidator(_url)]
SecureUrl = Annotated[Url, AfterValidator(_https_unless_loopback)]
TlsVerify = Annotated[bool | Path, BeforeValidator(_tls_verify)]
LogLevel = Annotated[Literal["debug", "info", "warn", "error"], BeforeValidator(_log_level)]
StateStore = Annotated[Literal["firestore", "sqlite"], BeforeValidator(_lower)]
IndicatorTypes = Annotated[tuple[IndicatorType, ...], NoDecode, BeforeValidator(_indicator_types)]
ImportStart = Annotated[datetime | timedelta, BeforeValidator(_import_start)]
