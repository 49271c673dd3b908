"""Where one JSON value ends, told by brackets, quotes and backslashes alone, across any cut of the stream."""

import re

# Neither has to get far in one match: the steps below go on from any quote or backslash it stops at. The
# repetitions are bounded because `re` remembers a way back for each. (Possessive ones need no memory, but in
# Python 3.11 a possessive group that fails has moved all the same.)
_BETWEEN_BRACKETS = re.compile(rb'[^"\[\]{}]*(?:"[^"\\]*"[^"\[\]{}]*){0,500}')
_IN_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*){0,500}')
_SCALAR = re.compile(rb'[^ \t\r\n,:"\[\]{}]*')


class RawValue:
    """One value, read window by window. It need not be valid JSON: only its brackets and quotes must balance.

    Which bracket closes which is not looked at, and depth is a number: 10,000 levels cost no more than one.
    """

    def __init__(self, first: bytes, max_bytes: int) -> None:
        """`first` is the value's first byte, where `read` begins; at most `max_bytes` are kept."""
        self.complete = False
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._kept = bytearray()
        self._is_scalar = first not in b'"[{'
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def oversized(self) -> bool:
        """Whether it is larger than `max_bytes`."""
        return self.size_bytes > self._max_bytes

    @property
    def kept(self) -> bytes:
        """Its first `max_bytes`."""
        return bytes(self._kept)

    def read(self, window: bytes, position: int) -> int:
        """Take what belongs to the value from `position` on; returns the position behind it."""
        end = position
        if self._is_scalar:
            end = _end_of(_SCALAR, window, position)
            self.complete = end < len(window)
        while end < len(window) and not self.complete:
            end = self._through_string(window, end) if self._in_string else self._through_bracket(window, end)
        self.size_bytes += end - position
        self._kept += window[position : min(end, position + self._max_bytes - len(self._kept))]
        return end

    def _through_string(self, window: bytes, position: int) -> int:
        if self._escaped:
            self._escaped = False
            return position + 1
        position = _end_of(_IN_STRING, window, position)
        if position == len(window):
            return position
        self._in_string = self._escaped = window[position : position + 1] == b"\\"
        self.complete = not self._in_string and self._depth == 0
        return position + 1

    def _through_bracket(self, window: bytes, position: int) -> int:
        if self._depth:  # otherwise this is the value's first byte
            position = _end_of(_BETWEEN_BRACKETS, window, position)
            if position == len(window):
                return position
        byte = window[position : position + 1]
        if byte == b'"':
            self._in_string = True
        else:
            self._depth += 1 if byte in b"[{" else -1
            self.complete = self._depth == 0
        return position + 1


def _end_of(pattern: re.Pattern[bytes], window: bytes, position: int) -> int:
    """Where the match that starts at `position` ends; for patterns that match everywhere."""
    match = pattern.match(window, position)
    return match.end() if match else position
