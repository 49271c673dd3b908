"""What the Terraform module's metrics, alerts and dashboard read is what a run really logs."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import hcl2
import pytest

from cluster25.connector import Connector
from cluster25.state.document import Outcome
from cluster25.state.lease import acquire
from local.cluster25 import Cluster25
from tests.operation.conftest import FEED_SIZE, Command
from tests.operation.peers import answering

MONITORING = Path(__file__).parents[2] / "terraform" / "monitoring"
ALL = "\n".join(path.read_text() for path in sorted(MONITORING.glob("*.tf")))


@pytest.fixture
def lines(command: Command, connector: Connector, source: Cluster25) -> dict[str, dict[str, Any]]:
    """The lines that runs of four outcomes leave for the metrics, by outcome."""
    printed = command("run").err + command("run").err
    source.fault = answering(403)
    printed += command("run").err
    acquire(connector.store, connector.clock, "the-other", 60)
    printed += command("run").err + command("run", "--dry-run").err
    entries = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    found = [entry for entry in entries if entry.get("event") == event_counted()]
    assert [entry["outcome"] for entry in found] == [
        "ok",
        "empty",
        "failed",
        "skipped",
    ]  # one each, no dry run
    return {entry["outcome"]: entry for entry in found}


def event_counted() -> str:
    (event,) = set(re.findall(r'jsonPayload\.event=\\?"(\w+)', ALL))
    return str(event)


def numbers_read() -> set[str]:
    """The numbers that become metrics."""
    parsed = hcl2.loads((MONITORING / "metrics.tf").read_text())
    (numbers,) = (block["numbers"] for block in parsed["locals"] if "numbers" in block)
    return {name.strip('"') for name in numbers if not name.startswith("__")}


def test_every_number_is_in_the_line_of_a_run(lines: dict[str, dict[str, Any]]) -> None:
    numbers = numbers_read()
    assert numbers == {"pushed", "rejected", "lag_seconds", "duration_seconds", "skipped_for_seconds"}
    for name in numbers:
        line = lines["skipped"] if name == "skipped_for_seconds" else lines["ok"]
        assert isinstance(line[name], int | float)
        assert line[name] >= 0
    assert lines["ok"]["pushed"] == FEED_SIZE


def test_every_other_field_is_there_too(lines: dict[str, dict[str, Any]]) -> None:
    fields = set(re.findall(r"jsonPayload\.(\w+)", ALL))
    assert {"event", "outcome"} <= fields
    assert all(fields <= set(line) for line in lines.values())


def test_outcomes_in_queries_are_outcomes() -> None:
    named = re.findall(r'outcome=~?\\"([\w|]+)\\"', ALL)
    outcomes = {outcome for listed in named for outcome in listed.split("|")}
    assert outcomes == set(get_args(Outcome)) - {"skipped"}


def test_a_run_is_told_in_one_line_that_a_person_can_read(lines: dict[str, dict[str, Any]]) -> None:
    assert lines["failed"]["severity"] == "ERROR"
    assert "CLUSTER25_CLIENT_SECRET" in lines["failed"]["message"]
    assert "the-other" in lines["skipped"]["message"]
