"""The OpenCTI releases the stand-in can play: each knows its own GraphQL schema and refuses the rest."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Self

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLSyntaxError,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from local.refusals import formatted

_SCHEMA_FOLDER = Path(__file__).parent / "schema"

_VERSION_OF = {"6.2": "6.2.18", "6.3": "6.3.13", "6.8.10": "6.8.10", "7.26": "7.260318.0"}

RELEASES = tuple(_VERSION_OF)
"""Oldest first. 6.2 is too old for this connector: it has no `stixBundlePush`."""

SUPPORTED_RELEASES = RELEASES[1:]


@dataclass(frozen=True)
class Question:
    """A GraphQL request as it stands in the body."""

    document: str
    variables: dict[str, Any]

    @classmethod
    def read(cls, body: Any) -> Self:
        """From the parsed body. Raises `ValueError` when it is no GraphQL request."""
        if not isinstance(body, dict) or not isinstance(body.get("query"), str):
            raise ValueError("The body must be an object with a `query`.")  # noqa: TRY004 (to the caller one thing)
        return cls(body["query"], body.get("variables") or {})


@dataclass(frozen=True)
class Release:
    """A release's full version, as `about` tells it, and its schema."""

    version: str
    schema: GraphQLSchema

    def answer(self, question: Question, root: dict[str, Any]) -> dict[str, Any]:
        """The answer to a question; one unknown field, argument or input key is enough to refuse it whole."""
        try:
            document, invalid = _checked(self.schema, question.document)
        except GraphQLSyntaxError as error:
            return {"errors": [formatted(error, "GRAPHQL_PARSE_FAILED")]}
        if invalid:
            return {"errors": [formatted(error, "GRAPHQL_VALIDATION_FAILED") for error in invalid]}
        result = execute_sync(self.schema, document, root, variable_values=question.variables)
        if not result.errors:
            return {"data": result.data}
        # An error that belongs to no field is one of the variables: nothing was executed then.
        codes = ("INTERNAL_SERVER_ERROR" if error.path else "BAD_USER_INPUT" for error in result.errors)
        errors = [formatted(error, code) for error, code in zip(result.errors, codes, strict=True)]
        return {"errors": errors, "data": result.data}


@cache
def load_release(name: str) -> Release:
    """One of `RELEASES`. Each adds to the schema of the one before."""
    known = RELEASES[: RELEASES.index(name) + 1]
    schema = build_schema("\n".join((_SCHEMA_FOLDER / f"{part}.graphql").read_text() for part in known))
    moment = schema.type_map["DateTime"]
    assert isinstance(moment, GraphQLScalarType)  # noqa: S101 (the schema says so; this tells the type checker)
    moment.parse_value = _parse_moment  # type: ignore[method-assign]
    return Release(_VERSION_OF[name], schema)


@lru_cache(maxsize=64)
def _checked(schema: GraphQLSchema, document: str) -> tuple[DocumentNode, list[GraphQLError]]:
    # Cached, because a connector sends the same few documents again and again.
    parsed = parse(document)
    return parsed, validate(schema, parsed)


def _parse_moment(value: object) -> str:
    """Let RFC 3339 pass, and refuse the rest in the platform's words."""
    try:
        if isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None:
            return value
    except ValueError:
        pass
    raise GraphQLError(f"DateTime cannot represent an invalid date-time-string {value}.")
