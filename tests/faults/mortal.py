"""Ways to die: a fuse that burns with every call of a store or a sink, and acts when it is burnt down."""

import threading
from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """In place of SIGKILL, for runs in this process: nobody catches it, nothing is done after it."""


def die() -> None:
    """What a fuse does to end a run."""
    raise Killed


class Fuse:
    """Burns twice for each call: before it, and when it is done but nobody knows yet.

    It acts at the tick of that number; with `lasting`, and when it kills, also at every later one: the dead
    do nothing more, in whatever thread. `only` names the one method that counts.
    """

    def __init__(
        self, ticks: int, act: Callable[[], None] = die, *, only: str | None = None, lasting: bool = False
    ) -> None:
        self._left = ticks
        self._act = act
        self._only = only
        self._lasting = lasting or act is die
        self._lock = threading.Lock()

    def burn(self, method: str) -> None:
        """One tick."""
        if self._only not in {None, method}:
            return
        with self._lock:
            self._left -= 1
            due = self._left == 0 or (self._left < 0 and self._lasting)
        if due:
            self._act()


class Mortal:
    """A store or a sink whose every call burns a fuse."""

    def __init__(self, target: object, fuse: Fuse) -> None:
        self._target = target
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            self._fuse.burn(name)
            result = attribute(*arguments, **options)
            self._fuse.burn(name)
            return result

        return call
