"""Cluster25 threat intelligence into OpenCTI: one stateless run at a time."""

__version__ = "1.0.0"
