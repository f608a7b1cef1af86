"""The web's socket answers both families, and a socket handed down is the one that is used."""

from __future__ import annotations

import socket

import pytest

from app import sockets


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_unspecified_ipv6_address_answers_both_families(address: str) -> None:
    with sockets.listen("::", 0) as listener, socket.create_connection((address, listener.getsockname()[1]), 5):
        assert not listener.getblocking()


def test_an_inherited_socket_is_used_instead_of_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        monkeypatch.setenv(sockets.VARIABLE, str(given.fileno()))
        with sockets.listen("0.0.0.0", 1) as listener:
            assert listener.getsockname() == given.getsockname()


def test_a_taken_address_is_an_error() -> None:
    with sockets.listen("127.0.0.1", 0) as first, pytest.raises(OSError, match="in use"):
        sockets.listen("127.0.0.1", first.getsockname()[1])
