"""What OpenCTI's GraphQL answers mean: data, or an error that waiting may or may not mend."""

from typing import Any, TypeVar

import msgspec
import orjson

from cluster25.errors import ConnectorError, ConnectorUnknownError, SinkRefusedError, SinkUnavailableError
from cluster25.redaction import excerpt

ROLE_REMEDY = (
    "Check OPENCTI_TOKEN: its user needs the capability CONNECTORAPI, best by a user of its own in the group "
    "Connectors, with the role Connector."
)
RELEASE_REMEDY = (
    "The platform is older than release 6.3, or newer than this connector knows: upgrade the one or other."
)
LOG_REMEDY = "Read the platform's own log for the reason."
REFUSALS = {
    "AUTH_FAILURE": ROLE_REMEDY,
    "AUTH_REQUIRED": ROLE_REMEDY,
    "FORBIDDEN": ROLE_REMEDY,
    "FORBIDDEN_ACCESS": ROLE_REMEDY,
    "LTS_REQUIRED_ACTIVATION": "The platform's licence must be activated in its settings.",
    "OTP_REQUIRED": ROLE_REMEDY,
    "OTP_REQUIRED_ACTIVATION": ROLE_REMEDY,
    "PASSWORD_CHANGE_REQUIRED": "The user of OPENCTI_TOKEN must change its password in the platform.",
    "BAD_REQUEST": RELEASE_REMEDY,
    "BAD_USER_INPUT": RELEASE_REMEDY,
    "GRAPHQL_PARSE_FAILED": RELEASE_REMEDY,
    "GRAPHQL_VALIDATION_FAILED": RELEASE_REMEDY,
    "FUNCTIONAL_ERROR": LOG_REMEDY,
}
"""GraphQL error codes that the next run would meet again, and what to do about each."""

T = TypeVar("T")


def read_data(status: int, answer: bytes, expected: type[T]) -> T:
    """The `data` of an answer with that status and body, of the expected shape.

    Raises `SinkRefusedError`, `ConnectorUnknownError` or `SinkUnavailableError` for the error it carries
    instead, and for what is no such answer.
    """
    data = _data(status, answer)
    try:
        return msgspec.convert(data, expected)
    except msgspec.ValidationError as error:
        raise _not_graphql(status, answer) from error


def _data(status: int, answer: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        if status != 200:
            raise _not_graphql(status, answer) from error
        raise SinkUnavailableError(
            f"OpenCTI's answer is no JSON, or was cut short: {excerpt(answer)}",
            "Nothing is lost; the next run goes on. If it lasts, check OPENCTI_URL and proxies.",
        ) from error
    if not isinstance(content, dict):
        raise _not_graphql(status, answer)
    if errors := content.get("errors"):
        raise _graphql_error(status, errors[0] if isinstance(errors, list) else errors)
    data = content.get("data")
    if status != 200 or not isinstance(data, dict):
        raise _not_graphql(status, answer)
    return data


def _not_graphql(status: int, answer: bytes) -> SinkRefusedError:
    return SinkRefusedError(
        f"OpenCTI answered {status} with something that is no GraphQL answer: {excerpt(answer)}",
        "Check OPENCTI_URL: it is the platform's address without /graphql.",
    )


def _graphql_error(status: int, error: Any) -> ConnectorError:
    error = error if isinstance(error, dict) else {"message": str(error)}
    message = excerpt(str(error.get("message", "")).encode())
    extensions = error.get("extensions")
    code = (extensions.get("code") if isinstance(extensions, dict) else None) or error.get("name") or ""
    code = excerpt(str(code).encode())
    if "No connector found" in message:
        return ConnectorUnknownError(
            "OpenCTI knows no connector with this CONNECTOR_ID.", "It is registered again."
        )
    if code in REFUSALS or status != 200:
        return SinkRefusedError(
            f"OpenCTI refused the request ({code or status}): {message}", REFUSALS.get(code, LOG_REMEDY)
        )
    return SinkUnavailableError(
        f"OpenCTI reported an error ({code or 'without a code'}): {message}",
        "Nothing is lost; the next run goes on. If it lasts, read the platform's own log.",
    )
