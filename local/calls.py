"""Calls of the function and what they brought, as a table to read."""

import time
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from local.function import FunctionProcess
from local.ingestion import Ingestion

NOT_KNOWN = "-"


@dataclass(frozen=True)
class Call:
    """One call: its name, the answer, how long it took, and what the stand-in OpenCTI held afterwards."""

    name: str
    answer: dict[str, Any]
    seconds: float
    at_sink: int | None = None
    sent_twice: int | None = None
    pushes: int | None = None

    @property
    def outcome(self) -> str:
        """The outcome the function gave."""
        return str(self.answer.get("outcome"))

    @property
    def watermark(self) -> str:
        """RFC 3339, or empty when the answer has none."""
        return str(self.answer.get("watermark") or "")

    def count(self, name: str) -> int:
        """`exported`, `pushed`, `skipped` or `rejected`; -1 when the answer lacks it."""
        value = self.answer.get(name)
        return value if isinstance(value, int) else -1


def make_call(name: str, function: FunctionProcess, ingestion: Ingestion | None = None) -> Call:
    """Run the function once; without `ingestion`, OpenCTI is a real one and not asked what it holds."""
    started = time.monotonic()
    answer = function.call()
    seconds = time.monotonic() - started
    if ingestion is None:
        return Call(name, answer, seconds)
    return Call(
        name,
        answer,
        seconds,
        at_sink=ingestion.distinct(),
        sent_twice=ingestion.sent_twice,
        pushes=len(ingestion.body_sizes_bytes),
    )


def print_calls(console: Console, calls: list[Call]) -> None:
    """The table, at most 80 columns wide."""
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False, header_style="bold")
    table.add_column("call", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for heading in ("exported", "pushed", "skipped", "rejected", "sec", "at\nOpenCTI", "sent\ntwice"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("watermark", justify="right", no_wrap=True)
    for call in calls:
        counts = [_number(call.answer.get(name)) for name in ("exported", "pushed", "skipped", "rejected")]
        sink = [_number(call.at_sink), _number(call.sent_twice)]
        row = [call.name, _coloured(call.outcome), *counts, f"{call.seconds:.1f}", *sink, _time_of_day(call)]
        table.add_row(*row)
    console.print()
    console.print(table)
    console.print()


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else NOT_KNOWN


def _coloured(outcome: str) -> str:
    colour = {"ok": "green", "empty": "cyan", "partial": "yellow", "skipped": "yellow"}.get(outcome, "red")
    return f"[{colour}]{outcome}[/]"


def _time_of_day(call: Call) -> str:
    return call.watermark[11:19] or NOT_KNOWN
