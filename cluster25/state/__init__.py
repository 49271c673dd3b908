"""The state store: one protocol, two stores, and the lease and checkpoint built on it."""
