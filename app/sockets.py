"""The socket the web listens on. One rule: `::` means both families, whichever server program runs behind it.

asyncio binds `::` for IPv6 alone, so a platform that reaches us over IPv4 would find nobody.
"""

from __future__ import annotations

import os
import socket
from typing import Final

VARIABLE: Final = "HELIX_LISTEN_FD"
"""Where `up` passes on the listening socket: web processes share it, and a restarted one finds the same queue."""

BACKLOG: Final = 2048
"""Connections that wait while the process is busy; the kernel may hold it to less (`somaxconn`)."""

SEND_BUFFER_BYTES: Final = 256 * 1024
"""What the kernel may hold of an answer that its client does not read; left to itself it takes 4 MB for each. A client a tenth
of a second away still gets some megabytes a second."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, not blocking; port 0 takes a free one. Raises OSError when the address cannot be had."""
    inherited = os.environ.get(VARIABLE)
    if inherited is not None:
        listener = socket.socket(fileno=os.dup(int(inherited)))
    elif ":" in host:
        both = host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=both, reuse_port=False
        )
    else:
        listener = socket.create_server((host, port), backlog=BACKLOG)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # connections inherit it
    listener.setblocking(False)
    return listener
