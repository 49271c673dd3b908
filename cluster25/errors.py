"""Every way a run can fail: what happened, whose side it is on, what to do, and whether waiting helps."""

from typing import ClassVar, Literal

Side = Literal["configuration", "connector", "request", "source", "sink", "state"]


class ConnectorError(Exception):
    """Base of all expected failures.

    `what` says what happened, `remedy` what to do about it; neither ever carries a secret.
    `retryable` is true when a later run may succeed without a person: it decides between 503 and 500.
    """

    side: ClassVar[Side]
    retryable: ClassVar[bool] = False

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what if what.endswith(('.', '!', '?')) else what + '.'} {remedy}")
        self.what = what
        self.remedy = remedy

    def as_dict(self) -> dict[str, str]:
        """The `error` member of an HTTP answer: `what`, `side`, `remedy`."""
        return {"what": self.what, "side": self.side, "remedy": self.remedy}


class SettingsError(ConnectorError):
    """One or more settings are missing or wrong; the message names each variable."""

    side = "configuration"


class BadRequestError(ConnectorError):
    """The body of a request to the function cannot be used."""

    side = "request"


class UnexpectedError(ConnectorError):
    """Something that was not foreseen; the log has the stack."""

    side = "connector"

    def __init__(self) -> None:
        super().__init__(
            "The connector met an unexpected error; nothing is lost.",
            "Look for this run_id in the log, and report what stands there.",
        )


class UnavailableError(ConnectorError):
    """Something that may well work at the next try: network, 408, 429, 5xx, HTML from a proxy, cut bodies.

    `retry_after_seconds` is what the peer asked for, if it did.
    """

    retryable = True

    def __init__(self, what: str, remedy: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(what, remedy)
        self.retry_after_seconds = retry_after_seconds


class SourceUnavailableError(UnavailableError):
    """Cluster25 could not be reached, was overloaded, or its answer was cut short."""

    side = "source"


class SourceRefusedError(ConnectorError):
    """Cluster25 refused the credentials or the question, or answered something that is no bundle."""

    side = "source"


class ExportTooLargeError(ConnectorError):
    """An export went beyond what a run may read: endless, a compression bomb, or larger than was foreseen."""

    side = "source"


class SinkUnavailableError(UnavailableError):
    """OpenCTI could not be reached, was overloaded, or something in front of it answered."""

    side = "sink"


class SinkRefusedError(ConnectorError):
    """OpenCTI understood the request and refused it: token, capability, or a field it does not know."""

    side = "sink"


class BundleTooLargeError(ConnectorError):
    """OpenCTI, or a proxy before it, answered 413: the same objects must go in smaller chunks."""

    side = "sink"


class ConnectorUnknownError(ConnectorError):
    """OpenCTI has no connector with this id: never registered, or deleted in the interface."""

    side = "sink"


class StateUnavailableError(UnavailableError):
    """The state store could not be reached or did not answer in time."""

    side = "state"


class StateDamagedError(ConnectorError):
    """The stored state cannot be understood. It is kept as it is; it is never taken for a first run."""

    side = "state"


class LeaseHeldError(ConnectorError):
    """Another run holds the lease; this call is skipped."""

    side = "state"
    retryable = True


class LeaseLostError(ConnectorError):
    """This run outlived its lease, or another took over: it must stop and can commit nothing more."""

    side = "state"
    retryable = True


class BudgetSpentError(ConnectorError):
    """The run's time is used up, and nothing was added in it."""

    side = "source"
    retryable = True
