"""The AV1 pipeline: programs at this level, their parts in the folders."""
