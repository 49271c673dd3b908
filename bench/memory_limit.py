"""A real limit on memory: a control group of the kernel's, version 1 or 2, where this user may make one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryLimit:
    """A control group: the kernel kills a process in it when all together use more than `limit_bytes`."""

    folder: Path
    limit_bytes: int

    def enter(self) -> None:
        """Put the calling process into the group."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def most_used_bytes(self) -> int | None:
        """The most that was used at a time, cached files included; None where the kernel does not tell."""
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            if (self.folder / name).exists():
                return int((self.folder / name).read_text())
        return None


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[MemoryLimit | None]:
    """A group with that limit and no swap for the length of the block; None where none can be made."""
    versions = {_ROOT / "memory": "memory.limit_in_bytes", _ROOT: "memory.max"}
    for parent, name in versions.items():
        group = parent / f"bench-{os.getpid()}"
        try:
            group.mkdir()
            (group / name).write_text(str(limit_bytes))
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        try:
            yield MemoryLimit(group, limit_bytes)
        finally:
            group.rmdir()
        return
    yield None
