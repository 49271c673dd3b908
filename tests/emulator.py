"""Google's Firestore emulator, as a process of its own for a test session."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

START_SECONDS = 60.0


class EmulatorMissingError(Exception):
    """This machine lacks a program that the emulator needs, or it did not start."""


@contextmanager
def running_emulator() -> Iterator[str]:
    """The emulator's `host:port`, until the block ends. Raises EmulatorMissingError."""
    missing = [program for program in ("gcloud", "java") if shutil.which(program) is None]
    if missing:
        raise EmulatorMissingError(f"The Firestore emulator needs {' and '.join(missing)}.")
    address = f"127.0.0.1:{_free_port()}"
    process = subprocess.Popen(
        ["gcloud", "emulators", "firestore", "start", f"--host-port={address}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
        # gcloud starts java through a shell: only a group of their own lets all of them be ended.
        start_new_session=True,
    )
    try:
        _wait_until_it_answers(address, process)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(address: str, process: "subprocess.Popen[bytes]") -> None:
    host, port = address.split(":")
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            with socket.create_connection((host, int(port)), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise EmulatorMissingError(
        f"`gcloud emulators firestore start` did not answer within {START_SECONDS:.0f} s; is the component "
        "cloud-firestore-emulator installed?"
    )
