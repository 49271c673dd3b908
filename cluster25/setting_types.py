"""What a value of a setting may be, where a plain number or text does not say it.

Every check raises `ValueError` with a text that follows the variable's name ("must be ...") and never repeats
a value that may hold a secret. Values come as text; those of `config.yml` may be lists or maps by mistake.
"""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, SecretStr, TypeAdapter, ValidationError
from pydantic_settings import NoDecode

from cluster25.clock import SystemClock, as_utc

IndicatorType = Literal["ipv4", "domain", "md5", "sha1", "sha256", "url", "email", "ipv6", "filename"]
INDICATOR_TYPES: tuple[IndicatorType, ...] = get_args(IndicatorType)

EARLIEST_START = datetime(1970, 1, 1, tzinfo=UTC)


def _connector_id(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError("must be a UUID, as `uuidgen` makes them") from None


def _header_token(value: SecretStr) -> SecretStr:
    token = value.get_secret_value()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("must be ASCII letters, digits and signs without blanks: it is sent in a header")
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
        raise ValueError("must use https, the client secret is sent there (http only to a loopback address)")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls_verify(value: object) -> bool | Path:
    text = str(value)
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        exists = Path(text).is_file()
    except OSError:
        exists = False
    if not exists:
        raise ValueError("must be true, false, or the path of a readable file with CA certificates")
    return Path(text)


def _lower(value: object) -> str:
    return str(value).lower()


def _log_level(value: object) -> str:
    level = _lower(value)
    return "warn" if level == "warning" else level


def _collection(value: str) -> str:
    if "/" in value:
        raise ValueError("must be the name of a top-level collection, without /")
    return value


def _indicator_types(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list | tuple) else str(value).split(",")
    types = tuple(dict.fromkeys(_lower(name).strip() for name in listed if str(name).strip()))
    unknown = [name for name in types if name not in INDICATOR_TYPES]
    if unknown or not types:
        found = f"unknown: {', '.join(unknown)}" if unknown else "none is given"
        raise ValueError(f"must list one or more of {', '.join(INDICATOR_TYPES)} ({found})")
    return types


def _import_start(value: object) -> datetime | timedelta:
    try:
        start = value if isinstance(value, datetime | timedelta) else _read_start(str(value))
    except (ValueError, ValidationError):
        raise ValueError(
            "must be an ISO 8601 date, date-time or duration, such as 2026-01-31, 2026-01-31T08:00:00Z or P7D"
        ) from None
    now = SystemClock().now()
    age = start if isinstance(start, timedelta) else now - start
    if age < timedelta():
        raise ValueError("must not lie in the future")
    if age > now - EARLIEST_START:
        raise ValueError(f"must not reach back beyond {EARLIEST_START:%Y}")
    return start


def _read_start(text: str) -> datetime | timedelta:
    if text.lstrip("+-").upper().startswith("P"):
        return TypeAdapter(timedelta).validate_python(text.upper())
    return as_utc(datetime.fromisoformat(text))


ConnectorId = Annotated[str, AfterValidator(_connector_id)]
HeaderToken = Annotated[SecretStr, AfterValidator(_header_token)]
Url = Annotated[str, AfterValidator(_url)]
SecureUrl = Annotated[Url, AfterValidator(_https_unless_loopback)]
TlsVerify = Annotated[bool | Path, BeforeValidator(_tls_verify)]
LogLevel = Annotated[Literal["debug", "info", "warn", "error"], BeforeValidator(_log_level)]
Collection = Annotated[str, AfterValidator(_collection)]
StateStore = Annotated[Literal["firestore", "sqlite"], BeforeValidator(_lower)]
IndicatorTypes = Annotated[tuple[IndicatorType, ...], NoDecode, BeforeValidator(_indicator_types)]
ImportStart = Annotated[datetime | timedelta, BeforeValidator(_import_start)]
