"""One measured import: a fresh process for the way, between the two peers, the machine's load watched."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench.feed_files import FOLDER, feed_file
from bench.load import Watch
from bench.memory_limit import MemoryLimit

ROOT = Path(__file__).parents[1]
FLOOR, USUAL, SQLITE, FIRESTORE = "floor", "usual", "sqlite", "firestore"
DISTURBED_CORES = 0.15
"""Others using more of a core than this, on average over a run, disturb it."""


@dataclass(frozen=True)
class Sample:
    """One import of `size` indicators; CPU and memory are those of the importing process alone."""

    way: str
    size: int
    wall_seconds: float
    cpu_seconds: float
    transfer_cpu_seconds: float
    imports_rss_bytes: int
    peak_rss_bytes: int
    requests: int
    sent_bytes: int
    largest_body_bytes: int
    disturbed: bool


class Peers:
    """The source and the sink, as processes, and the emulator's address where there is one."""

    def __init__(self, source_port: int, sink_port: int, emulator: str | None) -> None:
        self._source_port = source_port
        self.sink_url = f"http://127.0.0.1:{sink_port}"
        self._emulator = emulator

    def source_url(self, size: int) -> str:
        """Where an export brings so many indicators."""
        return f"http://127.0.0.1:{self._source_port}/{size}"

    def settings(self, store: str, size: int, folder: Path) -> dict[str, str]:
        """The connector's environment for a first import, with a state nobody has used yet."""
        return {
            "OPENCTI_URL": self.sink_url,
            "OPENCTI_TOKEN": "bench",
            "CONNECTOR_ID": str(uuid4()),
            "CONNECTOR_LOG_LEVEL": "error",
            "CLUSTER25_BASE_URL": self.source_url(size),
            "CLUSTER25_CLIENT_ID": "bench",
            "CLUSTER25_CLIENT_SECRET": "bench-secret",
            "STATE_STORE": store,
            "STATE_SQLITE_PATH": str(folder / "state.db"),
            "FIRESTORE_PROJECT": "bench",
            "FIRESTORE_EMULATOR_HOST": self._emulator or "",
            "PYTHONPATH": str(ROOT),
            "PATH": os.environ["PATH"],
        }

    def counted(self) -> dict[str, int]:
        """What the sink received since this was last asked."""
        with urllib.request.urlopen(f"{self.sink_url}/counted", timeout=60) as answer:
            counted: dict[str, int] = json.load(answer)
        return counted


@contextmanager
def running_peers(emulator: str | None) -> Iterator[Peers]:
    """The peers, from here to the end of the block."""
    with _peer("source", str(FOLDER)) as source_port, _peer("sink") as sink_port:
        yield Peers(source_port, sink_port, emulator)


@contextmanager
def _peer(*arguments: str) -> Iterator[int]:
    command = [sys.executable, "-m", "bench.peers", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def measure(way: str, size: int, peers: Peers, limit: MemoryLimit | None = None) -> Sample:
    """Import so many indicators once. Raises `CalledProcessError` when that fails."""
    feed_file(size)
    with tempfile.TemporaryDirectory() as folder:
        if way in {FLOOR, USUAL}:
            command = [f"bench.ways.{way}", peers.source_url(size), peers.sink_url]
            environment: Mapping[str, str] = os.environ
        else:
            command = ["bench.ways.connector"]
            environment = peers.settings(way, size, Path(folder))
        peers.counted()
        watch = Watch()
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
            preexec_fn=limit.enter if limit else None,
        )
        disturbed = watch.cores_used_by_others() > DISTURBED_CORES
    usage = json.loads(done.stdout.splitlines()[-1])
    imports, end, counted = usage["after_imports"], usage["at_end"], peers.counted()
    return Sample(
        way=way,
        size=size,
        wall_seconds=end["wall_seconds"] - imports["wall_seconds"],
        cpu_seconds=end["cpu_seconds"],
        transfer_cpu_seconds=end["cpu_seconds"] - imports["cpu_seconds"],
        imports_rss_bytes=imports["rss_bytes"],
        peak_rss_bytes=end["peak_rss_bytes"],
        requests=counted["requests"],
        sent_bytes=counted["bytes"],
        largest_body_bytes=counted["largest_bytes"],
        disturbed=disturbed,
    )
