"""STIX patterns: is one valid, and what is it mainly about."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subject:
    """What a pattern is mainly about: OpenCTI's observable type, Cluster25's indicator type, where known."""

    observable_type: str | None = None
    indicator_type: str | None = None


_SUBJECTS = {
    "ipv4-addr:value": Subject("IPv4-Addr", "ipv4"),
    "ipv6-addr:value": Subject("IPv6-Addr", "ipv6"),
    "domain-name:value": Subject("Domain-Name", "domain"),
    "url:value": Subject("Url", "url"),
    "email-addr:value": Subject("Email-Addr", "email"),
    "file:name": Subject("StixFile", "filename"),
    "file:hashes.md5": Subject("StixFile", "md5"),
    "file:hashes.sha1": Subject("StixFile", "sha1"),
    "file:hashes.sha256": Subject("StixFile", "sha256"),
}
_OTHER_FILE = Subject("StixFile")
_UNKNOWN = Subject()  # an observable type that the platform does not know would fail the object

PARSED_PATTERN_CHARS = 16_384
"""Longer patterns are left to the platform's own check: the grammar's parser needs seconds for them."""

_STRING = r"'(?:[^'\\]|\\.)*'"
_PATH = rf"([a-z0-9-]+):(\w+(?:\.(?:\w+|{_STRING}))*)"
_ONE_COMPARISON = re.compile(rf"\s*\[\s*{_PATH}\s*=\s*{_STRING}\s*\]\s*")
_COMPARED = re.compile(rf"{_STRING}|{_PATH}")


class PatternError(ValueError):
    """The pattern does not follow the STIX patterning grammar."""


def subject_of(pattern: str) -> Subject:
    """The subject of the first comparison in a STIX pattern.

    Raises `PatternError` for a pattern that breaks the grammar (STIX 2.1, section 9). One comparison by `=`,
    which is what Cluster25's nine types are, is read here; anything else by the grammar's own parser.
    """
    if simple := _ONE_COMPARISON.fullmatch(pattern):
        return _subject(simple[1], simple[2])
    if len(pattern) <= PARSED_PATTERN_CHARS:
        _parse(pattern)
    for compared in _COMPARED.finditer(pattern):
        if compared[1]:
            return _subject(compared[1], compared[2])
    return _UNKNOWN


def _subject(object_type: str, path: str) -> Subject:
    if object_type == "file":
        path = path.replace("'", "").replace("-", "").lower()
        return _SUBJECTS.get(f"file:{path}", _OTHER_FILE)
    return _SUBJECTS.get(f"{object_type}:{path}", _UNKNOWN)


def _parse(pattern: str) -> None:
    # Imported when first needed: the parser's tables cost a cold start more than everything else here.
    from stix2patterns.exceptions import ParseException  # noqa: PLC0415
    from stix2patterns.v21.pattern import Pattern  # noqa: PLC0415

    try:
        Pattern(pattern)
    except ParseException as error:
        raise PatternError(str(error)) from error
    except RecursionError as error:
        raise PatternError("nested too deeply") from error
