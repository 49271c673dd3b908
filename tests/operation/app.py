"""The function under functions-framework, at the time of `histories`."""

import sys
from pathlib import Path

import flask
import pytest
from functions_framework import create_app
from werkzeug.test import TestResponse

from tests.clock import SimulatedClock
from tests.operation.histories import NOW

ROOT = Path(__file__).parents[2]
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


class App:
    """A new instance of the function; `environment` has its settings."""

    def __init__(self, environment: pytest.MonkeyPatch) -> None:
        self.wsgi: flask.Flask = create_app("cluster25_connector", str(ROOT / "main.py"))
        self.clock = SimulatedClock(NOW)
        environment.setattr(sys.modules["main"], "SystemClock", lambda: self.clock)

    def get(self, *, html: bool = False, method: str = "GET") -> TestResponse:
        """The status as a script, or as a browser, asks for it."""
        accept = BROWSER if html else "*/*"
        return self.wsgi.test_client().open("/", method=method, headers={"Accept": accept})
