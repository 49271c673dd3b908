"""A checkout with the real deploy.sh, and a project in a stand-in Google Cloud to deploy it to."""

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT.parent / "shared" / "tools"
SETTINGS = {
    "OPENCTI_URL": "https://opencti.example.com",
    "CONNECTOR_ID": "0b1e6a36-5a4f-4c29-9d0a-6c1f6e0f3a11",
    "CLUSTER25_CLIENT_ID": "client-1",
}
SECRETS = "c25-s3cret $with \"odd' chars\nopencti-t0ken\n"
SECRETS_FLAGS = ("--cluster25-secret-stdin", "--opencti-token-stdin")


def program(name: str) -> str:
    """The path of a program; without it the test is skipped, but under CI it must be there."""
    path = shutil.which(name)
    if path is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    return path


def shared_tool(name: str) -> Path:
    """One of the offline checks beside the checkout."""
    path = TOOLS / name
    if not path.is_file():
        pytest.skip(f"the offline check {name} is not beside this checkout")
    return path


@dataclass
class Project:
    """What deploy.sh sees as Google Cloud, and what it did there."""

    home: Path
    checkout: Path

    def deploy(self, *flags: str, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        """Runs deploy.sh with the needed settings; an empty setting is taken out."""
        self.calls_file.write_text("")
        inherited = {"HOME": os.environ.get("HOME", "/"), "PATH": f"{self.home}:{os.environ['PATH']}"}
        env = {key: value for key, value in {**inherited, **SETTINGS, **settings}.items() if value}
        return subprocess.run(
            ["bash", str(self.checkout / "deploy.sh"), "--project=my-project", "--wait-seconds=0", *flags],
            input=stdin,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def calls_file(self) -> Path:
        return self.home / "calls.jsonl"

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of every gcloud command of the last deployment."""
        return [json.loads(line)["args"] for line in self.calls_file.read_text().splitlines()]

    @property
    def commands(self) -> list[str]:
        return [" ".join(args) for args in self.calls]

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.home / "state.json").read_text())
        return state

    def first_run(self, line: str) -> None:
        """The log line that the first run will have left: outcome|pushed|rejected|lag|message."""
        (self.home / "state.json").write_text(json.dumps({**self.state, "first_run": line}))

    def deny(self, command: str) -> None:
        (self.home / "denied").write_text(command)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    checkout, home = tmp_path / "checkout", tmp_path / "bin"
    (checkout / "terraform").mkdir(parents=True)
    (checkout / "cluster25").mkdir()
    home.mkdir()
    shutil.copy(ROOT / "deploy.sh", checkout)
    shutil.copy(ROOT / "terraform" / "image-cleanup.json", checkout / "terraform")
    for file in ("main.py", "requirements.txt", "cluster25/sync.py"):
        (checkout / file).write_text("# source\n")
    gcloud = home / "gcloud"
    double = (ROOT / "tests" / "deploy" / "gcloud_double.py").read_text()
    gcloud.write_text(f"#!{sys.executable} -IS\n{double}")
    gcloud.chmod(gcloud.stat().st_mode | stat.S_IXUSR)
    (home / "state.json").write_text(
        json.dumps({"made": {}, "secrets": {}, "ttl": False, "first_run": "ok|120|0|35|imported"})
    )
    return Project(home, checkout)


@pytest.fixture
def deployed(project: Project) -> Project:
    """A project after its first deployment."""
    done = project.deploy(*SECRETS_FLAGS, stdin=SECRETS)
    assert done.returncode == 0, done.stderr
    return project
