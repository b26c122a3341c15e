"""Sockets that this product's servers listen at."""

import socket


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket at ``host``, an address of this machine, ``port`` 0 for any free one. What it accepts
    sends each piece at once: asyncio sees to that only for sockets that name their protocol, which those of
    ``create_server`` don't, and then the body of an answer waits up to 40 ms for the peer's acknowledgement of its
    head (RFC 896 meets RFC 1122 §4.2.3.2). Raises OSError."""
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what is accepted
    return listening
