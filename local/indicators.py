"""A realistic Cluster25 indicator, made from nothing but its number: same number, same indicator."""

from datetime import datetime, timedelta
from typing import Any

IDENTITY_ID = "identity--c2a5b8d1-6f0e-4c3b-9d27-51e8a4f0b6c9"
OWN_MARKING_ID = "marking-definition--a7d4c1e2-3b5f-4a68-8c90-d2e1f6b7a835"
PLATFORM_MARKING_IDS = (
    "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9",  # TLP:CLEAR
    "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da",  # TLP:GREEN
    "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82",  # TLP:AMBER
    "marking-definition--826578e1-40ad-459f-bc73-ede076f81f37",  # TLP:AMBER+STRICT
    "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed",  # TLP:RED
)
"""The TLP markings that exist on every OpenCTI; a feed refers to them and need not bring them."""

COMPANIONS: tuple[dict[str, Any], ...] = (
    {
        "type": "identity",
        "spec_version": "2.1",
        "id": IDENTITY_ID,
        "created": "2021-03-01T09:00:00.000Z",
        "modified": "2023-05-10T08:30:00.000Z",
        "name": "Cluster25",
        "description": "Threat intelligence research team.",
        "identity_class": "organization",
    },
    {
        "type": "marking-definition",
        "spec_version": "2.1",
        "id": OWN_MARKING_ID,
        "created": "2021-03-01T09:00:00.000Z",
        "created_by_ref": IDENTITY_ID,
        "definition_type": "statement",
        "definition": {"statement": "Cluster25 customers only; no redistribution."},
    },
)
"""What the indicators refer to and the platform does not have by itself."""

TYPES = ("ipv4", "domain", "md5", "sha1", "sha256", "url", "email", "ipv6", "filename")
"""The nine types of the export, in the words of its `types` parameter."""

# Comparisons as they are written in the wild: with and without spaces, quotes and dashes.
_PATTERNS = {
    "ipv4": ("[ipv4-addr:value = '{}']", "[ipv4-addr:value='{}']", "[ ipv4-addr:value = '{}' ]"),
    "domain": ("[domain-name:value = '{}']", "[domain-name:value='{}']"),
    "md5": ("[file:hashes.MD5 = '{}']", "[file:hashes.'MD5' = '{}']", "[file:hashes.md5='{}']"),
    "sha1": ("[file:hashes.'SHA-1' = '{}']", "[file:hashes.'SHA-1'='{}']", "[file:hashes.SHA1 = '{}']"),
    "sha256": (
        "[file:hashes.'SHA-256' = '{}']",
        "[file:hashes.'SHA-256'='{}']",
        "[file:hashes.SHA256 = '{}']",
    ),
    "url": ("[url:value = '{}']", "[url:value='{}']"),
    "email": ("[email-addr:value = '{}']", "[email-addr:value='{}']"),
    "ipv6": ("[ipv6-addr:value = '{}']", "[ipv6-addr:value='{}']"),
    "filename": ("[file:name = '{}']", "[file:name='{}']"),
}
_HASH_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}
_FAMILIES = ("AgentTesla", "Emotet", "Gootloader", "IcedID", "LockBit", "QakBot", "RedLine", "SmokeLoader")
_ACTORS = ("Bear Lair", "Charcoal Ibis", "Grüne Viper", "Lazy Kestrel", "Sandstone Lynx", "Tidal Mantis")
_ROLES = ("command and control", "payload delivery", "credential phishing", "data exfiltration", "scanning")
_SECTORS = ("energy", "finance", "government", "healthcare", "telecommunications", "defence")
_WORDS = (
    "account",
    "billing",
    "cdn",
    "cloud",
    "invoice",
    "login",
    "mail",
    "portal",
    "secure",
    "update",
    "verify",
)
_TLDS = ("com", "net", "org", "info", "top", "xyz", "ru", "io")
_PHASES = ("reconnaissance", "delivery", "exploitation", "installation", "command-and-control")
_LABELS = ("malicious-activity", "phishing", "botnet", "ransomware", "apt", "c2", "stealer", "dropper")


_MASK = (1 << 64) - 1


