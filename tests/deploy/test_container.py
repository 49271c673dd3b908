"""Dockerfile and docker-compose.yml, as far as they can be judged without a Docker engine."""

import json
import re
from typing import Any

import pytest
import yaml

from cluster25.settings import Settings
from tests.deploy.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
NOT_FOR_A_CONTAINER = {
    "STATE_STORE",
    "STATE_SQLITE_PATH",
    "FIRESTORE_PROJECT",
    "FIRESTORE_DATABASE",
    "FIRESTORE_COLLECTION",
}
"""The image keeps its state in SQLite, on its volume."""


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    connector: dict[str, Any] = services["connector-cluster25"]
    return connector


def final_stage() -> str:
    return DOCKERFILE.rsplit("\nFROM ", 1)[1]


def test_image_runs_as_nobody_in_particular() -> None:
    (user,) = re.findall(r"^USER (\S+)$", final_stage(), re.MULTILINE)
    assert int(user) > 0  # a number: Kubernetes can check runAsNonRoot only then


def test_image_holds_nothing_but_what_runs() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE)
    let_through = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(copied) == set(let_through) == {"main.py", "requirements.txt", "cluster25"}


def test_image_installs_what_was_locked() -> None:
    assert re.search(r"pip install .*--require-hashes .*-r requirements\.txt", DOCKERFILE)


def test_image_serves_the_function_that_main_has() -> None:
    (command,) = re.findall(r"^CMD (\[.*\])$", final_stage(), re.MULTILINE)
    target = re.search(r"--target=(\w+)", json.loads(command)[-1])
    assert target
    assert re.search(rf"^def {target[1]}\(", (ROOT / "main.py").read_text(), re.MULTILINE)


def test_compose_builds_its_image_and_never_pulls_one(service: dict[str, Any]) -> None:
    assert service["build"] == "."
    assert service["pull_policy"] == "build"
    assert "/" not in service["image"]  # nobody publishes a name without an owner


def test_state_is_on_the_volume_of_image_and_compose(service: dict[str, Any]) -> None:
    (volume,) = re.findall(r"^VOLUME (\S+)$", final_stage(), re.MULTILINE)
    assert f"STATE_SQLITE_PATH={volume}/" in final_stage()
    assert service["volumes"] == [f"state:{volume}"]


def test_container_can_write_nothing_but_its_state(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "user" not in service  # the image's own


def test_compose_has_every_setting_with_the_connectors_default(service: dict[str, Any]) -> None:
    given = {name: value for name, _, value in (line.partition("=") for line in service["environment"])}
    fields = {name.upper(): field for name, field in Settings.model_fields.items()}
    assert set(given) == set(fields) - NOT_FOR_A_CONTAINER
    for name, value in given.items():
        if default := re.fullmatch(r"\$\{\w+:-(.*)\}", value):
            wanted = fields[name].default
            wanted = set(wanted) if isinstance(wanted, tuple | list | frozenset | set) else str(wanted)
            assert (set(default[1].split(",")) if isinstance(wanted, set) else default[1]) == wanted
        elif value:
            assert re.fullmatch(rf"\$\{{{name}:\?.+\}}", value), (
                f"{name} has neither a default nor a reason to be needed"
            )
            assert fields[name].is_required()
