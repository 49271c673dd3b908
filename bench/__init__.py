"""The benchmark: this connector against copying the bytes, and against the usual connector."""