class Draw:
    """Numbers that look random and depend only on a seed, an indicator's number and what they are for."""

    def __init__(self, seed: int, number: int) -> None:
        self._start = seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03

    def bits(self, purpose: int) -> int:
        """64 bits, evenly spread (the mixing function of splitmix64)."""
        mixed = (self._start + purpose) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def share(self, purpose: int) -> float:
        """A number from 0 up to 1."""
        return self.bits(purpose) / (1 << 64)

    def pick(self, choices: tuple[str, ...], purpose: int) -> str:
        """One of the choices."""
        return choices[self.bits(purpose) % len(choices)]


def make_indicator(draw: Draw, type_: str, modified: datetime) -> dict[str, Any]:
    """A STIX 2.1 indicator of one of `TYPES`, about 1.1 kB as JSON, with what `include_info` may bring."""
    value = _value(draw, type_)
    family, role, actor = draw.pick(_FAMILIES, 2), draw.pick(_ROLES, 3), draw.pick(_ACTORS, 4)
    created = modified - timedelta(minutes=draw.bits(5) % 200_000)
    made = {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{_uuid(draw)}",
        "created_by_ref": IDENTITY_ID,
        "created": stix_time(created),
        "modified": stix_time(modified),
        "name": value,
        "description": f"{value} was seen in {role} of {family}, used by {actor} against the "
        f"{draw.pick(_SECTORS, 6)} sector. Confirmed by Cluster25 through sandbox runs and passive DNS.",
        "indicator_types": ["malicious-activity"],
        "pattern": draw.pick(_PATTERNS[type_], 7).format(_quoted(value)),
        "pattern_type": "stix",
        "pattern_version": "2.1",
        "valid_from": stix_time(created),
        "labels": sorted({family.lower(), draw.pick(_LABELS, 8), draw.pick(_LABELS, 9)}),
        "confidence": 30 + draw.bits(10) % 71,
        "external_references": [
            {
                "source_name": "Cluster25",
                "url": f"https://intelligence.example/indicators/{draw.bits(11):016x}",
            }
        ],
        "object_marking_refs": [draw.pick((*PLATFORM_MARKING_IDS, OWN_MARKING_ID), 12)],
        "x_c25_info": {"actor": actor, "sightings": draw.bits(13) % 500, "asn": draw.bits(14) % 65_000},
    }
    if draw.bits(15) % 3 == 0:
        made["valid_until"] = stix_time(modified + timedelta(days=30 + draw.bits(16) % 300))
    if draw.bits(17) % 2 == 0:
        phase = {"kill_chain_name": "lockheed-martin-cyber-kill-chain", "phase_name": draw.pick(_PHASES, 18)}
        made["kill_chain_phases"] = [phase]
    return made


def stix_time(moment: datetime) -> str:
    """A UTC time as STIX writes it: milliseconds, `Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _uuid(draw: Draw) -> str:
    digits = f"{draw.bits(0):016x}{draw.bits(1):016x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _host(draw: Draw) -> str:
    return (
        f"{draw.pick(_WORDS, 20)}-{draw.bits(21) % 16**8:08x}.{draw.pick(_WORDS, 22)}.{draw.pick(_TLDS, 23)}"
    )


def _value(draw: Draw, type_: str) -> str:
    bits = draw.bits(24)
    match type_:
        case "ipv4":
            value = f"{1 + bits % 223}.{bits >> 8 & 255}.{bits >> 16 & 255}.{bits >> 24 & 255}"
        case "ipv6":
            groups = (bits >> shift & 0xFFFF for shift in (0, 16, 32, 48))
            value = ":".join(["2001", "db8", "25", "0", *(f"{1 + group % 0xFFFF:x}" for group in groups)])
        case "md5" | "sha1" | "sha256":
            digits = "".join(f"{draw.bits(purpose):016x}" for purpose in range(25, 29))
            value = digits[: _HASH_DIGITS[type_]]
        case "url":
            value = f"https://{_host(draw)}/{draw.pick(_WORDS, 29)}?id={bits % 10**9}&next=%2F"
        case "email":
            value = f"{draw.pick(_WORDS, 30)}.{bits % 10**7}@{_host(draw)}"
        case "filename":
            name = f"{draw.pick(_FAMILIES, 31)}_{bits % 10**8}.exe"
            value = name if bits >> 40 & 1 else rf"C:\Users\Public\it's {name}"
        case _:
            value = _host(draw)
    return value
