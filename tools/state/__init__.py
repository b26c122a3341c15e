"""Shared files: JSON under a lock, the queue, the monitor's memory, journals, progress."""
