"""What exports are made of, and what parsers stumble over: cases are mutated token by token."""

import re

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')

_UUID = b"00000000-0000-4000-8000-00000000000%d"
_REFERENCE_KEYS = (
    b"created_by_ref",
    b"object_marking_refs",
    b"object_refs",
    b"source_ref",
    b"target_ref",
    b"x_ref",
)
_KEYS = (
    *_REFERENCE_KEYS,
    b"type",
    b"id",
    b"objects",
    b"modified",
    b"created",
    b"pattern",
    b"pattern_type",
    b"valid_from",
    b"valid_until",
    b"extensions",
    b"external_references",
    b"kill_chain_phases",
    b"x_opencti_id",
    b"x_opencti_main_observable_type",
    b"\\u0069d",
)
_TYPES = (
    b"indicator",
    b"identity",
    b"marking-definition",
    b"relationship",
    b"report",
    b"note",
    b"sighting",
    b"observed-data",
    b"ipv4-addr",
    b"bundle",
    b"x-other",
)
_TEXTS = (
    b"",
    b"2026-03-01T11:00:00Z",
    b"0001-01-01T00:00:00+23:59",
    b"9999-12-31T23:59:59.999999999-23:59",
    b"2026-W09-7",
    b"[url:value = 'x']",
    b"[file:hashes.'SHA-256' = 'x' AND (a:b = 1)]",
    b"[" + b"(" * 300,
    b"stix",
    b"\\ud800",
    b"\\u0000",
    b"\\",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
    b'},{\\"type\\"',
)
_BARE = (
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"-0",
    b"1e400",
    b"1E-400",
    b"9" * 400,
    b"18446744073709551616",
    b"1.0000000000000000000001",
    b"\0",
    b"\xef\xbb\xbf",
    b"\x1f\x8b\x08",
    b"<html>",
    b" " * 70,
    b"[" * 120 + b"]" * 120,
    b"[" * 10_000,
    b'{"a":' * 110 + b"0" + b"}" * 110,
)
_IDS = tuple(b"%b--%b" % (kind, _UUID % number) for kind in _TYPES for number in range(3))

TOKENS = (*_BARE, *(b'"%b"' % text for text in (*_KEYS, *_TYPES, *_TEXTS, *_IDS)))
"""Values and punctuation that may stand, or must not, anywhere in an export."""
