"""The dashboard: pages over state files and history, read-only."""
