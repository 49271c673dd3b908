"""The HTTP edge: functions-framework hands every request to `cluster25_connector`."""

import functools
import gc
import io
import json
import logging
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

from flask import Request, Response

from cluster25.clock import SystemClock
from cluster25.connector import Connector
from cluster25.errors import BadRequestError, ConnectorError, UnexpectedError
from cluster25.logs import configure, run_context, trace_of
from cluster25.operation.status import REJECTED_SHOWN, status_document
from cluster25.redaction import redact, redact_all
from cluster25.request import BODY_BYTES, FORM, parse_body, parse_tick
from cluster25.run import RunRequest, RunResult
from cluster25.settings import google_cloud_project, load_settings
from cluster25.state.document import State
from cluster25.state.lease import read_state, request_reset
from cluster25.state.store import Rejected

log = logging.getLogger(__name__)

Answer = tuple[int, dict[str, Any]]

JSON_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept",
}


@functools.cache
def connector() -> Connector:
    """This process's connector, made at the first call, hence after the fork. Raises `SettingsError`."""
    settings = load_settings()
    configure(settings.connector_log_level)
    gc.freeze()  # the collector need not look at all that was imported again and again: 5 % of a run
    return Connector.of(settings, SystemClock())


def cluster25_connector(request: Request) -> Response:
    """The function: every path and method comes here. Answers JSON, whatever happens, or the status page."""
    run_id = uuid4().hex
    with run_context(run_id, trace_of(request.headers, google_cloud_project())):
        try:
            _bound_body(request)
            if _wants_page(request):
                return _page()
            status, answer = _route(request, run_id)
        except ConnectorError as error:
            log.error("%s", error)  # noqa: TRY400 - expected failures need no stack
            status, answer = _status_of(error), {"outcome": "failed", "error": error.as_dict()}
        except Exception:
            log.exception("an unexpected error ended the call")
            unexpected = UnexpectedError()
            status, answer = _status_of(unexpected), {"outcome": "failed", "error": unexpected.as_dict()}
    # Before it is encoded: afterwards a backslash might go with a secret, and the rest be no JSON.
    body = json.dumps(redact_all({"run_id": run_id, **answer}))
    return Response(body, status, JSON_HEADERS)


def _bound_body(request: Request) -> None:
    """Leave no more of the body than tells that it is too long: functions-framework would read all of it."""
    stream, request.stream = request.stream, io.BytesIO()
    try:
        body = stream.read(BODY_BYTES + 1)
    except Exception as error:  # each server has errors of its own for what it cannot read
        raise BadRequestError(f"The body cannot be read ({type(error).__name__}).", FORM) from error
    if len(body) < min(request.content_length or 0, BODY_BYTES + 1):
        raise BadRequestError("The body is shorter than its Content-Length.", FORM)
    request.stream = io.BytesIO(body)


def _wants_page(request: Request) -> bool:
    """Whether a browser asks for the status: JSON is for all who do not say that they prefer HTML."""
    preferred = request.accept_mimetypes.best_match(["application/json", "text/html"])
    return request.path == "/" and request.method in {"GET", "HEAD"} and preferred == "text/html"


def _page() -> Response:
    from cluster25.operation.page import page_headers, render_failure, render_page  # noqa: PLC0415 - runs need no page

    now, status = SystemClock().now(), 200
    try:
        this = connector()
        html = render_page(this.settings, *_read_status(this, now), now)
    except ConnectorError as error:
        log.error("%s", error)  # noqa: TRY400 - expected failures need no stack
        html, status = render_failure(error, now), _status_of(error)
    return Response(redact(html), status, page_headers())


def _route(request: Request, run_id: str) -> Answer:
    methods = ROUTES.get(request.path)
    if methods is None:
        return 404, _refusal("There is nothing at this path.", f"There is {', '.join(ROUTES)}.")
    handler = methods.get(request.method)
    if handler is None:
        return 405, _refusal("This path does not take this method.", f"It takes {', '.join(methods)}.")
    if request.query_string and request.method == "POST":  # a dry run asked for so would be a real one
        return 400, _refusal("No call takes a query.", FORM)
    return handler(request, run_id)


def _loop() -> int:
    """`python main.py`: runs and heartbeats until SIGTERM. Returns the process's exit code."""
    from cluster25.operation.loop import Loop, run_until_terminated  # noqa: PLC0415 - the function needs no loop

    configure("info")
    try:
        loop = Loop(connector())
    except ConnectorError as error:
        log.error("%s", error)  # noqa: TRY400 - expected failures need no stack
        return 2
    run_until_terminated(loop)
    return 0


def _run(request: Request, run_id: str) -> Answer:
    this = connector()
    asked = parse_body(request.get_data(), this.clock.now())
    scheduled = request.headers.get("X-CloudScheduler") == "true"
    tick = request.headers.get("X-CloudScheduler-ScheduleTime")
    run_request = RunRequest(
        trigger="scheduler" if scheduled else "call",
        tick=parse_tick(tick) if scheduled and tick else None,
        dry_run=asked.dry_run,
        since=asked.since,
        types=asked.types,
    )
    return _answer(this.sync().run(run_id, run_request))


def _heartbeat(_request: Request, run_id: str) -> Answer:
    return _answer(connector().sync().heartbeat(run_id))


def _reset(_request: Request, _run_id: str) -> Answer:
    this = connector()
    if request_reset(this.store, this.clock):
        reason = "The checkpoint is forgotten; the next call starts the import over."
    else:
        reason = (
            "A run is under way: it stops at its next chunk, and the call after it starts the import over."
        )
    return 200, {"outcome": "ok", "watermark": None, "reason": reason}


def _doctor(_request: Request, _run_id: str) -> Answer:
    from cluster25.operation.doctor import examine  # noqa: PLC0415 - seldom needed

    findings = examine(connector)
    wrong = [finding for finding in findings if finding.passed is False]
    answer = {"outcome": "failed" if wrong else "ok", "checks": [finding.as_dict() for finding in findings]}
    if not wrong:
        return 200, answer
    return 503 if all(finding.retryable for finding in wrong) else 500, answer


def _status(_request: Request, _run_id: str) -> Answer:
    this = connector()
    now = this.clock.now()
    return 200, status_document(this.settings, *_read_status(this, now), now)


def _read_status(this: Connector, now: datetime) -> tuple[State, list[Rejected]]:
    return read_state(this.store), this.store.read_rejected(now, REJECTED_SHOWN)


ROUTES: dict[str, dict[str, Callable[[Request, str], Answer]]] = {
    "/": {"POST": _run, "GET": _status, "HEAD": _status},
    "/heartbeat": {"POST": _heartbeat},
    "/reset": {"POST": _reset},
    "/doctor": {"POST": _doctor},
}


def _answer(result: RunResult) -> Answer:
    return (_status_of(result.error) if result.error else 200), result.as_dict()


def _status_of(error: ConnectorError) -> int:
    """503 where the next call may succeed by itself, 500 where a person is needed, 400 for a bad body."""
    if isinstance(error, BadRequestError):
        return 400
    return 503 if error.retryable else 500


def _refusal(what: str, remedy: str) -> dict[str, Any]:
    return {"outcome": "failed", "error": {"what": what, "side": "request", "remedy": remedy}}


if __name__ == "__main__":
    sys.exit(_loop())
