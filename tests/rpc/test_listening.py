"""A port is closed to new connections while those that it has live on."""

from __future__ import annotations

import socket

import pytest

from broker.rpc.listening import stop_listening


def test_new_connections_are_refused_and_open_ones_live_on() -> None:
    """Whoever is connected still talks; whoever comes is refused; no other port notices."""
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as other:
        where, elsewhere = ours.getsockname(), other.getsockname()
        with socket.create_connection(where, 5) as near, ours.accept()[0] as far:
            assert stop_listening(where[1])
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(where, 5)
            near.sendall(b"still here")
            assert far.recv(64) == b"still here"
            with socket.create_connection(elsewhere, 5):
                pass


def test_a_port_on_which_nothing_listens_is_said_to_be_none() -> None:
    """Nothing to close, nothing closed: not even a connection from that port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), 5) as near:
            assert not stop_listening(near.getsockname()[1])
        assert stop_listening(server.getsockname()[1])
        assert not stop_listening(server.getsockname()[1])
