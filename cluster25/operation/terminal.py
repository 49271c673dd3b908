"""What the command line shows: tables and live progress on a terminal, plain lines everywhere else."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cluster25.redaction import redact

T = TypeVar("T")

REFRESH_SECONDS = 0.25
PLAIN_SECONDS = 30.0
"""Where no terminal shows progress live, it is told that often."""

STYLES = {
    "ok": "green",
    "empty": "green",
    "✓": "bold green",
    "partial": "yellow",
    "skipped": "yellow",
    "failed": "bold red",
    "✗": "bold red",
}
"""Cells that are coloured: outcomes and the doctor's marks."""


def say(text: str = "") -> None:
    """One line of a command's answer."""
    sys.stdout.write(redact(text) + "\n")


def complain(text: str) -> None:
    """One line about what went wrong."""
    sys.stderr.write(redact(text) + "\n")


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str] = ()) -> None:
    """A table on a terminal; elsewhere one line for each row, its cells separated by tabs."""
    if not sys.stdout.isatty():
        for row in rows:
            say("\t".join(" ".join(cell.split()) for cell in row))
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(redact(cell), style=STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)


def attend(work: Callable[[], T], stop: Callable[[], None], describe: Callable[[], str]) -> T:
    """Do the work in another thread and show meanwhile how far it is; returns, or raises, what it does.

    The first Ctrl-C or SIGTERM asks it to stop in good order, the second ends the process.
    """
    done: list[T] = []
    errors: list[BaseException] = []

    def thread() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that waits
            errors.append(error)

    worker = threading.Thread(target=thread, name="work")
    earlier = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop()

    for number in earlier:
        signal.signal(number, on_signal)
    try:
        worker.start()
        _show_progress(worker, describe)
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    if errors:
        raise errors[0]
    return done[0]


def _show_progress(worker: threading.Thread, describe: Callable[[], str]) -> None:
    if not sys.stderr.isatty():
        next_line = time.monotonic() + PLAIN_SECONDS
        while worker.is_alive():
            worker.join(REFRESH_SECONDS)
            if time.monotonic() >= next_line:
                complain(describe())
                next_line += PLAIN_SECONDS
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn())
    # Log lines go to standard error, too: rich writes them above the bar.
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(describe(), total=None)
        while worker.is_alive():
            worker.join(REFRESH_SECONDS)
            progress.update(task, description=describe())
