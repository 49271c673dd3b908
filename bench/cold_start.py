"""Cold starts: from the start of the function's process to its first answer, against the imports alone."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.feed_files import feed_file
from bench.load import cpu_seconds_of_tree
from bench.measuring import ROOT, Peers

GIVE_UP_SECONDS = 60.0
IMPORTS = "import gunicorn.app.base, gunicorn.workers.gthread, functions_framework._http.gunicorn, main"
"""What a process of functions-framework has imported when it serves this connector, but for the store."""


@dataclass(frozen=True)
class ColdStart:
    """Wall and CPU seconds to the first answer, all processes together, and those of the imports alone."""

    store: str
    path: str
    wall_seconds: float
    cpu_seconds: float
    imports_wall_seconds: float
    imports_cpu_seconds: float


def start_cold(store: str, path: str, peers: Peers) -> ColdStart:
    """Start the function and call it at once; then import the same in a process that does nothing else."""
    feed_file(0)
    with tempfile.TemporaryDirectory() as folder:
        environment = peers.settings(store, 0, Path(folder))
        wall_seconds, cpu_seconds = _first_answer(path, environment)
        imports_wall_seconds, imports_cpu_seconds = _imports(store, environment)
    return ColdStart(store, path, wall_seconds, cpu_seconds, imports_wall_seconds, imports_cpu_seconds)


def _first_answer(path: str, environment: Mapping[str, str]) -> tuple[float, float]:
    port = _free_port()
    command = [sys.executable, "-m", "functions_framework", "--target", "cluster25_connector"]
    command += ["--source", str(ROOT / "main.py"), "--host", "127.0.0.1", "--port", str(port)]
    started_at = time.monotonic()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            _call_until_answered(f"http://127.0.0.1:{port}{path}")
            return time.monotonic() - started_at, cpu_seconds_of_tree(process.pid)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _call_until_answered(url: str) -> None:
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while True:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, method="POST"), timeout=GIVE_UP_SECONDS
            ) as answer:
                answer.read()
                return
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.005)


def _imports(store: str, environment: Mapping[str, str]) -> tuple[float, float]:
    code = f"{IMPORTS}, cluster25.state.{store}; import time; print(time.process_time())"
    started_at = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return time.monotonic() - started_at, float(done.stdout)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
