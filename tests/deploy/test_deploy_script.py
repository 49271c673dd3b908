"""deploy.sh against a stand-in Google Cloud that remembers what was made."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import ROOT, SECRETS, SECRETS_FLAGS, Project, program, shared_tool

pytestmark = pytest.mark.slow

CHANGES = re.compile(r"(^| )(create|add|deploy|delete)( |$)")
"""Words of commands that make or remove something; bindings and updates may be repeated."""


def module(file: Path) -> Any:
    """A Python file that is in no package."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def changes(project: Project) -> list[str]:
    return [c for c in project.commands if CHANGES.search(c.split(" --")[0]) or "ttls update" in c]


def test_first_deployment_makes_everything_and_shows_the_first_run(deployed: Project) -> None:
    assert set(deployed.state["made"]) == {
        "artifacts repositories cluster25-images",
        "firestore databases cluster25-state",
        "functions cluster25-connector",
        "iam service-accounts cluster25-build",
        "iam service-accounts cluster25-runtime",
        "iam service-accounts cluster25-scheduler",
        "scheduler jobs cluster25-heartbeat",
        "scheduler jobs cluster25-run",
        "secrets cluster25-client-secret",
        "secrets cluster25-opencti-token",
    }
    assert deployed.state["ttl"]


def test_second_deployment_makes_nothing(deployed: Project) -> None:
    before = deployed.state
    done = deployed.deploy()
    assert done.returncode == 0, done.stderr
    assert changes(deployed) == []
    assert deployed.state == before
    assert "ok: pushed 120, rejected 0, lag 35 s" in done.stdout


def test_same_command_with_the_same_secrets_makes_nothing(deployed: Project) -> None:
    deployed.deploy(*SECRETS_FLAGS, stdin=SECRETS)
    assert changes(deployed) == []


def test_secrets_reach_secret_manager_and_nothing_else(project: Project) -> None:
    done = project.deploy(*SECRETS_FLAGS, stdin=SECRETS)
    client_secret, token = SECRETS.splitlines()
    assert project.state["secrets"] == {
        "cluster25-client-secret": [client_secret],
        "cluster25-opencti-token": [token],
    }
    for text in (done.stdout, done.stderr, *project.commands):
        assert client_secret not in text
        assert token not in text


def test_new_secret_is_a_new_version_and_is_deployed_by_its_number(deployed: Project) -> None:
    done = deployed.deploy("--opencti-token-stdin", stdin="rotated\n")
    assert done.returncode == 0, done.stderr
    assert deployed.state["secrets"]["cluster25-opencti-token"][-1] == "rotated"
    assert deployed.state["deployed"]["set-secrets"] == (
        "CLUSTER25_CLIENT_SECRET=cluster25-client-secret:1,OPENCTI_TOKEN=cluster25-opencti-token:2"
    )


@pytest.mark.parametrize("change", ["source", "setting", "ingress"])
def test_what_differs_is_deployed_again(deployed: Project, change: str) -> None:
    if change == "source":
        (deployed.checkout / "cluster25" / "sync.py").write_text("# changed\n")
    flags = ["--ingress=all"] if change == "ingress" else []
    settings = {"CLUSTER25_INDICATOR_TYPES": "ipv4,domain"} if change == "setting" else {}
    deployed.deploy(*flags, **settings)
    assert [c.split(" --")[0] for c in changes(deployed)] == ["functions deploy cluster25-connector"]


def test_function_is_private_and_has_every_setting(project: Project) -> None:
    project.deploy(
        *SECRETS_FLAGS, stdin=SECRETS, CLUSTER25_INDICATOR_TYPES="ipv4,domain", CONNECTOR_NAME="C25 feed"
    )
    flags = project.state["deployed"]
    assert "no-allow-unauthenticated" in flags
    assert flags["ingress-settings"] == "internal-only"
    assert flags["run-service-account"] == "cluster25-runtime@my-project.iam.gserviceaccount.com"
    delimiter, settings = flags["set-env-vars"][1:].split("^", 1)
    assert set(settings.split(delimiter)) >= {
        "STATE_STORE=firestore",
        "FIRESTORE_DATABASE=cluster25-state",
        "OPENCTI_URL=https://opencti.example.com",
        "CLUSTER25_INDICATOR_TYPES=ipv4,domain",
        "CONNECTOR_NAME=C25 feed",
        "CLUSTER25_LEASE_SEC=570",
    }


