"""The runbook: every command of ours in it is one, every alert is in it, every link in it leads somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from cluster25.operation.command_line import EXIT_CODES, command_parser

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operation.md").read_text()
COMMANDS = sorted(set(re.findall(r"python -m cluster25 ([\w ,-]*\w)", RUNBOOK)))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    assert command_parser().parse_args(shlex.split(command)).command == command.split(maxsplit=1)[0]


def test_every_command_is_explained() -> None:
    for action in (
        "doctor",
        "run",
        "status",
        "reset",
        "backfill",
        "rejected list",
        "rejected show",
        "rejected retry",
    ):
        assert any(command.startswith(action) for command in COMMANDS), action


def headings() -> set[str]:
    return set(re.findall(r"^#+ (.*)$", RUNBOOK, flags=re.MULTILINE))


def test_every_alert_has_its_page() -> None:
    alerts = (ROOT / "terraform" / "monitoring" / "alerts.tf").read_text()
    titles = set(re.findall(r'^ +title += "(.*)"$', alerts, flags=re.MULTILINE))
    assert len(titles) >= 5
    assert {title.lower() for title in titles} <= {heading.lower() for heading in headings()}


def test_exit_codes_are_those_of_the_help() -> None:
    in_help = re.findall(r"^  (\d)  ", EXIT_CODES, flags=re.MULTILINE)
    assert re.findall(r"^\| (\d) \|", RUNBOOK, flags=re.MULTILINE) == in_help


def test_links_lead_somewhere() -> None:
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings()}
    targets = re.findall(r"\]\(([^)]+)\)", RUNBOOK)
    assert targets
    for target in targets:
        page, _, anchor = target.partition("#")
        assert not page or (ROOT / "docs" / page).is_file(), target
        assert not anchor or anchor in anchors, target
