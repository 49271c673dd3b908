"""Chromium, headless: what a page becomes in a real browser."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)
SECONDS = 60


@dataclass(frozen=True)
class Page:
    """A loaded document, and what the browser's console says about it."""

    document: str
    complaints: list[str]


@dataclass(frozen=True)
class Chromium:
    """The browser at that path. Each call starts it anew, with a profile of its own."""

    path: str

    def dump(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        """The document, after the page has loaded."""
        done = self._run(url, width, height, "--dump-dom", "--enable-logging=stderr", dark=dark)
        return Page(done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line])

    def screenshot(
        self, url: str, picture: Path, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> None:
        """A PNG of what a window of that size shows."""
        self._run(url, width, height, f"--screenshot={picture}", dark=dark)

    def _run(
        self, url: str, width: int, height: int, *options: str, dark: bool
    ) -> subprocess.CompletedProcess[str]:
        colours = ["--blink-settings=preferredColorScheme=0"] if dark else []
        with tempfile.TemporaryDirectory() as profile:
            window = [f"--user-data-dir={profile}", f"--window-size={width},{height}"]
            command = [self.path, *FLAGS, *window, *colours, *options, url]
            return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)


def find_chromium() -> Chromium:
    """The browser on this machine. Skips the test where there is none, but not in continuous integration."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        reason = "The page is tested in Chromium, which is not on the PATH."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return Chromium(path)