def test_jobs_call_the_run_app_address_with_its_own_audience(deployed: Project) -> None:
    deployed.deploy()
    jobs = {c[4]: c for c in deployed.calls if c[:4] == ["scheduler", "jobs", "update", "http"]}
    address = "https://cluster25-connector-x1-ew.a.run.app"
    assert f"--uri={address}/" in jobs["cluster25-run"]
    assert f"--uri={address}/heartbeat" in jobs["cluster25-heartbeat"]
    for job in jobs.values():
        assert f"--oidc-token-audience={address}" in job
        assert "--attempt-deadline=600s" in job


def test_roles_are_narrow(deployed: Project) -> None:
    binding = re.compile(
        r"^(\w+) .*add-iam-policy-binding .*--member=serviceAccount:cluster25-(\w+)@.* --role=(\S+)"
    )
    grants = {found.groups() for command in deployed.commands if (found := binding.match(command))}
    assert grants == {
        ("artifacts", "build", "roles/artifactregistry.writer"),
        ("projects", "build", "roles/logging.logWriter"),
        ("projects", "build", "roles/storage.objectViewer"),
        ("projects", "runtime", "roles/datastore.user"),
        ("secrets", "runtime", "roles/secretmanager.secretAccessor"),
        ("run", "scheduler", "roles/run.invoker"),
    }
    on_project = [c for c in deployed.commands if c.startswith("projects add")]
    assert [c for c in on_project if "--condition=None" in c] == [c for c in on_project if "logWriter" in c]


def test_destroy_leaves_data_and_secrets(deployed: Project) -> None:
    done = deployed.deploy("--destroy")
    assert done.returncode == 0, done.stderr
    assert set(deployed.state["made"]) == {
        "firestore databases cluster25-state",
        "secrets cluster25-client-secret",
        "secrets cluster25-opencti-token",
    }
    revoked = [c for c in deployed.commands if "remove-iam-policy-binding" in c]
    assert len(revoked) == 5  # a binding left behind would name an account that is gone
    assert deployed.deploy("--destroy").returncode == 0
    assert changes(deployed) == []


def test_dry_run_touches_nothing(project: Project) -> None:
    done = project.deploy("--dry-run", *SECRETS_FLAGS, stdin=SECRETS)
    assert done.returncode == 0, done.stderr
    assert project.calls == []
    printed = [line for line in done.stdout.splitlines() if line.startswith("gcloud ")]
    assert any(line.startswith("gcloud functions deploy cluster25-connector") for line in printed)
    assert not any(secret in done.stdout + done.stderr for secret in SECRETS.splitlines())
    # what is printed is what would be done
    project.deploy(*SECRETS_FLAGS, stdin=SECRETS)
    done_words = {c.split(" --")[0] for c in changes(project)}
    assert done_words == {
        " ".join(shlex.split(line)[1:]).split(" --")[0]
        for line in printed
        if CHANGES.search(line.split(" --")[0]) or "ttls update" in line
    }


