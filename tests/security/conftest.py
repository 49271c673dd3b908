"""The function between the stand-ins, as in the tests of faults."""

from tests.faults.conftest import app, clock, environment, function, sink, source

__all__ = ["app", "clock", "environment", "function", "sink", "source"]
