"""What all tests share: the Firestore emulator, and an environment that belongs to the test alone."""

import logging
import os
from collections import deque
from collections.abc import Iterator

import pytest

from cluster25 import redaction
from cluster25.settings import Settings
from tests.clock import SimulatedClock
from tests.emulator import EmulatorMissingError, running_emulator


def pytest_configure() -> None:
    """No setting of the machine's environment reaches a test."""
    for name in list(os.environ):
        if name.lower() in Settings.model_fields or name in {"K_SERVICE", "GOOGLE_CLOUD_PROJECT"}:
            del os.environ[name]


@pytest.fixture(scope="session")
def firestore_emulator() -> Iterator[str]:
    """`host:port` of a running emulator that Google's library, here and in child processes, talks to."""
    try:
        with running_emulator() as address, pytest.MonkeyPatch.context() as environment:
            environment.setenv("FIRESTORE_EMULATOR_HOST", address)
            yield address
    except EmulatorMissingError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def clock() -> SimulatedClock:
    """A clock that stands still until the test moves it."""
    return SimulatedClock()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """The connector configures logging as a whole process: what one test set must not silence another."""
    loggers = [logging.getLogger(name) for name in (None, "cluster25", "main")]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(autouse=True)
def _nothing_hidden_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hidden stays hidden while the process lives: one test's secret may be another's word."""
    monkeypatch.setattr(redaction, "_lasting", set())
    monkeypatch.setattr(redaction, "_tokens", deque(maxlen=redaction._tokens.maxlen))
    monkeypatch.setattr(redaction, "_known_secrets", None)
