"""Patterns, judged by the validator that the platform itself uses."""

import time
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stix2patterns.validator import run_validator

from cluster25.patterns import CHECKED_PATTERN_CHARS, PatternError, subject_of

MD5, SHA1, SHA256 = "0123456789abcdefABCDEF0123456789", "a" * 40, "B" * 64
SPELLINGS = {
    "[ipv4-addr:value = '198.51.100.7']": ("IPv4-Addr", "ipv4"),
    "[ipv6-addr:value='2001:db8::1']": ("IPv6-Addr", "ipv6"),
    "[domain-name:value = 'a.example']": ("Domain-Name", "domain"),
    "[url:value = 'https://a.example/?q=[1]:2&x=%27']": ("Url", "url"),
    "[email-addr:value = 'who@a.example']": ("Email-Addr", "email"),
    "[file:name = 'invoice.exe']": ("StixFile", "filename"),
    r"[file:name = 'C:\\Users\\it\'s [1].exe']": ("StixFile", "filename"),
    f"[file:hashes.MD5 = '{MD5}']": ("StixFile", "md5"),
    f"[file:hashes.'MD5' = '{MD5}']": ("StixFile", "md5"),
    f"[file:hashes.md5='{MD5}']": ("StixFile", "md5"),
    f"[file:hashes.'SHA-1' = '{SHA1}']": ("StixFile", "sha1"),
    f"[file:hashes.SHA1 = '{SHA1}']": ("StixFile", "sha1"),
    f"[file:hashes.'SHA-256' = '{SHA256}']": ("StixFile", "sha256"),
    f"[file:hashes.sha256='{SHA256}']": ("StixFile", "sha256"),
}
COMBINED = {
    f"[file:hashes.MD5 = '{MD5}' OR file:hashes.'SHA-1' = '{SHA1}']": ("StixFile", "md5"),
    "[domain-name:value='a.example'] AND [ipv4-addr:value='198.51.100.7']": ("Domain-Name", "domain"),
    "([url:value='http://a.example'] FOLLOWEDBY [file:name='x']) WITHIN 5 SECONDS": ("Url", "url"),
    "[file:name LIKE '%.exe']": ("StixFile", "filename"),
    "[file:name NOT = 'x' AND file:size > 25]": ("StixFile", "filename"),
    "[ipv4-addr:value ISSUBSET '198.51.100.0/24']": ("IPv4-Addr", "ipv4"),
    "[domain-name:value IN ('a.example', 'b.example')]": ("Domain-Name", "domain"),
    r"[x-custom:name = 'url:value = \'' AND url:value = 'http://a.example']": (None, None),
    "[x-custom:url = 'a' OR 'domain-name:value' = 'b']": None,
    "[EXISTS email-addr:value]": ("Email-Addr", "email"),
    "[file:size = 25]": ("StixFile", None),
    "[file:hashes.'SHA-512' = '%s']" % ("c" * 128): ("StixFile", None),
    "[file:hashes.ssdeep = '96:s4Ud1Lj96tHHlZDrwciQmA+4uy1I0G4HYuL8N3TzS8QsO/wqWXLcMSx:+d1L']": (
        "StixFile",
        None,
    ),
    "[network-traffic:dst_ref.value = '198.51.100.7']": (None, None),
    "[configuration-profile:id = 'x']": (None, None),
}
REFUSED = [
    "file:name = 'x'",
    "[file:name = 'x'",
    "[file:name = 'x]",
    "[file:name = 'x'] and [file:name = 'y']",
    '[file:name = "x"]',
    f"[file:hashes.\"MD5\" = '{MD5}']",
    f"[file:hashes.SHA-256 = '{SHA256}']",
    "[file:hashes.MD5 = 'too short']",
    f"[file:hashes.'SHA-256' = '{'x' * 64}']",
    r"[file:name = 'C:\temp\x.exe']",
    "[file:IN = 'x']",
    "[é:value = 'x']",
    "[0:value = 'x']",
    "[]",
    "alert tcp any any -> any any",
    "[file:name = 'x'] trailing",
    "((" + "[file:name = 'x']",
    "(" * 3000 + "[file:name = 'x']" + ")" * 3000,
]
HOSTILE = {
    "escapes": "[a:b='" + "\\'" * 8_000,
    "endless escapes": "[a:b='" + "\\'" * 500_000,
    "quotes": "'" * 16_000,
    "endless quotes": "'" * 1_000_000,
    "blanks": " " * 1_000_000,
    "name": "a" * 1_000_000,
    "dashes": "a-" * 8_000,
    "steps": "[a:b" + ".c" * 8_000 + "='x']",
    "brackets": "[" * 16_000,
    "comments": "/*" * 8_000,
    "comparisons": "[" + " OR ".join(["a:b='x'"] * 1_300) + "]",
    "long string": "[url:value = '" + "x" * 1_000_000 + "']",
}