@pytest.mark.parametrize(
    ("flags", "settings", "said"),
    [
        (["--project=My Project"], {}, "--project=ID is needed"),
        (["--region=europe-west1-b"], {}, "not a zone"),
        (["--name=x"], {}, "--name has 3 to 19"),
        (["--ingress=everyone"], {}, "--ingress is"),
        (["--destory"], {}, "unknown flag --destory"),
        ([], {"OPENCTI_URL": ""}, "OPENCTI_URL is not set"),
        ([], {"OPENCTI_URL": "http://opencti"}, "OPENCTI_URL must start with https://"),
        ([], {"CONNECTOR_ID": "ChangeMe"}, "CONNECTOR_ID must be a UUID"),
        ([], {"CONNECTOR_NAME": "a|b"}, "CONNECTOR_NAME must be one line"),
        ([], {"CLUSTER25_RUN_BUDGET_SEC": "510"}, "must be less than the function's 540 s"),
        ([], {"CLUSTER25_LEASE_SEC": "539"}, "CLUSTER25_LEASE_SEC must be at least"),
        ([], {"CLUSTER25_INTERVAL_SEC": "420"}, "divide an hour"),
        ([], {"CLUSTER25_INTERVAL_SEC": "soon"}, "is no number of seconds"),
        (["--opencti-token-stdin"], {}, "standard input has no such line"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    project: Project, flags: list[str], settings: dict[str, str], said: str
) -> None:
    done = project.deploy(*flags, **settings)
    assert done.returncode == 1
    assert said in done.stderr
    assert project.calls == []


def test_all_missing_settings_are_named_at_once(project: Project) -> None:
    done = project.deploy(OPENCTI_URL="", CLUSTER25_CLIENT_ID="")
    assert "OPENCTI_URL" in done.stderr
    assert "CLUSTER25_CLIENT_ID" in done.stderr


def test_secret_without_a_value_names_the_flag_that_brings_one(project: Project) -> None:
    done = project.deploy("--cluster25-secret-stdin", stdin="only this one")
    assert done.returncode == 1
    assert (
        "cluster25-opencti-token has no enabled version: give it a value with --opencti-token-stdin"
        in done.stderr
    )
    assert not any("functions deploy" in command for command in project.commands)


def test_being_refused_is_not_taken_for_not_being_there(project: Project) -> None:
    project.deny("firestore databases describe")
    done = project.deploy(*SECRETS_FLAGS, stdin=SECRETS)
    assert done.returncode == 1
    assert "PERMISSION_DENIED" in done.stderr
    assert not any("databases create" in command for command in project.commands)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("failed|0|0||Cluster25 refused the credentials", 1, "Cluster25 refused the credentials"),
        ("skipped|0|0|12|another run holds the lease", 0, "skipped"),
        ("", 0, "no result within 0 s"),
    ],
)
def test_result_of_the_first_run_is_told(project: Project, line: str, code: int, said: str) -> None:
    project.first_run(line)
    done = project.deploy(*SECRETS_FLAGS, stdin=SECRETS)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_every_command_passes_googles_own_linter(project: Project) -> None:
    program("gcloud")
    gcloud_trace = module(shared_tool("gcloud_trace.py"))
    calls = []
    for flags, stdin in ((SECRETS_FLAGS, SECRETS), ((), ""), (("--ingress=all",), ""), (("--destroy",), "")):
        assert project.deploy(*flags, stdin=stdin).returncode == 0
        calls += project.calls
    distinct = [list(call) for call in dict.fromkeys(map(tuple, calls))]
    verdicts = gcloud_trace.lint([gcloud_trace.lintable(call) for call in distinct])
    problems = [
        (" ".join(call), verdict) for call, verdict in zip(distinct, verdicts, strict=True) if verdict
    ]
    problems += [(" ".join(call), rule) for call in distinct for rule in gcloud_trace.own_rules(call)]
    assert problems == []


def test_shellcheck_finds_nothing() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")  # of requirements-dev.txt
    done = subprocess.run([shellcheck, ROOT / "deploy.sh"], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def test_help_names_every_flag() -> None:
    done = subprocess.run(
        ["bash", str(ROOT / "deploy.sh"), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    understood = set(
        re.findall(r"^      (--[a-z0-9-]+)(?: \| -h)?\)", (ROOT / "deploy.sh").read_text(), re.MULTILINE)
    )
    assert understood == set(re.findall(r"^  (--[a-z0-9-]+)", done.stdout, re.MULTILINE))
