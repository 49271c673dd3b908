"""STIX patterns: does the platform accept one, and what is it mainly about."""

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

CHECKED_PATTERN_CHARS = 16_384
"""Longer patterns are left to the platform's own check: the grammar's parser takes some 10 us a character."""

LOOKED_AT_CHARS = 1_024
"""Where a pattern is too long to be checked, its first comparison is looked for in so much of it."""

_STRING = r"'[^'\\]*(?:\\['\\][^'\\]*)*'"
_PATH = rf"[a-z0-9-]+:\w+(?:\.(?:\w+|{_STRING}))*"
_BLANK = r"[ \t\r\n]*"
_IS = rf"{_BLANK}={_BLANK}"
_IS_TEXT = _IS + _STRING
_USUAL_COMPARISONS = {
    "ipv4": f"ipv4-addr:value{_IS_TEXT}",
    "ipv6": f"ipv6-addr:value{_IS_TEXT}",
    "domain": f"domain-name:value{_IS_TEXT}",
    "url": f"url:value{_IS_TEXT}",
    "email": f"email-addr:value{_IS_TEXT}",
    "filename": f"file:name{_IS_TEXT}",
    "md5": rf"file:hashes\.(?i:MD5|'MD5'){_IS}'[0-9a-fA-F]{{32}}'",
    "sha1": rf"file:hashes\.(?i:SHA1|'SHA-?1'){_IS}'[0-9a-fA-F]{{40}}'",
    "sha256": rf"file:hashes\.(?i:SHA256|'SHA-?256'){_IS}'[0-9a-fA-F]{{64}}'",
}
_ANY_USUAL = "|".join(f"(?P<{name}>{comparison})" for name, comparison in _USUAL_COMPARISONS.items())
_USUAL_PATTERN = re.compile(rf"{_BLANK}\[{_BLANK}(?:{_ANY_USUAL}){_BLANK}\]{_BLANK}", re.ASCII)
_OF_TYPE = {subject.indicator_type: subject for subject in _SUBJECTS.values()}
_COMPARED = re.compile(rf"{_STRING}|({_PATH})", re.ASCII)
_ALL_CLOSED = re.compile(rf"[^']*(?:{_STRING}[^']*)*")


class PatternError(ValueError):
    """The platform would refuse the pattern."""


def subject_of(pattern: str) -> Subject:
    """The subject of the first comparison in a STIX pattern.

    Raises `PatternError` for a pattern that the platform's own check refuses: one that breaks the grammar
    (STIX 2.1, section 9), or compares a hash with what cannot be one. A single comparison by `=`, which is
    what Cluster25's nine types are, is read here; anything else by the validator that the platform uses.
    """
    if len(pattern) > CHECKED_PATTERN_CHARS:
        return _first_subject(pattern[:LOOKED_AT_CHARS])
    if usual := _USUAL_PATTERN.fullmatch(pattern):
        return _OF_TYPE[usual.lastgroup]
    return _checked_subject(pattern)


def _checked_subject(pattern: str) -> Subject:
    if not pattern.strip():
        raise PatternError("it is empty")
    if not _ALL_CLOSED.fullmatch(pattern):
        raise PatternError("a string in it does not end, or has a backslash before other than ' and \\")
    # Imported when first needed: the parser's tables cost a cold start more than everything else here.
    from stix2patterns.validator import run_validator  # noqa: PLC0415 - see above

    try:
        problems = run_validator(pattern)
    except RecursionError as error:
        raise PatternError("nested too deeply") from error
    if problems:
        raise PatternError(problems[0].removeprefix("FAIL: ")[:200])
    return _first_subject(pattern)


def _first_subject(pattern: str) -> Subject:
    path = next((found[1] for found in _COMPARED.finditer(pattern) if found[1]), "")
    if path.startswith("file:"):
        return _SUBJECTS.get(_spelled_alike(path), _OTHER_FILE)
    return _SUBJECTS.get(path, _UNKNOWN)


def _spelled_alike(path: str) -> str:
    """Paths of files in one spelling: hashes are written as MD5, 'SHA-256', SHA256, sha256."""
    return path.replace("'", "").replace("-", "").lower()
