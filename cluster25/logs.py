"""Log lines: one JSON object each, as Cloud Logging reads them; readable text on a terminal. No secrets."""

import contextvars
import json
import logging
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, ParamSpec, Protocol, TextIO, TypeVar

from cluster25.clock import to_rfc3339
from cluster25.redaction import redact

P = ParamSpec("P")
R = TypeVar("R")

_OWN_LOGGERS = ("cluster25", "main")
_LONGEST_TEXT_CHARS = 50_000
"""Cloud Logging refuses an entry above 256 KiB; a peer's answer can be part of any library's message."""

_STANDARD_ATTRIBUTES: Final = {*vars(logging.makeLogRecord({})), "message", "asctime"}
_CLOUD_TRACE = re.compile(r"(?P<trace>[0-9a-f]{32})(?:/(?P<span>\d{1,20}))?(?:;.*)?", re.IGNORECASE)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}.*")


class Headers(Protocol):
    """The headers of a request, as web frameworks hand them over."""

    def get(self, key: str, default: str, /) -> str:
        """The value of a header, or the default."""


@dataclass(frozen=True)
class Trace:
    """The request a log line belongs to, in the form Cloud Logging joins lines by."""

    resource: str
    span_id: str | None = None


@dataclass(frozen=True)
class _Run:
    run_id: str
    trace: Trace | None


_run: contextvars.ContextVar[_Run | None] = contextvars.ContextVar("run", default=None)


def trace_of(headers: Headers, project: str | None) -> Trace | None:
    """The trace named by a request's `X-Cloud-Trace-Context` or W3C `traceparent` header.

    `headers` is looked up as given: pass the framework's own, which ignores case. None when there is no
    such header, it is malformed, or the Google Cloud project is not known.
    """
    if not project:
        return None
    if found := _CLOUD_TRACE.fullmatch(headers.get("X-Cloud-Trace-Context", "")):
        span_id = f"{int(found['span']):016x}" if found["span"] else None
    elif found := _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
        span_id = found["span"]
    else:
        return None
    return Trace(f"projects/{project}/traces/{found['trace'].lower()}", span_id)


@contextmanager
def run_context(run_id: str, trace: Trace | None = None) -> Iterator[None]:
    """Every line written inside carries `run_id` and, when given, the trace."""
    token = _run.set(_Run(run_id, trace))
    try:
        yield
    finally:
        _run.reset(token)


def with_context(function: Callable[P, R]) -> Callable[P, R]:
    """The function, bound to the caller's run context: what a worker thread is to be started with.

    The result may run once at a time; wrap anew for each thread.
    """
    return partial(contextvars.copy_context().run, function)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (default: standard output), once, however often called.

    `level` (`debug`, `info`, `warn`, `error`) is that of the connector's own lines. Libraries are heard from
    warning on, or from `level` where that is higher; on `debug` they say everything, too.
    """
    own_level = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    for handler in list(root.handlers):
        # plain stream handlers are those of basicConfig and functions-framework: each line would appear twice
        if type(handler) in {_Handler, logging.StreamHandler}:
            root.removeHandler(handler)
    root.addHandler(_Handler(stream))
    root.setLevel(own_level if own_level == logging.DEBUG else max(own_level, logging.WARNING))
    for name in _OWN_LOGGERS:
        logging.getLogger(name).setLevel(own_level)


class _Handler(logging.Handler):
    """Writes to the standard output of the moment: functions-framework replaces it during a request."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        try:
            stream = self._stream or sys.stdout
            text = _terminal_text(record) if stream.isatty() else _json_line(record)
            stream.write(text + "\n")
            stream.flush()
        except Exception:  # noqa: BLE001 - whatever a line is made of, it must not stop a run
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Say where the faulty line is; logging's own report would show its arguments, secrets included."""
        if logging.raiseExceptions and sys.stderr:
            error = type(sys.exception()).__name__
            sys.stderr.write(f"Log line {record.filename}:{record.lineno} could not be written: {error}\n")


def _json_line(record: logging.LogRecord) -> str:
    run = _run.get()
    entry = _extra_fields(record) | {
        "severity": _severity(record),
        "message": _plain(record.getMessage()),
        "time": to_rfc3339(datetime.fromtimestamp(record.created, UTC)),
        "logger": record.name,
    }
    if run is not None:
        entry["run_id"] = run.run_id
        if run.trace is not None:
            entry["logging.googleapis.com/trace"] = run.trace.resource
            if run.trace.span_id is not None:
                entry["logging.googleapis.com/spanId"] = run.trace.span_id
    if stack_trace := _stack_trace(record):
        entry["stack_trace"] = stack_trace
    return json.dumps(entry)


def _terminal_text(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
    fields = "".join(f"  {name}={value}" for name, value in _extra_fields(record).items())
    line = f"{time} {_severity(record):8} {_plain(record.getMessage())}{fields}"
    stack_trace = _stack_trace(record)
    return f"{line}\n{stack_trace}" if stack_trace else line


def _severity(record: logging.LogRecord) -> str:
    """Cloud Logging knows the five standard names only; a library's own level counts as the one below it."""
    return logging.getLevelName(max(10, min(50, record.levelno // 10 * 10)))


def _extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: _plain(value) for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}


def _stack_trace(record: logging.LogRecord) -> str | None:
    """In the interpreter's own format, which Error Reporting recognises in a field of this name."""
    if not record.exc_info or record.exc_info[1] is None:
        return None
    text = redact("".join(traceback.format_exception(record.exc_info[1]))).rstrip()
    return text[-_LONGEST_TEXT_CHARS:]


def _plain(value: Any) -> Any:
    """The value as JSON can carry it, with secrets removed at any depth."""
    match value:
        case None | bool() | int():
            return value
        case float() if math.isfinite(value):
            return value
        case datetime():
            return to_rfc3339(value)
        case Mapping():
            return {redact(str(key)): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case _:
            return redact(str(value))[:_LONGEST_TEXT_CHARS]
