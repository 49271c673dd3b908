"""Terraform's own checks, on the oldest, a middle and the newest provider that versions.tf lets in.

The providers are not downloaded: an offline check serves their schemas to the real terraform. With a network,
`terraform init && terraform validate && terraform test` does the same without it.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT, program, shared_tool

pytestmark = pytest.mark.slow

TERRAFORM = ROOT / "terraform"
SCHEMAS = {
    "6.50.0": "google=pypi:cdktf-cdktf-provider-google==16.12.1",
    "7.41.0": "google=pypi:cdktn-provider-google==19.10.0",
    "8.7.0": "google=pypi:cdktn-provider-google==21.1.0",
}


def checked(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def cache(request: pytest.FixtureRequest) -> Path:
    """Schemas and environments are large; they are kept between test runs."""
    return request.config.cache.mkdir("terraform-checks")


def environment(cache: Path, *packages: str) -> Path:
    """The programs of an environment of its own: these packages and the connector's do not go together."""
    folder = cache / packages[0]
    if not (folder / "complete").exists():
        checked([sys.executable, "-m", "venv", "--clear", str(folder)])
        checked([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *packages])
        (folder / "complete").touch()
    return folder / "bin"


def offline_check(name: str, cache: Path) -> list[str]:
    """The command of one of the offline checks."""
    tool = shared_tool(name)
    python = environment(cache, "tf==1.2.0", "python-hcl2==8.1.4") / "python"
    return [str(python), str(tool), "--cache", str(cache)]


def test_files_are_formatted() -> None:
    assert (
        checked([program("terraform"), f"-chdir={TERRAFORM}", "fmt", "-check", "-recursive"]).count(".tf\n")
        == 0
    )


@pytest.mark.parametrize("version", SCHEMAS)
def test_module_is_valid_and_passes_its_own_tests(version: str, cache: Path) -> None:
    program("terraform")
    stub = [*offline_check("tf_stub.py", cache), "--source", SCHEMAS[version], str(TERRAFORM)]
    said = checked([*stub, "validate"])
    assert f"hashicorp/google {version}" in said
    assert "The configuration is valid" in said
    said = checked([*stub, "test"])
    counted = re.search(r"(\d+) passed, 0 failed", said)
    assert counted
    assert int(counted[1]) >= 20


@pytest.mark.parametrize("version", SCHEMAS)
def test_every_argument_exists(version: str, cache: Path) -> None:
    check = [*offline_check("tf_check.py", cache), "--source", SCHEMAS[version], str(TERRAFORM)]
    assert ": 0 problems" in checked(check)


def test_monitoring_can_be_applied_by_itself(cache: Path) -> None:
    """After deploy.sh, which brings no alerts: the submodule alone."""
    program("terraform")
    said = checked(
        [
            *offline_check("tf_stub.py", cache),
            str(TERRAFORM / "monitoring"),
            "plan",
            "-var",
            "project_id=my-project",
            "-var",
            'alert_emails=["soc@example.com"]',
        ]
    )
    assert "13 to add, 0 to change, 0 to destroy" in said


def test_checkov_finds_nothing(cache: Path) -> None:
    checkov = environment(cache, "checkov==3.3.30") / "checkov"
    for target in (["-d", str(TERRAFORM), "--framework", "terraform"], ["-f", str(ROOT / "Dockerfile")]):
        said = checked([str(checkov), *target, "--compact", "--quiet", "--skip-download"])
        assert "Failed checks: 0" in said


def test_every_exception_from_checkov_has_a_reason() -> None:
    exceptions = [
        line
        for file in [*TERRAFORM.rglob("*.tf"), ROOT / "Dockerfile"]
        for line in file.read_text().splitlines()
        if "checkov:skip" in line
    ]
    assert all(re.search(r"checkov:skip=CKV\w+:\S.{20,}", line) for line in exceptions)


def test_nobody_is_let_in_and_no_key_is_made() -> None:
    for file in [ROOT / "deploy.sh", *TERRAFORM.rglob("*.tf")]:
        text = file.read_text()
        assert not re.search(r"allUsers|allAuthenticatedUsers|roles/(owner|editor|viewer)\"", text), file
        assert not re.search(r"service_account_key|service-accounts keys|compute@developer", text), file
        assert "secret_data" not in text, f"{file}: a secret's value would stay in Terraform's state"
