"""Secrets disappear in every form in which they travel, whether known or only recognisable."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlencode

import pytest

from cluster25.redaction import excerpt, hide, hide_token, redact, redact_all

AWKWARD = 'p4ss/w"ord\\ with+signs & ünïcode'
PLAIN = "plain-secret-of-the-redaction-test"
FRAGMENTS = ("p4ss", "ord", "with", "signs", "code", "plain", "secret-of", "redaction")


@pytest.mark.parametrize("secret", [AWKWARD, PLAIN])
@pytest.mark.parametrize(
    "form",
    [
        str,
        repr,
        quote,
        quote_plus,
        json.dumps,
        lambda secret: quote(secret, safe=""),
        lambda secret: urlencode({"key": secret}),
        lambda secret: json.dumps({"key": [secret]}, ensure_ascii=False),
    ],
)
def test_a_known_secret_is_found_in_every_form_it_travels_in(secret: str, form: Callable[[str], str]) -> None:
    hide(secret)
    text = redact(f"before {form(secret)} between {form(secret)} after")
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert text.count("***") == 2
    assert not any(fragment in text for fragment in FRAGMENTS)


@pytest.mark.parametrize("user", ["", "u", "us", "user", "longer-name"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_known_secret_is_found_inside_base64(user: str, encode: Callable[[bytes], bytes]) -> None:
    hide(AWKWARD)
    encoded = encode(f"{user}:{AWKWARD}:realm".encode()).decode()
    text = redact(f"credentials {encoded}")
    kept = text.removeprefix("credentials ").split("***")
    assert len(kept) == 2, "the secret was not found"
    # at most one character on each side also holds bits of the secret
    assert len("".join(kept)) <= len(encode(f"{user}::realm".encode())) + 4


def test_one_secret_within_another_leaves_no_remainder() -> None:
    hide("abc")
    hide("abcdef")
    assert redact("x abcdef abc") == "x *** ***"


def test_an_empty_secret_hides_nothing() -> None:
    hide("")
    assert redact("as it was") == "as it was"


def test_the_newest_access_tokens_are_hidden_and_lasting_secrets_stay_so() -> None:
    hide(PLAIN)
    for number in range(1000):
        hide_token(f"access-token-{number:04}")
    assert redact(f"{PLAIN} access-token-0999 access-token-0998") == "*** *** ***"
    assert redact("access-token-0001") == "access-token-0001"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("{'Authorization': 'Bearer abc'}", "{'Authorization': 'Bearer ***'}"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic ***"),
        ("sent bearer x", "sent bearer ***"),
        ('{"data": {"token": "opaque"}}', '{"data": {"token": "***"}}'),
        ("{'client_id': 'me', 'client_secret': 'x'}", "{'client_id': 'me', 'client_secret': '***'}"),
        ("proxy http://user:pw@proxy.example.org:3128/", "proxy http://***@proxy.example.org:3128/"),
        ("got eyJhbGciOi.eyJleHAiOj.c2lnbmF0dXJl back", "got *** back"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_though_unknown(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "Cluster25 refused the token: check CLUSTER25_CLIENT_SECRET.",
        "https://api.intelligence.cluster25.io/api/v1/export/indicators?start=2026-01-01T00:00:00+00:00",
        "[ipv4-addr:value = '198.51.100.7'] pushed, token renewed, basic auth unused",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_every_text_of_a_document_is_redacted_and_all_else_is_kept() -> None:
    hide(PLAIN)
    document = {"a": [PLAIN, {PLAIN: f"x {PLAIN}"}], "b": {"c": [1, 2.5, True, None]}}
    assert redact_all(document) == {"a": ["***", {"***": "x ***"}], "b": {"c": [1, 2.5, True, None]}}


def test_an_excerpt_is_one_line_of_at_most_500_characters() -> None:
    assert excerpt(b"one\r\n  two\tthree\xff") == "one two three\ufffd"
    assert len(excerpt(b"x" * 10_000)) == 500
    assert excerpt(b"x" * 490 + b" Bearer abcdefghijkl") == "x" * 490 + " Bearer ***"[:10]
