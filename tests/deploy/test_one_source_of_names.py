"""deploy.sh and Terraform make the same deployment: names, defaults, roles and settings are compared."""

import json
import re
from pathlib import Path
from typing import Any

import hcl2
import pytest

from cluster25.settings import Settings
from tests.deploy.conftest import ROOT, SECRETS, SECRETS_FLAGS, Project

pytestmark = pytest.mark.slow

SCRIPT = (ROOT / "deploy.sh").read_text()
SECRET_SETTINGS = {"CLUSTER25_CLIENT_SECRET", "OPENCTI_TOKEN"}
ONLY_ELSEWHERE = {"STATE_SQLITE_PATH"}
"""Settings that mean nothing to a function."""


def unquoted(value: Any) -> Any:
    """python-hcl2 leaves the quotes of strings (and of block labels) where they are."""
    if isinstance(value, dict):
        return {unquoted(key): unquoted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [unquoted(inner) for inner in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def blocks(kind: str) -> dict[str, Any]:
    """All `variable` blocks, or all values of `locals`, of the root module, by name."""
    found: dict[str, Any] = {}
    for file in sorted((ROOT / "terraform").glob("*.tf")):
        for block in unquoted(hcl2.loads(file.read_text())).get(kind, []):
            found |= block
    return found


def resources(kind: str) -> list[dict[str, Any]]:
    found = []
    for file in sorted((ROOT / "terraform").glob("*.tf")):
        for block in unquoted(hcl2.loads(file.read_text())).get("resource", []):
            found += list(block.get(kind, {}).values())
    return found


def shell_value(name: str) -> str:
    """What the script sets the variable to, with $NAME as Terraform writes it."""
    found = re.search(rf"""^\s*(?:readonly )?{name}=(?:"([^"]*)"|'([^']*)'|(\S+))""", SCRIPT, re.MULTILINE)
    assert found, f"deploy.sh sets no {name}"
    return next(v for v in found.groups() if v is not None).replace("$NAME", "${var.name}")


def shell_list(name: str) -> list[str]:
    found = re.search(rf"^readonly {name}=\(([^)]*)\)", SCRIPT, re.MULTILINE)
    assert found, f"deploy.sh has no list {name}"
    return found.group(1).split()


@pytest.mark.parametrize(
    ("shell", "variable"),
    [
        ("NAME", "name"),
        ("REGION", "region"),
        ("INGRESS", "ingress"),
        ("FUNCTION_TIMEOUT_SECONDS", "function_timeout_seconds"),
        ("ATTEMPT_DEADLINE_SECONDS", "attempt_deadline_seconds"),
    ],
)
def test_defaults_are_the_same(shell: str, variable: str) -> None:
    assert shell_value(shell) == str(blocks("variable")[variable]["default"])


@pytest.mark.parametrize(
    ("setting", "variable"),
    [
        ("CLUSTER25_INTERVAL_SEC", "interval_seconds"),
        ("CLUSTER25_RUN_BUDGET_SEC", "run_budget_seconds"),
        ("CLUSTER25_LEASE_SEC", "lease_seconds"),
    ],
)
def test_times_are_the_connectors_own_defaults(setting: str, variable: str) -> None:
    found = re.search(rf"\$\{{{setting}:=(\d+)\}}", SCRIPT)
    assert found
    assert int(found[1]) == blocks("variable")[variable]["default"]
    assert int(found[1]) == Settings.model_fields[setting.lower()].default


@pytest.mark.parametrize(
    ("shell", "local"),
    [
        ("FUNCTION", "function"),
        ("RUNTIME_ACCOUNT", "runtime_account"),
        ("SCHEDULER_ACCOUNT", "scheduler_account"),
        ("BUILD_ACCOUNT", "build_account"),
        ("REPOSITORY", "repository"),
        ("DATABASE", "database"),
        ("RUN_JOB", "run_job"),
        ("HEARTBEAT_JOB", "heartbeat_job"),
        ("ENTRY_POINT", "entry_point"),
        ("RUNTIME", "runtime"),
        ("MEMORY", "memory"),
        ("CPU", "cpu"),
        ("COLLECTION", "collection"),
        ("REJECTED_GROUP", "rejected_group"),
        ("REJECTED_TTL_FIELD", "rejected_ttl_field"),
        ("HEARTBEAT_SCHEDULE", "heartbeat_schedule"),
        ("RESERVE_SECONDS", "reserve_seconds"),
        ("RUN_RETRIES", "run_retries"),
        ("RUN_BACKOFF_SECONDS", "run_backoff_seconds"),
    ],
)
def test_names_are_the_same(shell: str, local: str) -> None:
    assert shell_value(shell) == str(blocks("locals")[local])


def test_secrets_have_the_same_names() -> None:
    assert blocks("locals")["secrets"] == {
        "CLUSTER25_CLIENT_SECRET": shell_value("CLIENT_SECRET"),
        "OPENCTI_TOKEN": shell_value("OPENCTI_TOKEN_SECRET"),
    }


def test_apis_are_the_same() -> None:
    assert [f"{api}.googleapis.com" for api in shell_list("APIS")] == blocks("locals")["apis"]


def test_images_are_kept_for_as_long() -> None:
    (repository,) = resources("google_artifact_registry_repository")
    keep, delete = json.loads((ROOT / "terraform" / "image-cleanup.json").read_text())
    policies = {policy["id"]: policy for policy in repository["cleanup_policies"]}
    assert set(policies) == {keep["name"], delete["name"]}
    assert keep["mostRecentVersions"]["keepCount"] == blocks("locals")["images_kept"]
    assert delete["condition"]["olderThan"] == "30d"
    assert policies["delete-old"]["condition"][0]["older_than"] == f"{30 * 24 * 3600}s"


def test_roles_are_the_same() -> None:
    in_terraform = sorted(
        grant["role"]
        for kind in (
            "google_project_iam_member",
            "google_secret_manager_secret_iam_member",
            "google_cloud_run_v2_service_iam_member",
            "google_artifact_registry_repository_iam_member",
        )
        for grant in resources(kind)
    )
    in_script = {m[1] for m in re.finditer(r"--role=(roles/[\w.]+)", SCRIPT)}
    assert set(in_terraform) == in_script
    assert not {"roles/owner", "roles/editor", "roles/viewer"} & in_script


def test_function_gets_the_same_environment(project: Project) -> None:
    optional = dict.fromkeys(shell_list("OPTIONAL_SETTINGS"), "x")
    assert project.deploy(*SECRETS_FLAGS, stdin=SECRETS, **optional).returncode == 0
    by_script = {pair.split("=", 1)[0] for pair in project.state["deployed"]["set-env-vars"][3:].split("|")}
    by_terraform = set(re.findall(r"^    ([A-Z][A-Z0-9_]+) +=", environment_of_terraform(), re.MULTILINE))
    assert by_script - set(optional) == by_terraform
    assert set(optional) == settings_that_terraform_lets_through()


def test_every_setting_of_the_connector_can_be_deployed() -> None:
    every = {name.upper() for name in Settings.model_fields} - ONLY_ELSEWHERE
    given = set(re.findall(r"^    ([A-Z][A-Z0-9_]+) +=", environment_of_terraform(), re.MULTILINE))
    assert every <= given | SECRET_SETTINGS | settings_that_terraform_lets_through()


def environment_of_terraform() -> str:
    text = (ROOT / "terraform" / "function.tf").read_text()
    return text[text.index("environment = merge(") : text.index("secret_versions = {")]


def settings_that_terraform_lets_through() -> set[str]:
    text = Path(ROOT / "terraform" / "variables.tf").read_text()
    listed = re.search(r"setsubtract\(keys\(var\.settings\), \[(.*?)\]", text, re.DOTALL)
    assert listed
    return set(re.findall(r'"([A-Z0-9_]+)"', listed[1]))
