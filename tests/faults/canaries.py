"""Secrets that are easily found, looked for wherever a test may have left one."""

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import local.cluster25
import local.opencti
from cluster25.errors import ConnectorError
from cluster25.state.firestore import FirestoreStore
from tests.faults.function import CANARIES

SECRETS = (*CANARIES, local.cluster25.CLIENT_SECRET, local.opencti.TOKEN)
"""Of the function between the stand-ins, and of the processes that are killed."""


def check_secret_free(text: str, where: str) -> None:
    for secret in SECRETS:
        assert secret not in text, f"{secret} shows in {where}, after ...{text.partition(secret)[0][-200:]}"


def everything_about(error: ConnectorError) -> str:
    """All that whoever catches or logs it could come to see, causes included."""
    trace = "".join(traceback.format_exception(error))
    return f"{error}\n{error!r}\n{vars(error)}\n{error.args}\n{json.dumps(error.as_dict())}\n{trace}"


@dataclass
class Witness:
    """What came to be during a test that could hold a secret."""

    errors: list[ConnectorError] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Note every error that is made, and every value on its way to Firestore."""
        made = ConnectorError.__init__

        def note_error(error: ConnectorError, *arguments: Any, **named: Any) -> None:
            self.errors.append(error)
            made(error, *arguments, **named)

        monkeypatch.setattr(ConnectorError, "__init__", note_error)
        for name in ("write", "write_page", "add_rejected"):
            monkeypatch.setattr(FirestoreStore, name, self._noting(getattr(FirestoreStore, name)))

    def _noting(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def note(store: FirestoreStore, *values: Any) -> Any:
            self.stored.append(repr(values))
            return write(store, *values)

        return note


@pytest.fixture(autouse=True)
def no_secret_shows(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[None]:
    """After every test: not in an error that was made, what was stored or printed, a file, or the status."""
    witness = Witness()
    witness.watch(monkeypatch)
    # pycti silences urllib3, but not its parts: whoever gets them to talk must find no secret, either.
    caplog.set_level(logging.DEBUG, "urllib3.connectionpool")
    function: Any = request.getfixturevalue("function") if "function" in request.fixturenames else None
    yield
    for accepted in ("application/json", "text/html") if function is not None else ():
        response = function.client.get("/", headers={"Accept": accepted})
        check_secret_free(f"{response.headers}{response.text}", "the status")
    printed = capsys.readouterr()
    check_secret_free(printed.out + printed.err, "what was printed")
    for error in witness.errors:
        check_secret_free(everything_about(error), "an error")
    for values in witness.stored:
        check_secret_free(values, "what was stored")
    for file in (each for each in tmp_path.rglob("*") if each.is_file()):
        check_secret_free(file.read_bytes().decode("latin-1"), file.name)
