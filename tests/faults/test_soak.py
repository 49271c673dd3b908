"""A week of operation in half a minute: a thousand runs, a fault in every third, and nothing is missing."""

import os
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.clock import SimulatedClock
from tests.faults.soak import INTERVAL_SECONDS, MAY_SEND_TWICE, Soak
from tests.faults.witness import Witness
from tests.faults.world import World, offered_by, received_by

SEED = int(os.environ.get("SOAK_SEED", "25"))
RUNS = 7 * 24 * 6
CHUNK_OBJECTS = 5


@pytest.mark.slow
def test_a_week(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setattr("cluster25.state.held.INLINE_LEDGER_BYTES", 240)  # so that there are pages
    clock = SimulatedClock(datetime.fromisoformat("2026-03-02T00:00:00Z"))
    with World(tmp_path, clock, cluster25_chunk_objects=CHUNK_OBJECTS) as world:
        witness = world.store = Witness(world)
        soak = Soak(world, random.Random(SEED))
        for day in range(6):
            world.arrive(40, late_seconds=day * 86_400)
        for _ in range(RUNS):
            soak.live()
            assert witness.problems == []
        clock.advance(INTERVAL_SECONDS)
        assert world.run().outcome in {"ok", "empty"}
        assert offered_by(world.feed) <= received_by(world.sink)
        assert received_by(world.sink) <= set(world.version_of.values())
        report = _report(soak, witness.sent_twice())
        record_property("soak", report)
        with capsys.disabled():
            print(report)
        ways_to_send_twice = sum(soak.faults[name] for name in MAY_SEND_TWICE)
        assert witness.sent_twice() <= ways_to_send_twice * CHUNK_OBJECTS


def _report(soak: Soak, sent_twice: int) -> str:
    lines = {
        "seed": SEED,
        "runs": soak.outcomes.total(),
        **{f"  {name}": number for name, number in soak.outcomes.most_common()},
        "faults": soak.faults.total(),
        **{f"  {name}": number for name, number in soak.faults.most_common()},
        "objects": len(received_by(soak.world.sink)),
        "sent twice": sent_twice,
        "longest lag": str(soak.longest_lag).split(".")[0],
    }
    return "\n" + "\n".join(f"{name:32}{value:>10}" for name, value in lines.items())
