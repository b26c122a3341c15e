"""Pure decisions: no clock, disk, network or log."""
