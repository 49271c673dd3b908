"""Errors as OpenCTI answers them: HTTP 200, a message, a code, and the status that HTTP would have had."""

from typing import Any

from graphql import GraphQLError

_STATUS_OF_CODE = {
    "AUTH_REQUIRED": 401,
    "FORBIDDEN_ACCESS": 403,
    "FUNCTIONAL_ERROR": 400,
    "UNSUPPORTED_ERROR": 500,
    "WORK_NOT_ALIVE": 404,
}


def refusal(code: str, message: str, **data: Any) -> GraphQLError:
    """An error of the platform's own, to be raised by a resolver."""
    return GraphQLError(
        message, extensions={"code": code, "data": {"http_status": _STATUS_OF_CODE[code], **data}}
    )


def formatted(error: GraphQLError, code: str) -> dict[str, Any]:
    """The error as a member of `errors`; `name` repeats the code, for older clients.

    `code` is for GraphQL's own errors, whose names the platform's library puts in double quotes.
    """
    if error.extensions:
        return {**error.formatted, "name": error.extensions["code"]}
    message = error.message.replace("'", '"')
    return {**error.formatted, "message": message, "extensions": {"code": code}, "name": code}
