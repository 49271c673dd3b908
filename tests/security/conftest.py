"""The function between the stand-ins, as in the tests of faults."""

from tests.faults.canaries import no_secret_shows
from tests.faults.conftest import app, clock, environment, function, sink, source

__all__ = ["app", "clock", "environment", "function", "no_secret_shows", "sink", "source"]
