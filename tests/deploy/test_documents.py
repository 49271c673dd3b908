"""What README, docs and the examples say of a deployment, where the files themselves can tell."""

import re
import subprocess
from fnmatch import fnmatch

import hcl2
import pytest

import main
from tests.deploy.conftest import ROOT, SECRETS, SECRETS_FLAGS, Project
from tests.deploy.test_one_source_of_names import blocks

README = (ROOT / "README.md").read_text()
DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text()
OPERATION = (ROOT / "docs" / "operation.md").read_text()
PAGES = {"README.md": README, "deployment.md": DEPLOYMENT, "operation.md": OPERATION}


def test_readme_names_every_call_and_no_other() -> None:
    said = re.findall(r"^\| `([A-Z]+) (/\w*)` \|", README, re.MULTILINE)
    served = [(method, path) for path, methods in main.ROUTES.items() for method in methods]
    assert sorted(said) == sorted(call for call in served if call[0] != "HEAD")


def test_readme_says_where_every_module_is() -> None:
    (map_of_modules,) = re.findall(r"### Where what is\n\n```\n(.*?)```", README, re.DOTALL)
    said = set(re.findall(r"\b(\w+\.py)\b", map_of_modules))
    assert said == {"main.py", *(module.name for module in (ROOT / "cluster25").glob("[a-z]*.py"))}


@pytest.mark.parametrize("page", PAGES)
def test_every_deployment_names_its_project(page: str) -> None:
    deployments = re.findall(r"""\./deploy\.sh ["-][^`\n]*""", PAGES[page])
    assert deployments
    for command in deployments:
        assert "--project=" in command or '"${FLAGS[@]}"' in command


@pytest.mark.parametrize("page", PAGES)
def test_a_container_is_always_built(page: str) -> None:
    started = re.findall(r"docker compose up [^\n`]*", PAGES[page])
    assert started
    assert all("--build" in command or "--scale worker" in command for command in started)


def test_every_flag_and_variable_is_explained() -> None:
    understood = re.findall(r"^ {6}(--[\w-]+)(?: \| -h)?\) ", (ROOT / "deploy.sh").read_text(), re.MULTILINE)
    flags = re.findall(r"^\| `(--[\w-]+)(?:=[A-Z]+)?` \| ", _table("flag"), re.MULTILINE)
    assert set(flags) == set(understood)
    variables = re.findall(r"^\| (`.*?`) \| ", _table("variable"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(variables))) == set(blocks("variable"))


def _table(heading: str) -> str:
    found = re.search(rf"^\| {heading} \| default \|.*?\n\n", DEPLOYMENT, re.MULTILINE | re.DOTALL)
    assert found
    return found[0]


@pytest.mark.slow
def test_settings_and_flags_of_the_guide_make_a_deployment(project: Project) -> None:
    """The block for deploy.env, sourced, and the command after it."""
    (guide,) = re.findall(r"^```bash\n(export .*?)^```", DEPLOYMENT, re.MULTILINE | re.DOTALL)
    (project.checkout / "deploy.env").write_text(guide)
    command = f'. ./deploy.env && ./deploy.sh "${{FLAGS[@]}}" --wait-seconds=0 {" ".join(SECRETS_FLAGS)}'
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=project.checkout,
        env={"PATH": f"{project.home}:/usr/bin:/bin"},
        input=SECRETS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "functions cluster25-connector" in project.state["made"]


@pytest.mark.parametrize("file", [".env", "deploy.env", "deploy-hashes.env"])
def test_settings_of_a_deployment_stay_out_of_git(file: str) -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert any(fnmatch(file, pattern) for pattern in ignored)


def test_filled_in_example_imports_every_type() -> None:
    example = hcl2.loads((ROOT / "terraform" / "terraform.tfvars.example").read_text())
    given = {name: value for name, value in example.items() if not name.startswith("__")}  # comments
    variables = blocks("variable")
    assert {name for name in variables if "default" not in variables[name]} <= set(given) <= set(variables)
    assert "CLUSTER25_INDICATOR_TYPES" not in given["settings"]
