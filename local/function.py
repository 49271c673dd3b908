"""The real function in a process of its own, under functions-framework, as Google Cloud runs it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

ROOT = Path(__file__).parent.parent
START_SECONDS = 60
STOP_SECONDS = 3
CALL_SECONDS = 600


class FunctionProcess:
    """Runs `main.py` from `__enter__`, which waits until it answers, to `__exit__`, which ends it.

    `environment` is all the environment it gets; relative paths and `config.yml` are looked up in `folder`;
    what it prints goes to the file `log`; it listens on `port` of 127.0.0.1.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path, log: Path) -> None:
        self._environment = dict(environment)
        self._folder = folder
        self._log = log
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy for the world outside is none for this process

    def __enter__(self) -> Self:
        """Start. Raises `RuntimeError` with the end of the log when it does not come up."""
        command = [sys.executable, "-m", "functions_framework", "--target", "cluster25_connector"]
        command += ["--source", str(ROOT / "main.py"), "--host", "127.0.0.1", "--port", str(self.port)]
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is for the demo, which then ends this process in good order.
            self._process = subprocess.Popen(  # noqa: S603 (our own program)
                command,
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process and its workers: in good order when they are idle, else by force."""
        self._stop()

    @property
    def pid(self) -> int:
        """Of the server; it leads a session of its own, to which its workers belong."""
        assert self._process is not None  # noqa: S101 - for the type checker
        return self._process.pid

    def call(self, path: str = "/", body: dict[str, Any] | None = None) -> dict[str, Any]:
        """`POST` and the JSON answer, whatever its status. Raises `RuntimeError` when there is none."""
        try:
            response = self._session.post(self._url(path), json=body, timeout=CALL_SECONDS)
            answer: dict[str, Any] = response.json()
        except requests.RequestException as error:
            raise RuntimeError(f"The function gave no JSON answer ({error}). {self._end_of_log()}") from error
        return answer

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process and self._process.poll() is None:
            try:
                self._session.get(self._url("/"), timeout=START_SECONDS)
            except requests.ConnectionError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"The function did not start. {self._end_of_log()}")

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        # Its workers are in its group, and may be busy with a run that nobody waits for any more.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _end_of_log(self) -> str:
        return f"The end of its log:\n{self._log.read_text(errors='replace')[-3000:]}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
