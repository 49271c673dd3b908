"""`python -m cluster25`: every usual task by one command, on the settings and the state of the function."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TextIO, cast

from cluster25.clock import SystemClock
from cluster25.connector import Connector
from cluster25.errors import ConnectorError
from cluster25.logs import configure
from cluster25.operation import commands
from cluster25.operation.terminal import complain
from cluster25.request import parse_body
from cluster25.run import RunRequest
from cluster25.settings import load_settings

EXIT_CODES = """\
exit codes:
  0  done, nothing left that needs anybody (of a run also `partial`: the next run goes on)
  1  failed, a person is needed; of `status`: not healthy; of `doctor`: something is wrong
  2  wrong usage or settings
  3  failed or not finished, but the same command may succeed, or goes on, later
  4  skipped: another run is working, or OpenCTI's queue is full
"""

EXAMPLES = """\
examples:
  python -m cluster25 doctor
  python -m cluster25 run --dry-run
  python -m cluster25 backfill --since 2026-01-01 --types domain,url
  python -m cluster25 rejected list

Settings come from the environment and config.yml, as for the function; with STATE_STORE=firestore and
credentials it works on the state of the deployed function. Log lines go to standard error.

"""


class _StandardError:
    """The standard error of the moment: a live display replaces it for as long as it lasts."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command. Returns the exit code; the parser itself exits with 2 for wrong usage."""
    asked = command_parser().parse_args(arguments)
    configure("info", cast("TextIO", _StandardError()))
    try:
        if asked.command == "doctor":
            return commands.doctor(_open_connector)
        return _carry_out(asked, _open_connector())
    except ConnectorError as error:
        complain(f"{error.what}\n{error.remedy}")
        return commands.exit_code(error)


def _open_connector() -> Connector:
    settings = load_settings()
    configure(settings.connector_log_level, cast("TextIO", _StandardError()))
    return Connector.of(settings, SystemClock())


def _carry_out(asked: argparse.Namespace, connector: Connector) -> int:
    match asked.command:
        case "run":
            return commands.run(connector, _request("command", asked, connector, dry_run=asked.dry_run))
        case "backfill":
            return commands.backfill(connector, _request("backfill", asked, connector))
        case "status":
            return commands.status(connector)
        case "reset":
            return commands.reset(connector)
        case _:
            return _carry_out_rejected(asked, connector)


def _carry_out_rejected(asked: argparse.Namespace, connector: Connector) -> int:
    match asked.action:
        case "show":
            return commands.show_rejected(connector, asked.key)
        case "retry":
            return commands.retry_rejected(connector, asked.key)
        case _:
            return commands.list_rejected(connector)


def _request(
    trigger: str, asked: argparse.Namespace, connector: Connector, *, dry_run: bool = False
) -> RunRequest:
    """The request, checked like the body of a call. Raises `BadRequestError`."""
    types = [name.strip().lower() for name in asked.types.split(",")] if asked.types is not None else None
    body = json.dumps({"dry_run": dry_run, "since": asked.since, "types": types})
    parsed = parse_body(body.encode(), connector.clock.now())
    return RunRequest(trigger, dry_run=parsed.dry_run, since=parsed.since, types=parsed.types)


def command_parser() -> argparse.ArgumentParser:
    """What the command line understands."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster25",
        description="Operate the Cluster25 connector.",
        epilog=EXAMPLES + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands_of = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands_of.add_parser("doctor", help="check settings, Cluster25, OpenCTI and the state store")
    running = commands_of.add_parser("run", help="make one run now")
    running.add_argument("--dry-run", action="store_true", help="tell what a run would do, change nothing")
    _add_question(running, required=False)
    commands_of.add_parser("status", help="is it healthy, how far is it, what did the last runs do")
    commands_of.add_parser("reset", help="forget the checkpoint: the next run starts the import over")
    filling = commands_of.add_parser(
        "backfill", help="import from a past date, beside the regular runs, however many runs it takes"
    )
    _add_question(filling, required=True)
    rejected = commands_of.add_parser("rejected", help="objects that could not be sent")
    actions = rejected.add_subparsers(dest="action", required=True, metavar="action")
    actions.add_parser("list", help="list them, with reasons")
    showing = actions.add_parser("show", help="print one as it came")
    showing.add_argument("key", help="its key in the list")
    retrying = actions.add_parser("retry", help="check and send them again, such as after an upgrade")
    retrying.add_argument("key", nargs="*", help="keys in the list; all without any")
    return parser


def _add_question(parser: argparse.ArgumentParser, *, required: bool) -> None:
    when = "indicators modified since this ISO 8601 date or date-time, such as 2026-01-31"
    parser.add_argument("--since", required=required, metavar="DATE", help=when)
    parser.add_argument("--types", metavar="TYPES", help="only these types, such as ipv4,domain")
