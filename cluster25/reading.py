"""Objects parsed and completed: the usual indicators several times as fast as by `parse` and `complete`.

Their typed decoder checks while it reads what those two check key by key afterwards, and keeps only the few
members that are looked at. Keys it does not know it learns from the feed. An object with anything unusual
about it is left to `parse` and `complete`, so that the result is always theirs.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, cast

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from cluster25.element import parse
from cluster25.patterns import subject_of
from cluster25.state.ledger import digest_of
from cluster25.stix import COMPANION_TYPES, Item, complete, escape

LEARNED_KEYS = 64

_Scalar = str | bool | float | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None
_Learned = _Scalar | list[_Scalar] | dict[str, _Scalar | list[_Scalar]]
"""What is learned must be read as a whole: of other values msgspec looks at the syntax only."""

_ID = re.compile(r"indicator--[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PLAIN_KEY = re.compile(r"[\w .:-]{1,100}")
"""A decoder cannot be made for keys with quotes, backslashes or control characters in them."""
_LOOKED_AT = ("_ref", "extensions", "x_opencti_id")
"""Keys with one of these in them mean something to OpenCTI's splitter: they are never learned."""


class _ExternalReference(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    source_name: str = ""
    description: str = ""
    url: str = ""
    external_id: str = ""


class _KillChainPhase(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    kill_chain_name: str = ""
    phase_name: str = ""


class _Members(msgspec.Struct, gc=False, forbid_unknown_fields=True, kw_only=True):
    """An indicator that lacks nothing which would have to be replaced.

    What has a plain type and a default only has to be sound: a number or a text that no parser likes is an
    error here, too. The order is that of STIX, in which keys mostly come: the decoder looks for them so.
    """

    type: Literal["indicator"]
    spec_version: str = ""
    id: str
    created_by_ref: str | UnsetType = UNSET
    created: str = ""
    modified: str
    revoked: bool = False
    name: str = ""
    description: str = ""
    indicator_types: tuple[str, ...] = ()
    pattern: str
    pattern_type: Literal["stix"]
    pattern_version: str = ""
    valid_from: str
    valid_until: str | UnsetType = UNSET
    kill_chain_phases: tuple[_KillChainPhase, ...] = ()
    labels: tuple[str, ...] = ()
    confidence: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    lang: str = ""
    external_references: tuple[_ExternalReference, ...] = ()
    object_marking_refs: tuple[str, ...] = ()
    x_opencti_score: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    x_opencti_detection: bool = False
    x_opencti_main_observable_type: str | UnsetType = UNSET
    x_opencti_create_observables: bool | UnsetType = UNSET


_KNOWN_KEYS = frozenset(field.encode_name for field in msgspec.structs.fields(_Members))


IsNew = Callable[[str, bytes, datetime | None], bool]
"""Tells, by an object's id, digest and modified time, whether it is worth completing."""


class Reader:
    """Reads the objects of one feed; those without an author get `author_id`."""

    def __init__(self, *, author_id: str, create_observables: bool) -> None:
        self._author_id = author_id
        self._create_observables = create_observables
        self._learned: dict[str, str] = {}
        self._decode = msgspec.json.Decoder(_Members).decode

    def read(self, raw: bytes, is_new: IsNew) -> Item | None:
        """What `complete` makes of what `parse` makes of the object, or None if it is not new.

        Companions are read, new or not. Raises `UnsendableError` as these do.
        """
        try:
            members = self._decode(raw)
            modified = datetime.fromisoformat(members.modified)
            is_usual = modified.tzinfo is UTC and _ID.fullmatch(members.id)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            is_usual = None
        if is_usual:
            digest = digest_of(members.id, members.modified)
            if not is_new(members.id, digest, modified):
                return None
            if item := self._completed(members, raw, digest, modified):
                return item
            parsed = parse(raw)
        else:
            parsed = parse(raw)
            if parsed.object_type == "indicator":
                self._learn(parsed.content)
            is_companion = parsed.object_type in COMPANION_TYPES
            if not is_companion and not is_new(parsed.object_id, parsed.digest, parsed.modified):
                return None
        return complete(parsed, author_id=self._author_id, create_observables=self._create_observables)

    def _learn(self, content: dict[str, Any]) -> None:
        """Take the keys of an indicator that `parse` accepted for usual from now on."""
        new_keys = [key for key in content if key not in _KNOWN_KEYS and key not in self._learned]
        if not new_keys or len(self._learned) + len(new_keys) > LEARNED_KEYS:
            return
        if any(looked_at in key for key in new_keys for looked_at in _LOOKED_AT):
            return
        if not all(map(_PLAIN_KEY.fullmatch, new_keys)):
            return
        for key in new_keys:
            self._learned[key] = f"learned_{len(self._learned)}"
        self._decode = msgspec.json.Decoder(_with_learned(self._learned)).decode

    def _completed(self, members: _Members, raw: bytes, digest: bytes, modified: datetime) -> Item | None:
        """What `complete` would make of a usual indicator, or None if that is for `complete` to say."""
        author_id = "" if members.created_by_ref else self._author_id
        if members.created_by_ref == "" or members.x_opencti_main_observable_type == "" or raw[-1:] != b"}":
            return None
        try:
            subject = subject_of(members.pattern)
            valid_from = datetime.fromisoformat(members.valid_from)
            end = None if members.valid_until is UNSET else datetime.fromisoformat(members.valid_until)
        except ValueError:
            return None
        if valid_from.tzinfo is not UTC or (end and (end.tzinfo is not UTC or end <= valid_from)):
            return None
        ending = _ending(
            subject.observable_type if members.x_opencti_main_observable_type is UNSET else None,
            author_id,
            self._create_observables and members.x_opencti_create_observables is UNSET,
        )
        return Item(
            members.id,
            "indicator",
            orjson.dumps(raw.decode())[1:-2] + ending,
            (members.created_by_ref or author_id, *members.object_marking_refs),
            digest,
            modified,
            subject.indicator_type or "indicator",
        )


def _with_learned(keys: dict[str, str]) -> type[_Members]:
    """`_Members` with more keys, each with the name of an attribute: it may be no identifier itself."""
    learned = msgspec.defstruct(
        "_MembersAndLearned",
        [(name, _Learned, None) for name in keys.values()],
        bases=(_Members,),
        kw_only=True,
        rename={name: key for key, name in keys.items()},
        gc=False,
        forbid_unknown_fields=True,
    )
    return cast("type[_Members]", learned)


@lru_cache(maxsize=64)
def _ending(observable_type: str | None, author_id: str, create_observables: bool) -> bytes:  # noqa: FBT001 - a keyword costs the cache as much as the call
    """The object's end, with what it lacks, escaped."""
    changes: dict[str, Any] = {}
    if observable_type:
        changes["x_opencti_main_observable_type"] = observable_type
    if create_observables:
        changes["x_opencti_create_observables"] = True
    if author_id:
        changes["created_by_ref"] = author_id
    return escape(f",{orjson.dumps(changes).decode()[1:]}" if changes else "}")
