"""Exports made to break the connector; see `make fuzz`."""
