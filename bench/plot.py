"""Time and memory over size, as a picture. Run on its own, with the samples as JSON on standard input.

python bench/plot.py FILE.png
"""

import json
import statistics
import sys
from collections import defaultdict

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

STYLES = {
    "floor": ("only copied", "#7f8c8d", "--"),
    "sqlite": ("connector, SQLite", "#1f77b4", "-"),
    "firestore": ("connector, Firestore", "#17becf", "-"),
    "usual": ("usual connector", "#d62728", "-"),
}


def main() -> None:
    """Draw the medians."""
    samples = json.load(sys.stdin)
    figure, (time_axes, memory_axes) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for way, (label, colour, line) in STYLES.items():
        for axes, key, unit in ((time_axes, "cpu_seconds", 1), (memory_axes, "peak_rss_bytes", 1e6)):
            by_size = defaultdict(list)
            for sample in samples:
                if sample["way"] == way:
                    by_size[sample["size"]].append(sample[key] / unit)
            sizes = sorted(by_size)
            medians = [statistics.median(by_size[size]) for size in sizes]
            axes.plot(sizes, medians, line, color=colour, label=label, marker="o", markersize=4)
    for axes, title in ((time_axes, "CPU of the process, seconds"), (memory_axes, "Peak memory, MB")):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel("indicators")
        axes.grid(visible=True, which="major", alpha=0.3)
    time_axes.legend()
    figure.savefig(sys.argv[1], dpi=110)


if __name__ == "__main__":
    main()
