"""What was measured, as a page for people."""

import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path

from bench.cold_start import ColdStart
from bench.measuring import FIRESTORE, FLOOR, SQLITE, USUAL, Sample

NAMES = {
    FLOOR: "floor: only copied",
    SQLITE: "**connector**, SQLite",
    FIRESTORE: "**connector**, Firestore",
    USUAL: "usual connector",
}

INTRODUCTION = """\
# Benchmark

`make bench` writes this page. A source serves a file of indicators of 1.08 kB each, a sink reads and forgets,
each in a process of its own; between them, one after the other and each time in a fresh process:

- **floor**: the body streamed, escaped, and pushed in one request; nothing is looked at
- **connector**: a first import by this connector under functions-framework, with the state in SQLite or in
  Google's Firestore emulator, whose own work is not counted
- **usual connector**: the whole body parsed, split by pycti, the original pushed through pycti

CPU and memory are those of the importing process; *transfer* is its CPU time after the imports. Figures are
medians, and ratios medians of the ratios within each round. \\* marks where others used more than 0.15 cores
during most rounds: wall times are too long there, CPU times less so.
"""


@dataclass(frozen=True)
class Limited:
    """An import under a limit on memory, and the most that was used, cached files included, where known."""

    sample: Sample
    limit_bytes: int
    most_used_bytes: int | None


def readme(samples: Sequence[Sample], starts: Sequence[ColdStart], limited: Limited | None) -> str:
    """The whole page, in Markdown."""
    machine = f"{_processor()}, {cpu_count()} cores, {platform.system()} {platform.release()}"
    measured = f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine}, Python {platform.python_version()}."
    return "\n".join(
        [
            INTRODUCTION,
            f"{measured}\n\n![Time and memory over size](plot.png)\n\n## Imports\n",
            *_table(_IMPORT_HEADINGS, _import_rows(samples)),
            "\n## Cold start\n",
            "From the start of the process to its first answer, in seconds, against a process that imports",
            "the same modules and ends. `/` is a first run of an empty export, `/heartbeat` a heartbeat.\n",
            *_table(_START_HEADINGS, _start_rows(starts)),
            "\n## Under a limit\n",
            _limit_sentence(limited),
            "",
        ]
    )


_IMPORT_HEADINGS = (
    "indicators",
    "way",
    "wall s",
    "CPU s",
    "transfer s",
    "objects/s",
    "peak MB",
    "over imports MB",
    "requests",
    "MB sent",
    "largest MB",
    "transfer / floor",
    "usual CPU / this",
)
_START_HEADINGS = ("store", "request", "wall", "imports", "ratio", "CPU", "imports", "ratio")


def _import_rows(samples: Sequence[Sample]) -> list[list[str]]:
    sizes = sorted({sample.size for sample in samples})
    return [
        _import_row(samples, size, way)
        for size in sizes
        for way in NAMES
        if any((sample.size, sample.way) == (size, way) for sample in samples)
    ]


def _import_row(samples: Sequence[Sample], size: int, way: str) -> list[str]:
    these = _of(samples, size, way)

    def median(value: Callable[[Sample], float]) -> float:
        return statistics.median(map(value, these))

    disturbed = sum(sample.disturbed for sample in these) * 2 > len(these)
    over_imports_bytes = median(lambda sample: sample.peak_rss_bytes - sample.imports_rss_bytes)
    return [
        f"{size:,}",
        NAMES[way] + (" \\*" if disturbed else ""),
        f"{median(lambda sample: sample.wall_seconds):.2f}",
        f"{median(lambda sample: sample.cpu_seconds):.2f}",
        f"{median(lambda sample: sample.transfer_cpu_seconds):.3f}",
        f"{median(lambda sample: size / sample.wall_seconds):,.0f}",
        f"{median(lambda sample: sample.peak_rss_bytes) / 1e6:.1f}",
        f"{over_imports_bytes / 1e6:.1f}",
        f"{median(lambda sample: sample.requests):.0f}",
        f"{median(lambda sample: sample.sent_bytes) / 1e6:.1f}",
        f"{median(lambda sample: sample.largest_body_bytes) / 1e6:.1f}",
        _ratio(these, _of(samples, size, FLOOR), lambda sample: sample.transfer_cpu_seconds),
        _ratio(_of(samples, size, USUAL), these, lambda sample: sample.cpu_seconds),
    ]


def _of(samples: Iterable[Sample], size: int, way: str) -> list[Sample]:
    return [sample for sample in samples if (sample.size, sample.way) == (size, way)]


def _ratio(above: Sequence[Sample], below: Sequence[Sample], value: Callable[[Sample], float]) -> str:
    """The median of the rounds' ratios; nothing where one of the two was not measured."""
    ratios = [value(one) / value(other) for one, other in zip(above, below, strict=False)]
    return f"{statistics.median(ratios):.1f}" if ratios else ""


def _start_rows(starts: Sequence[ColdStart]) -> list[list[str]]:
    rows = []
    for store, path in dict.fromkeys((start.store, start.path) for start in starts):
        these = [start for start in starts if (start.store, start.path) == (store, path)]
        wall = statistics.median(start.wall_seconds for start in these)
        imports_wall = statistics.median(start.imports_wall_seconds for start in these)
        wall_ratio = statistics.median(start.wall_seconds / start.imports_wall_seconds for start in these)
        cpu = statistics.median(start.cpu_seconds for start in these)
        imports_cpu = statistics.median(start.imports_cpu_seconds for start in these)
        cpu_ratio = statistics.median(start.cpu_seconds / start.imports_cpu_seconds for start in these)
        figures = (wall, imports_wall, wall_ratio, cpu, imports_cpu, cpu_ratio)
        rows.append([store, f"`POST {path}`", *(f"{figure:.2f}" for figure in figures)])
    return rows


def _limit_sentence(limited: Limited | None) -> str:
    if limited is None:
        return "This machine let no control group be made, so no limit on memory was tried."
    sample = limited.sample
    most = (
        f", with its cached files {limited.most_used_bytes / 1e6:.0f} MB" if limited.most_used_bytes else ""
    )
    return (
        f"{sample.size:,} indicators (SQLite) in a control group of the kernel's with at most "
        f"{limited.limit_bytes / 2**20:.0f} MiB, beyond which it kills: imported in "
        f"{sample.wall_seconds:.0f} s. The process used {sample.peak_rss_bytes / 1e6:.0f} MB at most{most}."
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---:" if heading not in {"way", "store", "request"} else "---" for heading in headings]
    return [f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows)]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown processor"
    )
