"""The process around the work: clock and stop flag, logs, child processes."""
