"""The ways of an import that are compared, each run as a process of its own."""
