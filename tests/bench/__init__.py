"""Opt-in measurements."""
