"""The bundle around the objects: one JSON object with `"type": "bundle"` and an array of `objects`."""

import codecs
import re
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from cluster25.errors import SourceRefusedError, SourceUnavailableError
from cluster25.redaction import BODY_EXCERPT_CHARS, excerpt
from cluster25.scan.borders import Borders
from cluster25.scan.raw_value import RawValue

OVERSIZED_HEAD_BYTES = 64 * 1024

_BLANKS = re.compile(rb"[ \t\r\n]+")


@dataclass
class Batch:
    """Elements of `objects` in the order they came, each without the blanks and commas around it.

    `objects` are whole, but nobody has looked inside: any may be no object, or no JSON. `oversized` has the
    first `OVERSIZED_HEAD_BYTES` of each element that was larger than allowed.
    """

    objects: list[bytes] = field(default_factory=list)
    oversized: list[bytes] = field(default_factory=list)


class _Expected(Enum):
    """What may come next, blanks aside."""

    BUNDLE = "a JSON object"
    KEY_OR_END = "a key or the bundle's end"
    KEY = "a key"
    COLON = "a colon"
    VALUE = "a value"
    AFTER_VALUE = "a comma or the bundle's end"
    OBJECTS_COLON = "a colon before the objects"
    OBJECTS = "an array"
    ELEMENT_OR_END = "an object or the array's end"
    ELEMENT = "an object"
    AFTER_ELEMENT = "a comma or the array's end"
    NOTHING = "nothing more"


_KEYS = {_Expected.KEY_OR_END, _Expected.KEY}
_ELEMENTS = {_Expected.ELEMENT_OR_END, _Expected.ELEMENT}
_PUNCTUATION = {
    (_Expected.BUNDLE, b"{"): _Expected.KEY_OR_END,
    (_Expected.KEY_OR_END, b"}"): _Expected.NOTHING,
    (_Expected.COLON, b":"): _Expected.VALUE,
    (_Expected.AFTER_VALUE, b","): _Expected.KEY,
    (_Expected.AFTER_VALUE, b"}"): _Expected.NOTHING,
    (_Expected.OBJECTS_COLON, b":"): _Expected.OBJECTS,
    (_Expected.OBJECTS, b"["): _Expected.ELEMENT_OR_END,
    (_Expected.ELEMENT_OR_END, b"]"): _Expected.AFTER_VALUE,
    (_Expected.AFTER_ELEMENT, b","): _Expected.ELEMENT,
    (_Expected.AFTER_ELEMENT, b"]"): _Expected.AFTER_VALUE,
}


class Envelope:
    """Reads a bundle window by window, wherever the windows are cut, and collects its objects."""

    def __init__(self, max_object_bytes: int) -> None:
        """Of an object, key or other value at most `max_object_bytes` are held."""
        self._max_object_bytes = max_object_bytes
        self._borders = Borders(max_object_bytes)
        self._batch = Batch()
        self._expected = _Expected.BUNDLE
        self._value: RawValue | None = None
        self._member: str | None = None
        self._type_seen = False
        self._objects_seen = False
        self._exact_until = 0
        self._head = b""
        self._fed_bytes = 0

    def feed(self, window: bytes) -> None:
        """Go through the whole window. Raises as `scan_bundle` does, and then it is over."""
        if not self._fed_bytes:
            self._head = window[: 4 * BODY_EXCERPT_CHARS]
            window = window.removeprefix(codecs.BOM_UTF8)
        self._exact_until = 0
        position = 0
        while position < len(window):
            if self._value:
                position = self._continue_value(self._value, window, position)
            elif blanks := _BLANKS.match(window, position):
                position = blanks.end()
            else:
                position = self._step(window, position)
        self._fed_bytes += len(window)

    def take(self) -> Batch | None:
        """What was collected since the last time, or None."""
        batch, self._batch = self._batch, Batch()
        return batch if batch.objects or batch.oversized else None

    def close(self) -> None:
        """The stream has ended: raises `SourceUnavailableError` unless the bundle has too."""
        if self._expected is not _Expected.NOTHING:
            raise _unavailable(f"was cut short after {self._fed_bytes} bytes")

    def _step(self, window: bytes, position: int) -> int:
        """Take a token or many objects, or begin a value; the position is neither blank nor in a value."""
        byte = window[position : position + 1]
        following = _PUNCTUATION.get((self._expected, byte))
        if following:
            self._expected = following
            if following is _Expected.NOTHING and not self._type_seen:
                raise self._refused("it has no type")
            return position + 1
        if not self._may_begin_value(byte):
            raise self._unexpected(byte, position)
        if self._expected in _ELEMENTS and position >= self._exact_until:
            objects, until = self._borders.take(window, position)
            if objects:
                self._batch.objects.extend(objects)
                self._expected = _Expected.AFTER_ELEMENT
                return until
            self._exact_until = until
        self._value = RawValue(byte, self._max_object_bytes)
        return position

    def _may_begin_value(self, byte: bytes) -> bool:
        if self._expected in _KEYS:
            return byte == b'"'
        return (self._expected is _Expected.VALUE or self._expected in _ELEMENTS) and byte not in b",:]}"

    def _continue_value(self, value: RawValue, window: bytes, position: int) -> int:
        end = value.read(window, position)
        if value.complete:
            self._value = None
            if self._expected in _ELEMENTS:
                self._end_element(value)
                self._borders.learn(window, end)
            elif value.oversized:
                raise self._refused("a member beside its objects is too large")
            elif self._expected in _KEYS:
                self._end_key(_text(value.kept))
            else:
                self._end_member(_text(value.kept))
        return end

    def _end_element(self, value: RawValue) -> None:
        if value.oversized:
            self._batch.oversized.append(value.kept[:OVERSIZED_HEAD_BYTES])
        else:
            self._batch.objects.append(value.kept)
        self._expected = _Expected.AFTER_ELEMENT

    def _end_key(self, member: str | None) -> None:
        self._member = member
        self._expected = _Expected.COLON
        if member == "objects":
            if self._objects_seen:
                raise self._refused("it has objects twice")
            self._objects_seen = True
            self._expected = _Expected.OBJECTS_COLON

    def _end_member(self, text: str | None) -> None:
        if self._member == "type":
            if text != "bundle":
                raise self._refused("its type is another")
            self._type_seen = True
        self._expected = _Expected.AFTER_VALUE

    def _unexpected(self, byte: bytes, position: int) -> SourceRefusedError | SourceUnavailableError:
        if self._expected is _Expected.BUNDLE and byte == b"<":
            return _unavailable("is a page of HTML or XML: something in front of it answers in its place")
        if self._expected is _Expected.BUNDLE:
            return self._refused("it is no JSON object")
        if self._expected is _Expected.OBJECTS:
            return self._refused("its objects are no array")
        place = self._fed_bytes + position
        return _unavailable(f"is damaged at byte {place}: {byte!r} instead of {self._expected.value}")

    def _refused(self, reason: str) -> SourceRefusedError:
        return SourceRefusedError(
            f"Cluster25 answered the export with something that is no bundle: {reason}. It begins: "
            f"{excerpt(self._head)}",
            "Check CLUSTER25_BASE_URL, and with Cluster25 whether this account may export indicators.",
        )


def _unavailable(what: str) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"The export from Cluster25 {what}.",
        "The next run asks for the same again; if it goes on, look at the network, and ask Cluster25.",
    )


def _text(raw: bytes) -> str | None:
    """The text of a JSON string; None for any other value."""
    try:
        return msgspec.json.decode(raw, type=str)
    except ValueError:
        return None
