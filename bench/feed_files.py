"""The feeds to import, each made once and kept as a file: making one costs more than importing it."""

from datetime import UTC, datetime
from pathlib import Path

from local.feed import Feed

FOLDER = Path(__file__).parent / ".feeds"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def feed_file(size: int) -> Path:
    """A bundle of `size` indicators of the demo's feed, about 1.08 kB each."""
    path = FOLDER / f"{size}.json"
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            file.writelines(Feed(size=size, now=NOW).encoded())
        unfinished.rename(path)
    return path
