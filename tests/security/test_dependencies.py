"""docs/dependencies.md tells of every package what it is for and its licence; each is pinned by hash."""

import ast
import re
from importlib.metadata import metadata, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
PINS = re.split(r"\n(?=[A-Za-z])", (ROOT / "requirements.txt").read_text(encoding="utf-8"))[1:]

ROWS: dict[str, tuple[str, str]] = {
    found[1]: (found[2], found[3])
    for found in re.finditer(r"^\| `([\w.-]+)` \| (.*) \| ([^|]+) \|$", PAGE, re.MULTILINE)
}
"""By package: what it is for, or what it comes with, and its licence."""

PERMISSIVE = {
    "AFL-2.1",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CNRI-Python",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
}
SERVERS = {"functions-framework"}
"""Needed, though no module of ours imports them."""


def name_of(requirement: str) -> str:
    return re.split(r"[\[=<>; ]", requirement, maxsplit=1)[0].lower()


def asked_for() -> set[str]:
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    return {name_of(line) for line in lines if line and not line.startswith("#")}


def brought_by(pin: str) -> set[str]:
    comments = re.findall(r"^ +# +(?:via +)?(\S.*)$", pin, re.MULTILINE)
    return {comment for comment in comments if comment not in {"via", "-r requirements.in"}}


def test_the_page_names_what_is_pinned_and_nothing_else() -> None:
    assert set(ROWS) == {name_of(pin) for pin in PINS}


@pytest.mark.parametrize("pin", PINS, ids=name_of)
def test_each_package(pin: str) -> None:
    name = name_of(pin)
    reason, licence = ROWS[name]
    assert re.match(r"\S+==\S+", pin)
    assert re.search(r"--hash=sha256:[0-9a-f]{64}", pin)
    assert name in asked_for() or set(re.findall(r"`([^`]+)`", reason)) == brought_by(pin)
    assert set(re.findall(r"[\w.-]+", licence)) - {"AND", "OR"} <= PERMISSIVE
    assert set(metadata(name).get_all("License-Expression") or [licence]) == {licence}


def test_nothing_is_asked_for_that_is_not_used() -> None:
    sources = [ROOT / "main.py", *(ROOT / "cluster25").rglob("*.py")]
    modules = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    distributions = packages_distributions()
    used = {package.lower() for module in modules for package in distributions.get(module.split(".")[0], [])}
    assert asked_for() - SERVERS <= used
