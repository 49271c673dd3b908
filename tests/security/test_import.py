"""Importing what is deployed has no effect outside the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WATCH = """
import os, sys
FORBIDDEN = {
    "socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty",
    "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.putenv", "os.utime", "sqlite3.connect", "shutil.copyfile", "shutil.rmtree",
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
def watch(event, arguments):
    if event == "open" and arguments[2] & WRITING and arguments[0] != "/dev/null" or event in FORBIDDEN:
        os.write(1, f"{event} {arguments}\\n".encode())
        os._exit(3)
sys.addaudithook(watch)
"""
IMPORT_ALL = """
import importlib, pkgutil, cluster25, main
for module in pkgutil.walk_packages(cluster25.__path__, "cluster25."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import google.cloud.firestore, jinja2, pycti, rich.progress, stix2patterns.validator
"""


def imported(script: str, folder: Path) -> tuple[int, str]:
    """Exit status and output of a process of its own, in an empty folder, with no settings at all."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        # Google's libraries tell of the end of a Python release long before it comes.
        [sys.executable, "-W", "ignore::FutureWarning", "-c", WATCH + script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_import_opens_no_connection_and_writes_no_file(tmp_path: Path) -> None:
    status, output = imported(IMPORT_ALL, tmp_path)
    assert (status, output) == (0, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "effect",
    [
        "open('x', 'w')",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import subprocess; subprocess.run(['true'])",
        "import sqlite3; sqlite3.connect('x')",
        "import os; os.mkdir('x')",
    ],
)
def test_an_effect_would_be_seen(effect: str, tmp_path: Path) -> None:
    assert imported(effect, tmp_path)[0] == 3
