"""Sockets of this product's servers."""

import socket

from tools.runtime.listening import listen


def test_what_is_accepted_sends_each_piece_at_once() -> None:
    with (
        listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
