"""What must be true after the calls of the demo; each check gives the problems it found, in words."""

from typing import Any

from local.calls import Call
from local.feed import Feed
from local.ingestion import is_companion
from local.opencti import OpenCTI


def check_failures(calls: list[Call]) -> list[str]:
    """Calls that did not end well."""
    return [
        f"Call {call.name}: {call.answer}" for call in calls if call.outcome not in {"ok", "empty", "partial"}
    ]


def count_objects(feed: Feed) -> int:
    """How many different objects an export of everything brings, companions apart."""
    ids = {entry["id"] for entry in feed.objects() if isinstance(entry, dict)}
    return sum(not is_companion(object_id) for object_id in ids)


def check_import(expected: int, late: dict[str, Any], calls: list[Call], sink: OpenCTI) -> list[str]:
    """The three calls of the demo: import all there is, find nothing new, bring just the late indicator."""
    first, again, third = calls
    judgement = sink.judge()
    claims = {
        f"the first call is ok and accounts for {expected:,} objects": first.outcome == "ok"
        and first.count("pushed") + first.count("rejected") == expected,
        "what the first call pushed is at OpenCTI": first.at_sink == first.count("pushed"),
        "the second call is empty": again.outcome == "empty" and again.count("pushed") == 0,
        "the second call pushed nothing": again.pushes == first.pushes,
        "the third call pushed one": third.outcome == "ok" and third.count("pushed") == 1,
        "it is the late one": sink.ingestion.received[late["id"], late["modified"]] == 1,
        "nothing was sent twice": third.sent_twice == 0,
        "the watermark moved": first.watermark < again.watermark < third.watermark,
        "OpenCTI's workers can import all of it": judgement.sound,
    }
    return [f"It is not so that {claim}." for claim, holds in claims.items() if not holds]
