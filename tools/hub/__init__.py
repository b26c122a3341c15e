"""The dataset hub: one protocol, the SDK behind it, and an embedded server."""
