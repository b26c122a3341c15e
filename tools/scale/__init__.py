"""Where video jobs run."""
