"""The source as Google Cloud gets it: installed with its hashes, started, and called."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import ROOT, SETTINGS, program

pytestmark = pytest.mark.slow


def uploaded(folder: Path = ROOT) -> list[str]:
    """The files that gcloud would upload; without gcloud, those that it is known to upload."""
    if shutil.which("gcloud") is None:
        return ["main.py", "requirements.txt", *package_files()]
    listed = subprocess.run(
        ["gcloud", "meta", "list-files-for-upload", str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
    )
    return listed.stdout.split()


def package_files() -> list[str]:
    """All of the package but byte code."""
    files = (file for file in (ROOT / "cluster25").rglob("*") if file.is_file() and file.suffix != ".pyc")
    return [str(file.relative_to(ROOT)) for file in files]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that are uploaded, and nothing else."""
    folder = tmp_path_factory.mktemp("source")
    for file in uploaded():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """The programs of an empty environment with what requirements.txt names."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "-q",
        "--require-hashes",
        "-r",
        "requirements.txt",
    ]
    done = subprocess.run(pip, cwd=source, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@contextmanager
def function(source: Path, installed: Path, **settings: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The function under functions-framework, as Google Cloud starts it, with these settings alone."""
    port = free_port()
    env = {"PATH": f"{installed}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1", **settings}
    command = [str(installed / "functions-framework"), "--target=cluster25_connector", f"--port={port}"]
    process = subprocess.Popen(
        command, cwd=source, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def get(url: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a GET; waits up to 30 s for the server to be there."""
    for _ in range(150):
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers={"Accept": "application/json"})
            ) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except urllib.error.URLError:
            time.sleep(0.2)
    raise AssertionError("the function did not start")


def test_only_what_runs_is_shipped() -> None:
    program("gcloud")
    assert sorted(uploaded()) == sorted(["main.py", "requirements.txt", *package_files()])


def test_certificates_put_into_the_package_are_shipped_but_no_settings(tmp_path: Path) -> None:
    """As the runbook says for a private authority; deploy.env is of the person who deploys."""
    program("gcloud")
    (tmp_path / "cluster25").mkdir()
    shutil.copy(ROOT / ".gcloudignore", tmp_path)
    for file in ("main.py", "cluster25/ca.pem", "deploy.env", ".env", "config.yml"):
        (tmp_path / file).write_text("")
    assert sorted(uploaded(tmp_path)) == ["cluster25/ca.pem", "main.py"]


def test_every_module_imports_without_the_rest_of_the_repository(source: Path, installed: Path) -> None:
    script = (
        "import pkgutil, importlib, cluster25\n"
        "for m in pkgutil.walk_packages(cluster25.__path__, 'cluster25.'):\n"
        "    m.name.endswith('__main__') or importlib.import_module(m.name)\n"
    )
    done = subprocess.run(
        [str(installed / "python"), "-c", script], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_shipped_function_without_settings_says_which_are_missing(source: Path, installed: Path) -> None:
    with function(source, installed) as (url, _):
        status, answer = get(url)
    assert status == 500
    assert answer["error"]["side"] == "configuration"
    for name in (
        "OPENCTI_URL",
        "OPENCTI_TOKEN",
        "CONNECTOR_ID",
        "CLUSTER25_CLIENT_ID",
        "CLUSTER25_CLIENT_SECRET",
    ):
        assert name in answer["error"]["what"]


def test_shipped_function_answers_and_ends_when_told(source: Path, installed: Path, tmp_path: Path) -> None:
    settings = {
        **SETTINGS,
        "OPENCTI_TOKEN": "t0ken",
        "CLUSTER25_CLIENT_SECRET": "s3cret",
        "STATE_SQLITE_PATH": str(tmp_path / "state.db"),
    }
    with function(source, installed, **settings) as (url, process):
        status, answer = get(url)
        assert status == 200
        assert answer["watermark"] is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
