"""Kills, torn files, a hub that misbehaves."""
