"""What the stand-in Cluster25 has to export: indicators of any number, made as they are asked for."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Self

import orjson

from local.indicators import COMPANIONS, TYPES, Draw, make_indicator

PIECE_BYTES = 65_536
"""About this much is encoded before it is handed on."""

Entry = dict[str, Any] | bytes
"""An object of the feed; bytes are served as they are, valid JSON or not."""

_TYPE_OF_PATH = (
    ("ipv4", re.compile(r"\[\s*ipv4-addr:value")),
    ("ipv6", re.compile(r"\[\s*ipv6-addr:value")),
    ("domain", re.compile(r"\[\s*domain-name:value")),
    ("url", re.compile(r"\[\s*url:value")),
    ("email", re.compile(r"\[\s*email-addr:value")),
    ("filename", re.compile(r"\[\s*file:name")),
    ("md5", re.compile(r"\[\s*file:hashes\.'?md5", re.IGNORECASE)),
    ("sha1", re.compile(r"\[\s*file:hashes\.'?sha-?1\b", re.IGNORECASE)),
    ("sha256", re.compile(r"\[\s*file:hashes\.'?sha-?256", re.IGNORECASE)),
)


@dataclass
class Feed:
    """`size` indicators made from `seed`, modified in the `days` before `now`, in no order of time.

    `companions` says where the identity and the marking stand that the indicators refer to. As nothing refers
    to them then, an export without indicators has none either.
    """

    size: int = 0
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    seed: int = 25
    days: float = 6.0
    companions: Literal["first", "last", "absent"] = "first"
    _added: list[Entry] = field(default_factory=list)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """A feed of the objects in a STIX bundle file, dates and all. Raises `ValueError` if it is none."""
        bundle = orjson.loads(path.read_bytes())
        if not isinstance(bundle, dict) or bundle.get("type") != "bundle":
            raise ValueError(f"{path} is no STIX bundle: its `type` is not `bundle`.")
        feed = cls(companions="absent")
        feed.add(*bundle.get("objects", []))
        return feed

    def indicator(self, number: int, modified: datetime | None = None) -> dict[str, Any]:
        """The indicator of that number; one from `size` on is not in the feed unless added.

        With `modified`, a later version of the same indicator.
        """
        draw = Draw(self.seed, number)
        return make_indicator(draw, self._type_of(draw), modified or self._modified(draw))

    def add(self, *entries: Entry) -> None:
        """Serve these too: late, bad or foreign objects, or newer versions in place of their elders."""
        self._added.extend(entries)

    def oldest(self) -> datetime:
        """When the first of the indicators was modified; `now` if there are none."""
        everything = self._indicators(TYPES, datetime.min.replace(tzinfo=UTC))
        return min((_modified(entry) for entry in everything), default=self.now)

    def objects(self, types: Collection[str] = TYPES, start: datetime | None = None) -> Iterator[Entry]:
        """What an export brings: indicators of these types modified at `start` or later, and all the rest.

        An indicator of no known type is part of the rest as far as `types` goes.
        """
        start = start or datetime.min.replace(tzinfo=UTC)
        found = self._indicators(types, start)
        first = next(found, None)
        if first is not None:
            companions = COMPANIONS if self.companions != "absent" else ()
            indicators: Iterable[Entry] = chain([first], found)
            yield from (
                chain(companions, indicators) if self.companions == "first" else chain(indicators, companions)
            )
        yield from (entry for entry in tuple(self._added) if not _is_indicator(entry))

    def encoded(self, types: Collection[str] = TYPES, start: datetime | None = None) -> Iterator[bytes]:
        """The whole bundle as JSON, in pieces of about `PIECE_BYTES`."""
        piece = bytearray(b'{"type":"bundle","id":"bundle--%b","objects":[' % _BUNDLE_ID)
        separator = b""
        for entry in self.objects(types, start):
            piece += separator
            piece += entry if isinstance(entry, bytes) else orjson.dumps(entry)
            separator = b","
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece + b"]}")

    def _indicators(self, types: Collection[str], start: datetime) -> Iterator[dict[str, Any]]:
        added = [entry for entry in tuple(self._added) if isinstance(entry, dict) and _is_indicator(entry)]
        newest = {entry["id"]: entry for entry in added}
        for number in range(self.size):
            draw = Draw(self.seed, number)
            modified, type_ = self._modified(draw), self._type_of(draw)
            if modified >= start and type_ in types:
                made = make_indicator(draw, type_, modified)
                if made["id"] not in newest:
                    yield made
        for entry in newest.values():
            type_of = pattern_type(entry.get("pattern"))
            if (type_of is None or type_of in types) and _modified(entry) >= start:
                yield entry

    def _modified(self, draw: Draw) -> datetime:
        moment = self.now - timedelta(days=self.days) * draw.share(40)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def _type_of(self, draw: Draw) -> str:
        return draw.pick(TYPES, 41)


_BUNDLE_ID = b"5d8f0c1e-7a42-4b6d-9e35-c0a1b2d3e4f5"


def pattern_type(pattern: Any) -> str | None:
    """The export's word for what a pattern compares first, or None when it is no such thing."""
    if not isinstance(pattern, str):
        return None
    return next((name for name, path in _TYPE_OF_PATH if path.match(pattern)), None)


def _is_indicator(entry: Entry) -> bool:
    return isinstance(entry, dict) and entry.get("type") == "indicator"


def _modified(entry: dict[str, Any]) -> datetime:
    """A missing or unreadable time counts as new: such an object must reach whoever is to reject it."""
    try:
        moment = datetime.fromisoformat(entry["modified"])
    except (KeyError, TypeError, ValueError):
        return datetime.max.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
