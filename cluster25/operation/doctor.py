"""The doctor: looks at the settings, both peers and the state store, and says what is wrong and what to do.

Nothing is changed anywhere. OpenCTI is not pinged: a ping could take a reset that a run must hear of.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cluster25.client import AccessToken, Cluster25Client
from cluster25.clock import Budget, to_rfc3339
from cluster25.connector import Connector
from cluster25.errors import ConnectorError, SinkRefusedError
from cluster25.graphql import ROLE_REMEDY
from cluster25.opencti import OpenCTI
from cluster25.scan import scan_bundle
from cluster25.state.lease import read_state
from cluster25.state.store import ConflictError, Store, Stored

CHECK_SECONDS = 15.0
"""What each look at a peer may take, its retries included."""

LOOK_BACK = timedelta(days=1)
OLDEST_RELEASE = (6, 3)
CAPABILITIES = frozenset({"CONNECTORAPI", "BYPASS"})
"""One of these is needed; the latter is what administrators have."""

NEVER = Stored({}, datetime(2000, 1, 1, tzinfo=UTC))
"""A document of a revision that no store has."""


@dataclass(frozen=True)
class Finding:
    """What one look brought. `passed` is None where it could not be told; where False, there is a remedy."""

    subject: str
    passed: bool | None
    what: str
    remedy: str | None = None
    retryable: bool = False

    @classmethod
    def of(cls, subject: str, error: ConnectorError) -> "Finding":
        """The finding that an error is."""
        return cls(subject, passed=False, what=error.what, remedy=error.remedy, retryable=error.retryable)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"subject": self.subject, "passed": self.passed, "what": self.what, "remedy": self.remedy}


def examine(open_connector: Callable[[], Connector]) -> list[Finding]:
    """Look at everything; with wrong settings at nothing else. `open_connector` may raise `SettingsError`."""
    try:
        connector = open_connector()
    except ConnectorError as error:
        return [Finding.of("settings", error)]
    return [_settings(connector), *_source(connector), *_sink(connector), _store(connector)]


def _settings(connector: Connector) -> Finding:
    settings = connector.settings
    what = f"complete; types {', '.join(settings.cluster25_indicator_types)}"
    if settings.opencti_ssl_verify is False:
        what += "; OPENCTI_SSL_VERIFY=false: whoever answers is taken for OpenCTI"
    return Finding("settings", passed=True, what=what)


def _source(connector: Connector) -> Iterator[Finding]:
    """Without a token there is no export to look at."""
    # A token of its own: the connector's may be from before the credentials were changed.
    source = connector.source(AccessToken())
    try:
        source.renew_token(Budget.of(connector.clock, CHECK_SECONDS))
    except ConnectorError as error:
        yield Finding.of("Cluster25 token", error)
        return
    yield Finding("Cluster25 token", passed=True, what=f"given by {connector.settings.cluster25_base_url}")
    try:
        seen = _first_objects(connector, source)
    except ConnectorError as error:
        yield Finding.of("Cluster25 export", error)
        return
    what = "gives objects" if seen else f"answers; nothing was modified since {LOOK_BACK.days} day ago"
    yield Finding("Cluster25 export", passed=True, what=what)


def _first_objects(connector: Connector, source: Cluster25Client) -> bool:
    """Whether the export of the last day has any; it is closed as soon as that is known."""
    types, start = connector.settings.cluster25_indicator_types, connector.clock.now() - LOOK_BACK
    budget = Budget.of(connector.clock, CHECK_SECONDS)
    with source.export_indicators(types, start, budget) as body:
        return any(batch.objects or batch.oversized for batch in scan_bundle(body))


def _sink(connector: Connector) -> Iterator[Finding]:
    """Without an answer to the first question the second is not asked."""
    sink = OpenCTI(connector.settings)
    try:
        version = sink.version(Budget.of(connector.clock, CHECK_SECONDS))
    except ConnectorError as error:
        yield Finding.of("OpenCTI", error)
        return
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    yield Finding(
        "OpenCTI",
        passed=numbers >= OLDEST_RELEASE,
        what=f"release {version} at {connector.settings.opencti_url}",
        remedy=None if numbers >= OLDEST_RELEASE else "Upgrade OpenCTI to release 6.3 or newer.",
    )
    try:
        capabilities = sink.capabilities(Budget.of(connector.clock, CHECK_SECONDS))
    except SinkRefusedError:
        what = "not told by this release; the first run will show whether the token may import"
        yield Finding("OpenCTI role", passed=None, what=what)
    except ConnectorError as error:
        yield Finding.of("OpenCTI role", error)
    else:
        yield _role(capabilities)


def _role(capabilities: frozenset[str]) -> Finding:
    enough = capabilities & CAPABILITIES
    if not enough:
        what = f"the token's user has not CONNECTORAPI, but {', '.join(sorted(capabilities)) or 'nothing'}"
        return Finding("OpenCTI role", passed=False, what=what, remedy=ROLE_REMEDY)
    what = "the token's user may import"
    if "BYPASS" in enough:
        what += ", and everything else: a user of its own with the role Connector is safer"
    return Finding("OpenCTI role", passed=True, what=what)


def _store(connector: Connector) -> Finding:
    try:
        state = read_state(connector.store)
        _try_to_write(connector.store)
    except ConnectorError as error:
        return Finding.of("state store", error)
    checkpoint = f"watermark {to_rfc3339(state.watermark)}" if state.watermark else "no watermark yet"
    return Finding(
        "state store", passed=True, what=f"read and writable: {connector.store.location}; {checkpoint}"
    )


def _try_to_write(store: Store) -> None:
    """A write that the store must refuse, for the revision it names, after it has checked all else."""
    try:
        store.write({"version": 0}, replaces=NEVER)
    except ConflictError:
        return
