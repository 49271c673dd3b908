"""Many objects at once: from the start of one to the last border in reach, by one call of msgspec.

Some 30 times as fast as going from bracket to bracket, and with the same result or none.
"""

import re

import msgspec

_LEAST_REACH_BYTES = 4096

_BORDER = re.compile(rb'\}[ \t\r\n]{0,64},[ \t\r\n]{0,64}\{[ \t\r\n]{0,64}"[^"\\]{0,64}"')
_DECODER = msgspec.json.Decoder(list[msgspec.Raw])


class Borders:
    """What stands between two objects, learned from the feed: `},{"type"` or the like, blanks included.

    The reach halves with each failure and doubles with each success, so that a spoiled object costs only its
    neighbours their speed, and all failures together cost no more than was gained in between.
    """

    def __init__(self, max_reach_bytes: int) -> None:
        """No object found is larger than `max_reach_bytes`."""
        self._max_reach_bytes = max_reach_bytes
        self._reach_bytes = max_reach_bytes
        self._border = b""

    def learn(self, window: bytes, end: int) -> None:
        """An object is known to end at `end`: remember what follows it, if an object does."""
        if border := _BORDER.match(window, end - 1):
            self._border = border.group()

    def take(self, window: bytes, position: int) -> tuple[list[bytes], int]:
        """The objects from `position`, where one starts, to a border, and where the last of them ends.

        No objects: nothing was taken, and before the position returned it would be vain to try again.
        """
        while self._border:
            limit = min(len(window), position + self._reach_bytes)
            cut = window.rfind(self._border, position, limit) + 1
            objects = _decode(memoryview(window)[position:cut])
            if objects or not cut:
                self._reach_bytes = min(2 * self._reach_bytes, self._max_reach_bytes)
                return objects, cut or limit
            if limit - position <= _LEAST_REACH_BYTES:
                return [], cut
            self._reach_bytes = (limit - position) // 2
        return [], position


def _decode(elements: memoryview) -> list[bytes]:
    """The elements of a list, given without its brackets; none if these are not whole elements.

    That msgspec accepts them proves that they end at a border, although its bytes also occur inside strings
    and nested lists: cut inside a string, a quote would be missing; cut n levels deep, n brackets, and the
    one `]` added is taken up by the one `[`. Had the list ended before the cut, something would follow its
    end. Neither encoding nor the range of numbers is looked at: that is for whoever reads the object.
    """
    try:
        raws = _DECODER.decode(b"".join((b"[", elements, b"]")))
    except (msgspec.DecodeError, RecursionError):
        return []
    return [bytes(raw) for raw in raws]  # a Raw would keep the whole slice alive
