"""Stands in for `gcloud`: remembers what was made, answers describe from it, and writes down every call.

Run as the program `gcloud`; the folder it lives in is its memory (`state.json`, `calls.jsonl`). A file
`denied` in that folder names a command that is refused.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

HOME = Path(sys.argv[0]).parent
MEMORY = HOME / "state.json"
UPDATES = re.compile(
    r"^services enable|^artifacts repositories set-cleanup|^firestore databases update"
    r"|^scheduler jobs (run|update)|(add|remove)-iam-policy-binding "
)


def split(args: list[str]) -> tuple[list[str], dict[str, str]]:
    """Words before the first flag, and flags by name."""
    words = [a for a in args if not a.startswith("--")]
    flags = {name: value for name, _, value in (a[2:].partition("=") for a in args if a.startswith("--"))}
    return words, flags


def resource_of(words: list[str], flags: dict[str, str], verb: str) -> str:
    """What the command is about, such as `secrets cluster25-client-secret`."""
    rest = [w.split("@")[0] for w in words if w not in (verb, "http")]  # an account goes by id and by address
    return " ".join([*rest, *([flags["database"]] if "database" in flags else [])])


def answer(words: list[str], flags: dict[str, str], state: dict[str, Any], stdin: str) -> str | None:
    """What the command prints; None when what it asks about is not there."""
    line, made = " ".join(words), state["made"]
    if line.startswith("secrets versions"):
        return secret_version(words, flags, state, stdin)
    if line.startswith("functions deploy"):
        made[f"functions {words[2]}"] = {"labels": flags["update-labels"].split("=", 1)[1]}
        state["deployed"] = flags
        return ""
    if line.startswith("firestore fields ttls"):
        state["ttl"] = state["ttl"] or "update" in words
        return "ACTIVE" if state["ttl"] and "list" in words else ""
    if line.startswith("logging read"):
        return str(state["first_run"])
    for verb in ("describe", "create", "delete"):
        if verb in words:
            return made_or_not(verb, resource_of(words, flags, verb), flags, made)
    if UPDATES.search(line):
        return ""
    raise SystemExit(f"the double does not know: {line}")


def made_or_not(verb: str, resource: str, flags: dict[str, str], made: dict[str, Any]) -> str | None:
    if verb == "create":
        made[resource] = {}
        return ""
    if resource not in made:
        return None
    if verb == "delete":
        del made[resource]
        return ""
    if "serviceConfig.uri" in flags.get("format", ""):
        return "https://cluster25-connector-x1-ew.a.run.app"
    return f"ACTIVE\t{made[resource].get('labels', '')}"


def secret_version(words: list[str], flags: dict[str, str], state: dict[str, Any], stdin: str) -> str:
    values = state["secrets"].setdefault(flags.get("secret") or words[-1], [])
    if "add" in words:
        values.append(stdin)
        return ""
    if "access" in words:
        return str(values[int(words[-1]) - 1])
    return str(len(values) or "")


def main() -> int:
    args = sys.argv[1:]
    stdin = sys.stdin.read() if "--data-file=-" in args else ""
    with (HOME / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps({"args": args, "stdin": stdin}) + "\n")
    words, flags = split(args)
    denied = HOME / "denied"
    if denied.exists() and " ".join(args).startswith(denied.read_text()):
        print("ERROR: (gcloud) PERMISSION_DENIED: no", file=sys.stderr)
        return 1
    state = json.loads(MEMORY.read_text())
    said = answer(words, flags, state, stdin)
    MEMORY.write_text(json.dumps(state))
    if said is None:
        print("ERROR: (gcloud) NOT_FOUND: nothing of that name", file=sys.stderr)
        return 1
    if said:
        print(said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
