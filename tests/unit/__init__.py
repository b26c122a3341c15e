"""Decisions and small parts, no hub and no encoder."""
