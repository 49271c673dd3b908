"""The runs as a chart: what to draw where, for the page's template."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cluster25.state.document import RunSummary

SLOT, BAR, HEIGHT = 16.0, 12.0, 160.0
"""Widths and the height of the drawing in its own units; it is stretched to the width of the page."""

FEWEST_SLOTS = 25
"""With fewer runs the chart fills from the right, so that bars do not become blocks."""


@dataclass(frozen=True)
class Bar:
    """One run. `top` and `height` are of its bar, which has none when nothing was pushed."""

    run: RunSummary
    left: float
    top: float
    height: float


@dataclass(frozen=True)
class Chart:
    """Bars from the oldest run to the newest, on a scale of powers of ten: imports and trickles both show."""

    bars: list[Bar]
    width: float
    steps: list[int]
    """What the scale's lines stand for, from the top to 0; they are equally far apart."""
    lines: list[float]


def chart_of(runs: Sequence[RunSummary]) -> Chart:
    """The chart of these runs, which come newest first."""
    most = max((run.pushed for run in runs), default=0)
    decades = max(1, math.ceil(math.log10(most))) if most > 1 else 1
    steps = [10**power for power in range(decades, -1, -1)] + [0]
    step = HEIGHT / (len(steps) - 1)
    slots = max(FEWEST_SLOTS, len(runs))
    bars = []
    for position, run in enumerate(runs):
        # 0 lies on the base line and 1 one step above it; from there on each step is a factor of ten.
        height = (math.log10(run.pushed) + 1) * step if run.pushed else 0.0
        left = (slots - 1 - position) * SLOT + (SLOT - BAR) / 2
        bars.append(Bar(run, left, HEIGHT - height, height))
    bars.reverse()
    return Chart(bars, slots * SLOT, steps, [number * step for number in range(len(steps))])