def subject(pattern: str) -> tuple[str | None, str | None]:
    found = subject_of(pattern)
    return found.observable_type, found.indicator_type


def spacings(pattern: str) -> list[str]:
    """The same pattern with other blanks where the grammar allows them."""
    bare = pattern.replace(" = ", "=")
    path, value = bare[1:-1].split("=", 1)
    return [pattern, bare, f"[ {path}  =\t{value} ]", f"  [\n{path} = {value}\r\n]\n", f"[{path}== {value}]"]


@pytest.mark.parametrize("pattern", SPELLINGS)
def test_the_nine_types_are_told_in_every_spelling_and_spacing(pattern: str) -> None:
    for spelled in spacings(pattern):
        assert subject(spelled) == SPELLINGS[pattern], spelled
        assert run_validator(spelled) == []


@pytest.mark.parametrize(("pattern", "expected"), [(p, e) for p, e in COMBINED.items() if e])
def test_the_first_comparison_tells_what_a_pattern_of_several_is_about(
    pattern: str, expected: tuple[str | None, str | None]
) -> None:
    assert run_validator(pattern) == []
    assert subject(pattern) == expected


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_the_platform_refuses_is_refused_here_with_a_short_reason(pattern: str) -> None:
    with pytest.raises(PatternError) as refusal:
        subject_of(pattern)
    assert 0 < len(str(refusal.value)) <= 200


@pytest.mark.parametrize("name", HOSTILE)
def test_no_pattern_takes_long(name: str) -> None:
    started = time.process_time()
    with suppress(PatternError):
        subject_of(HOSTILE[name])
    assert time.process_time() - started < 5


def test_a_pattern_too_long_to_check_is_still_told_by_its_first_comparison() -> None:
    pattern = "[" + " OR ".join(["url:value = 'http://a.example'"] * 1_000) + "]"
    assert len(pattern) > CHECKED_PATTERN_CHARS
    assert subject(pattern) == ("Url", "url")


def test_patterns_deep_enough_for_the_parser_to_give_up_are_refused() -> None:
    with pytest.raises(PatternError, match="deep"):
        subject_of("[" + "(" * 5_000 + "a:b = 'x'" + ")" * 5_000 + "]")


FRAGMENTS = st.sampled_from(
    [
        "[",
        "]",
        "(",
        ")",
        "file:",
        "url:value",
        "name",
        "hashes.",
        "MD5",
        "'SHA-256'",
        "=",
        "==",
        "!=",
        "'",
        "'x'",
        "\\",
        "\\'",
        "''",
        "OR",
        "AND",
        "NOT",
        "IN",
        "LIKE",
        "é",
        "0",
        "-",
        "_",
        "t'",
        ".",
        ":",
        "[0]",
        "[*]",
        "true",
        "START",
        "FOLLOWEDBY",
        "/*",
        "*/",
        "ipv4-addr:value",
        " ",
        " = ",
        "\n",
        "\xa0",
        " OR ",
        " AND ",
        f"'{MD5}'",
        f"'{SHA256}'",
    ]
)
PATTERNS = st.lists(FRAGMENTS, max_size=12).map("".join)


@given(PATTERNS | PATTERNS.map(lambda middle: f"[url:value{middle}'x']"))
@example("[url:value = '\\n']")
@example("[file:hashes.'MD5\\'' = 'x']")
@example("[file:name = 'x'] /* it's */")
def test_accepts_nothing_that_the_platform_refuses(pattern: str) -> None:
    try:
        subject_of(pattern)
    except PatternError:
        return
    assert run_validator(pattern) == []


@given(st.text() | st.text(alphabet="'\\[]()=:. aM5\n"))
def test_any_text_is_accepted_or_refused_and_nothing_else(pattern: str) -> None:
    with suppress(PatternError):
        assert subject_of(pattern)
