"""The status as one HTML page: rendered here, with nothing loaded from anywhere and no script."""

import functools
import hashlib
import platform
from base64 import b64encode
from collections import Counter
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cluster25 import __version__
from cluster25.clock import to_rfc3339
from cluster25.errors import ConnectorError
from cluster25.operation.chart import BAR, HEIGHT, chart_of
from cluster25.operation.health import Condition, Health, health_of, spoken
from cluster25.settings import Settings
from cluster25.state.document import Outcome, State
from cluster25.state.store import Rejected

TEMPLATES = Path(__file__).parent / "templates"

HEADLINES: dict[Condition, str] = {
    "healthy": "Healthy",
    "starting": "First import under way",
    "never run": "Not run yet",
    "failing": "Failing",
    "skipping": "Skipping",
    "overdue": "No recent success",
}

OUTCOMES: dict[Outcome, str] = {
    "ok": "pushed something",
    "empty": "found nothing new",
    "partial": "stopped in time, the next goes on",
    "skipped": "gave way before exporting",
    "failed": "did not get through",
}
"""What each outcome means, in the order of the chart's legend."""


def render_page(settings: Settings, state: State, rejected: list[Rejected], now: datetime) -> str:
    """The page, from what the state store knows."""
    health = health_of(state, settings.cluster25_interval_sec, settings.cluster25_run_budget_sec, now)
    return _render(
        health,
        now,
        name=settings.connector_name,
        state=state,
        busy=state.lease if state.lease_held_at(now) else None,
        backfill=state.backfill_at(now),
        next_run=_next_run(settings, state, now),
        chart=chart_of(state.runs),
        counts=Counter(run.outcome for run in state.runs),
        by_type=_by_type(state),
        rejected=rejected,
        settings=settings.redacted(),
        versions={
            "connector": __version__,
            "state": state.version,
            "pycti": version("pycti"),
            "Python": platform.python_version(),
        },
    )


def render_failure(error: ConnectorError, now: datetime) -> str:
    """The page when not even the status can be told."""
    return _render(Health("failing", [error.what], error.remedy), now, name="Cluster25", state=None)


def page_headers() -> dict[str, str]:
    """What a browser may do with the page: show it, with its own style, and nothing else."""
    digest = b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }


def _render(health: Health, now: datetime, **values: Any) -> str:
    template = _environment().get_template("status.html")
    return template.render(
        health=health,
        headline=HEADLINES[health.condition],
        outcomes=OUTCOMES,
        now=now,
        style=Markup(_style()),  # noqa: S704 - our own file
        bar_width=BAR,
        chart_height=HEIGHT,
        **values,
    )


def _next_run(settings: Settings, state: State, now: datetime) -> str:
    if state.last_run is None:
        return ""
    left = state.last_run.started_at + timedelta(seconds=settings.cluster25_interval_sec) - now
    return f"is due in {spoken(left)}" if left >= timedelta() else f"was due {spoken(-left)} ago"


def _by_type(state: State) -> list[tuple[str, int]]:
    total: Counter[str] = Counter()
    for run in state.runs:
        total.update(run.by_type)
    return total.most_common()


@functools.cache
def _style() -> str:
    return (TEMPLATES / "status.css").read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"spoken": spoken, "rfc3339": to_rfc3339, "plain": _plain, "number": "{:,}".format}
    return environment


def _plain(value: object) -> str:
    """A setting's value as it would be written into the environment."""
    match value:
        case list():
            return ",".join(map(str, value))
        case bool():
            return str(value).lower()
        case None:
            return "not set"
        case _:
            return str(value)
