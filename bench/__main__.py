"""`make bench`: measures, prints the table, and writes README.md and the plot beside this file.

About five minutes; with BENCH=full in the environment a million indicators more, and half an hour.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bench.cold_start import start_cold
from bench.measuring import FIRESTORE, FLOOR, SQLITE, USUAL, Peers, Sample, measure, running_peers
from bench.memory_limit import memory_limit
from bench.report import Limited, readme
from tests.emulator import EmulatorMissingError, running_emulator

HERE = Path(__file__).parent
ROUNDS = {1_000: 5, 10_000: 5, 100_000: 3, 500_000: 3}
FULL_ROUNDS = {**ROUNDS, 1_000_000: 3}
USUAL_UP_TO = 100_000
USUAL_UP_TO_IN_FULL = 500_000
COLD_STARTS = 5
LIMIT_BYTES = 256 * 1024 * 1024


def main() -> None:
    """Measure everything."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # in good order: the peers must end, too
    is_full = os.environ.get("BENCH") == "full"
    rounds, usual_up_to = (FULL_ROUNDS, USUAL_UP_TO_IN_FULL) if is_full else (ROUNDS, USUAL_UP_TO)
    with _emulator() as emulator, running_peers(emulator) as peers:
        stores = [SQLITE, FIRESTORE] if emulator else [SQLITE]
        samples: list[Sample] = []
        for size, repetitions in rounds.items():
            ways = [FLOOR, *stores, *([USUAL] if size <= usual_up_to else [])]
            for _ in range(repetitions):
                samples += [_told(measure(way, size, peers)) for way in ways]
        starts = [
            start_cold(store, path, peers)
            for _ in range(COLD_STARTS)
            for store in stores
            for path in ("/heartbeat", "/")
        ]
        limited = _import_under_limit(max(rounds), peers)
    text = readme(samples, starts, limited)
    (HERE / "README.md").write_text(text)
    print(text)
    _plot(samples)


def _told(sample: Sample) -> Sample:
    disturbed = ", disturbed" if sample.disturbed else ""
    line = f"{sample.way:10}{sample.size:>10,}{sample.wall_seconds:8.2f} s{disturbed}"
    print(line, file=sys.stderr, flush=True)
    return sample


@contextmanager
def _emulator() -> Iterator[str | None]:
    try:
        with running_emulator() as address:
            yield address
    except EmulatorMissingError as error:
        print(f"Without Firestore: {error}", file=sys.stderr)
        yield None


def _import_under_limit(size: int, peers: Peers) -> Limited | None:
    with memory_limit(LIMIT_BYTES) as limit:
        if limit is None:
            return None
        sample = measure(SQLITE, size, peers, limit)
        return Limited(sample, limit.limit_bytes, limit.most_used_bytes())


def _plot(samples: list[Sample]) -> None:
    # The plotting library lives in an environment of its own: nothing else here needs it.
    plotter = os.environ.get("BENCH_PLOTTER", sys.executable)
    points = json.dumps([asdict(sample) for sample in samples])
    subprocess.run([plotter, HERE / "plot.py", HERE / "plot.png"], input=points, text=True, check=True)


if __name__ == "__main__":
    main()
