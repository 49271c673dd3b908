"""`make run`: indicators go from Cluster25 to OpenCTI through the real function, and each step is checked."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from dotenv import dotenv_values
from rich.console import Console

from cluster25.clock import to_rfc3339
from cluster25.settings import Settings
from local.calls import Call, make_call, print_calls
from local.checks import check_failures, check_import, count_objects
from local.cluster25 import CLIENT_ID, CLIENT_SECRET, Cluster25
from local.feed import Feed
from local.function import ROOT, FunctionProcess
from local.indicators import stix_time
from local.opencti import TOKEN, OpenCTI

FEED_SIZE = 10_000
LATE = timedelta(minutes=5)
"""The late indicator was modified that long before the watermark: less than the overlap of 15 minutes."""


def main() -> int:
    """Run the demo; 0 when everything went as it should, else 1."""
    signal.signal(signal.SIGTERM, _end)
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=__doc__)
    parser.add_argument(
        "--feed",
        type=Path,
        default=os.environ.get("FEED") or None,
        help="a STIX 2.1 bundle to serve in place of made-up indicators (also: FEED in the environment)",
    )
    file: Path | None = parser.parse_args().feed
    console = Console(highlight=False)
    environment = {name: value or "" for name, value in dotenv_values(ROOT / ".env").items()} | dict(
        os.environ
    )
    try:
        if file is None and _has_credentials(environment):
            problems = _run_for_real(console, environment)
        else:
            problems = _run_on_stand_ins(console, environment, file)
    except (OSError, RuntimeError, ValueError) as error:
        problems = [str(error)]
    except KeyboardInterrupt:
        problems = ["Interrupted before the end."]
    for problem in problems:
        console.print("[red]WRONG[/] ", end="")
        console.print(problem, markup=False, soft_wrap=True)
    return 1 if problems else 0


def _has_credentials(environment: Mapping[str, str]) -> bool:
    """Whether the real services are meant; `ChangeMe` is what the examples of settings carry."""
    names = ("CLUSTER25_CLIENT_ID", "CLUSTER25_CLIENT_SECRET")
    return all(environment.get(name, "") not in ("", "ChangeMe") for name in names)


def _run_for_real(console: Console, environment: dict[str, str]) -> list[str]:
    console.print("Credentials found: the function runs here, twice, against the real Cluster25 and OpenCTI.")
    with (
        tempfile.TemporaryDirectory() as folder,
        FunctionProcess(environment, ROOT, Path(folder) / "function.log") as function,
    ):
        calls = [make_call(name, function) for name in ("1 import", "2 again")]
    print_calls(console, calls)
    return check_failures(calls)


def _run_on_stand_ins(console: Console, environment: dict[str, str], file: Path | None) -> list[str]:
    feed = Feed.from_file(file) if file else Feed(size=FEED_SIZE)
    expected = count_objects(feed)
    console.print(
        f"A stand-in Cluster25 ({file or 'made up'}: {expected:,} objects), a stand-in OpenCTI, and between "
        "them the real function under functions-framework. Three calls: an import, another at once, and a "
        "third after an indicator appeared late."
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        Cluster25(feed) as source,
        OpenCTI() as sink,
        FunctionProcess(
            _stand_in_environment(environment, source, sink, feed),
            Path(folder),
            Path(folder) / "function.log",
        ) as function,
    ):
        calls = [
            make_call("1 import", function, sink.ingestion),
            make_call("2 again", function, sink.ingestion),
        ]
        problems = check_failures(calls)
        if not problems:
            late = _late_indicator(feed, calls[-1])
            feed.add(late)
            calls.append(make_call("3 late", function, sink.ingestion))
            problems = check_failures(calls[-1:]) or check_import(expected, late, calls, sink)
    print_calls(console, calls)
    if not problems:
        _tell(console, calls, sink)
    return problems


def _stand_in_environment(
    environment: dict[str, str], source: Cluster25, sink: OpenCTI, feed: Feed
) -> dict[str, str]:
    """The caller's environment without any setting of the connector, and the few that are needed here.

    A proxy that the caller has to use knows nothing of the stand-ins.
    """
    inherited = {
        name: value for name, value in environment.items() if name.lower() not in Settings.model_fields
    }
    return inherited | {
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "OPENCTI_URL": sink.url,
        "OPENCTI_TOKEN": TOKEN,
        "CONNECTOR_ID": str(uuid4()),
        "CLUSTER25_BASE_URL": source.base_url,
        "CLUSTER25_CLIENT_ID": CLIENT_ID,
        "CLUSTER25_CLIENT_SECRET": CLIENT_SECRET,
        "CLUSTER25_IMPORT_START_DATE": to_rfc3339(feed.oldest()),
        "STATE_STORE": "sqlite",
        "STATE_SQLITE_PATH": "state.db",
    }


def _late_indicator(feed: Feed, last: Call) -> dict[str, Any]:
    """One that appears only now, though it was modified before the watermark; of a file, a newer version."""
    if not last.watermark:
        raise RuntimeError(f"Call {last.name} answered no watermark: {last.answer}")
    modified = datetime.fromisoformat(last.watermark) - LATE
    if feed.size:
        return feed.indicator(feed.size, modified)
    known = [entry for entry in feed.objects() if isinstance(entry, dict) and entry["type"] == "indicator"]
    if not known:
        raise ValueError("The file has no indicator that could be served once more as a newer version.")
    return known[0] | {"modified": stix_time(modified)}


def _tell(console: Console, calls: list[Call], sink: OpenCTI) -> None:
    sizes = sink.ingestion.body_sizes_bytes
    by_type = ", ".join(
        f"{name} {count:,}" for name, count in sorted(calls[0].answer.get("by_type", {}).items())
    )
    rejected = calls[0].count("rejected")
    but = f" but {rejected} that cannot be imported and was kept with the reason" if rejected else ""
    console.print(
        f"Every object{but} reached OpenCTI once, in {len(sizes)} pushes of at most "
        f"{max(sizes) / 1e6:.1f} MB ({by_type}). The second call found nothing new; the third brought just "
        "the late indicator, modified before the watermark but within the overlap. OpenCTI's own splitter "
        "found nothing to drop and no reference missing."
    )


def _end(signal_number: int, _: object) -> NoReturn:
    """End as Ctrl-C does, so that the processes started here end, too."""
    raise KeyboardInterrupt(signal_number)


if __name__ == "__main__":
    sys.exit(main())
