"""What a process has used so far, and the report that a measured process ends with."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """Of this process since its start: CPU, user and system; memory now and at its peak."""

    wall_seconds: float
    cpu_seconds: float
    rss_bytes: int
    peak_rss_bytes: int

    @classmethod
    def now(cls) -> "Usage":
        """Read from the kernel's own books."""
        status = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
        )
        return cls(
            wall_seconds=time.monotonic(),
            cpu_seconds=time.process_time(),
            rss_bytes=_bytes(status["VmRSS"]),
            peak_rss_bytes=_bytes(status["VmHWM"]),
        )


def report(after_imports: Usage, imported: int) -> None:
    """Print, as JSON, what was used for the imports and at the end, and how many objects were moved."""
    usages = {"after_imports": asdict(after_imports), "at_end": asdict(Usage.now())}
    print(json.dumps({**usages, "objects": imported}))


def _bytes(kilobytes: str) -> int:
    return int(kilobytes.split(maxsplit=1)[0]) * 1024
