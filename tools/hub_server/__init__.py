"""The embedded hub: a ModelScope-compatible server over plain folders."""
