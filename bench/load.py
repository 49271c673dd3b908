"""What else the machine is doing while something is measured."""

import os
import resource
import time
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Watch:
    """Compares, from its making on, what all cores did with what this process and those below it did."""

    def __init__(self) -> None:
        self._started_at = time.monotonic()
        self._all_seconds = _all_cpu_seconds()
        self._own_seconds = own_cpu_seconds()

    def cores_used_by_others(self) -> float:
        """How many cores other processes, or other machines on this hardware, used on average."""
        others = _all_cpu_seconds() - self._all_seconds - (own_cpu_seconds() - self._own_seconds)
        return max(0.0, others) / (time.monotonic() - self._started_at)


def own_cpu_seconds() -> float:
    """Of this process and its descendants, those that have ended and were waited for included."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + cpu_seconds_of_tree(os.getpid())


def cpu_seconds_of_tree(root: int) -> float:
    """Of a process and its living descendants, with the ended ones that those have waited for."""
    fields = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
    family, ticks = {root}, 0
    for pid in sorted(fields):  # parents have lower numbers than what they start, unless numbers wrap around
        if pid == root or int(fields[pid][1]) in family:
            family.add(pid)
            own = slice(11, 13) if pid == os.getpid() else slice(11, 15)
            ticks += sum(map(int, fields[pid][own]))
    return ticks / _TICKS_PER_SECOND


def _all_cpu_seconds() -> float:
    """User, nice, system, interrupts and stolen time of all cores."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_SECOND
