"""No secret leaves this process: not in a log line, an HTTP answer, an exception or the stored state."""

import base64
import json
import re
import threading
from collections import deque
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"

BODY_EXCERPT_CHARS = 500
"""At most this much of a peer's answer is repeated in a message."""

_TOKENS_REMEMBERED = 8
"""Access tokens are renewed for as long as the process lives; those long expired need no hiding."""

_SHORTEST_BASE64_BYTES = 8
"""Below this, the base64 form is so short that it would also hit innocent text."""

_UNKNOWN_SECRETS = (
    # what an authorization header carries
    re.compile(
        r"(?i)(\bauthorization['\"]?\s*[:=]\s*['\"]?(?:(?:bearer|basic)\s+)?|\bbearer\s+)[\w.~+/=:-]+"
    ),
    # a quoted value under a telling name, as in the answer to a request for a token
    re.compile(r"(?i)(\b(?:client_secret|secret|(?:access_)?token|password)['\"]?\s*[:=]\s*['\"])[^'\"]+"),
    # user and password in a URL, such as that of a proxy
    re.compile(r"(://)[^/\s:@]*:[^/\s@]+(?=@)"),
    # a JSON Web Token, wherever it stands
    re.compile(r"()\beyJ[\w-]{5,2000}\.[\w-]+\.[\w-]*"),
)

_lock = threading.Lock()
_lasting: set[str] = set()
_tokens: deque[str] = deque(maxlen=_TOKENS_REMEMBERED)
_known_secrets: re.Pattern[str] | None = None


def hide(secret: str) -> None:
    """From now on `redact` removes this secret, for as long as the process lives. An empty one is ignored."""
    with _lock:
        _lasting.add(secret)
        _compile()


def hide_token(token: str) -> None:
    """Like `hide`, for an access token that another will follow: only the newest few are remembered."""
    with _lock:
        _tokens.append(token)
        _compile()


def redact(text: str) -> str:
    """The text with every known secret, and whatever looks like one, replaced by `***`.

    Known secrets are also found URL-quoted, JSON-escaped, as `repr` shows them, and inside base64.
    """
    if _known_secrets is not None:
        text = _known_secrets.sub(MASK, text)
    for pattern in _UNKNOWN_SECRETS:
        text = pattern.sub(rf"\1{MASK}", text)
    return text


def excerpt(body: bytes) -> str:
    """The start of a peer's answer for a message, at most `BODY_EXCERPT_CHARS`, on one line.

    Without secrets: cut in two they would not be found any more.
    """
    return " ".join(redact(body.decode(errors="replace")).split())[:BODY_EXCERPT_CHARS]


def redact_all(document: Any) -> Any:
    """A copy of a JSON document in which every text is redacted, keys included."""
    if isinstance(document, str):
        return redact(document)
    if isinstance(document, dict):
        return {redact(key): redact_all(value) for key, value in document.items()}
    return [redact_all(value) for value in document] if isinstance(document, list) else document


def _compile() -> None:
    global _known_secrets  # noqa: PLW0603 - replaced as a whole, so that `redact` needs no lock
    forms = {form for secret in (*_lasting, *_tokens) for form in _forms(secret)} - {""}
    longest_first = sorted(forms, key=len, reverse=True)
    _known_secrets = re.compile("|".join(map(re.escape, longest_first))) if forms else None


def _forms(secret: str) -> set[str]:
    return {
        secret,
        quote(secret, safe="", errors="surrogateescape"),
        quote(secret, errors="surrogateescape"),
        quote_plus(secret, errors="surrogateescape"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        *_base64_forms(secret.encode(errors="surrogateescape")),
    }


def _base64_forms(secret: bytes) -> set[str]:
    """How the secret looks in the base64 of a longer text (`user:secret`), at each of three alignments."""
    if len(secret) < _SHORTEST_BASE64_BYTES:
        return set()
    forms = set()
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        # only characters made of nothing but bits of the secret: 6 bits each, against 8 of a byte
        own = encoded[-(-shift * 8 // 6) : (shift + len(secret)) * 8 // 6].decode()
        forms |= {own, own.translate(str.maketrans("+/", "-_"))}
    return forms
