"""The hub's client: its protocol, listing, retries, and the implementation over the SDK."""
