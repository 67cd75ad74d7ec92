"""Probes: suites that measure prior abilities, their scores, paired statistics and verdicts."""
